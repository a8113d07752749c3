"""`nearfar calibrate`: a monitor gets used to the machine that it watches, a verifier to the people that it meets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nearfar.cli import stream_options as options
from nearfar.cli.fitting import refuse_options

_ALL = ("bundle", "data", "output", "label")
_OF_PEOPLE = (*_ALL, "fmr", "confidence", "samples", "item", "session", "split", "seed")
_OF_MONITORS = (*_ALL, "false_alarms", "choose", *options.NAMES)


def calibrate(
    context: typer.Context,
    bundle: Annotated[
        Path, typer.Argument(help="A monitor, or an encoder of pictures or sound that tells identities apart.")
    ],
    data: Annotated[
        Path,
        typer.Argument(
            help="Healthy samples of this machine: a file, or a folder of them. Of people: a folder with a folder for each, or a table."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The new bundle; the old one stays as it is.")],
    false_alarms: Annotated[
        float | None,
        typer.Option(
            "--false-alarms",
            min=1e-6,
            help="Of a monitor: how many a day are allowed; by default as many as the bundle promises.",
        ),
    ] = None,
    choose: Annotated[
        bool,
        typer.Option(
            "--choose",
            help="Of a monitor: choose anew how to score, by faults injected into this data; by default it stays as it is.",
        ),
    ] = False,
    fmr: Annotated[
        float | None,
        typer.Option(
            "--fmr",
            help="Of people: most attempts by others that may pass, as a share; by default as the bundle has it, or 0.001.",
        ),
    ] = None,
    confidence: Annotated[
        float | None, typer.Option("--confidence", help="Of people: of the bound that keeps --fmr; by default 0.95.")
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(
            "--samples", min=1, help="Of people: samples that each enrols with; by default as the bundle has it, or 5."
        ),
    ] = None,
    item: Annotated[
        str | None,
        typer.Option(
            "--item", help="Of a table of people: column with the picture or recording; by default `image` or `audio`."
        ),
    ] = None,
    session: Annotated[
        str | None,
        typer.Option("--session", help="Of a table of people: column that says what was recorded in one go."),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option("--split", help="Of a table of people: column with the split; `train` is left out."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of people: of which samples enrol.")] = 0,
    label: Annotated[
        str | None,
        typer.Option(
            "--label",
            help="Column that is not 0 where a fault is known, by default `label` or `anomaly`; of people who it is.",
        ),
    ] = None,
    time: options.Time = None,
    channel: options.Channel = None,
    value: options.Value = None,
    machine_column: options.MachineColumn = None,
    machine: options.Machine = None,
    machines: options.Machines = None,
    rate: options.Rate = None,
    timezone: options.Timezone = None,
) -> None:
    """Fit a threshold to your own data. Nothing is trained.

    Of a monitor: what is normal of one machine, and when to alarm. Of an encoder of identities: from which score two samples match, by
    trials of your own people, so that the false match rate (--fmr) is kept; where the trials are too few it says how many it takes.
    """
    from nearfar.bundle import Bundle

    opened = Bundle.open(bundle)
    if opened.manifest.kind in ("image-encoder", "audio-encoder"):
        from nearfar.cli.calibrate_identity import calibrate_people
        from nearfar.edge.verify.samples import SampleColumns

        refuse_options(context, "an encoder of identities", _OF_PEOPLE)
        columns = SampleColumns(item, label or "label", session, split)
        calibrate_people(opened, data, output, columns, fmr=fmr, confidence=confidence, samples=samples, seed=seed)
        return
    if opened.manifest.kind == "series-monitor":
        refuse_options(context, "a monitor", _OF_MONITORS)
    from nearfar.bundle.monitor_card import detector_rows
    from nearfar.cli.console import (
        out,
        pairs_table,
        progress_lines,
        show_broken_promise,
        show_recognised,
        show_skipped,
    )
    from nearfar.edge.monitor.calibrate import calibrate as fit
    from nearfar.edge.monitor.calibrate import watch_of
    from nearfar.frontend.settings import SeriesSettings
    from nearfar.road.stored_series import Reading, open_stored

    reading = Reading(time, machine_column, channel, value, label, machines, rate, timezone)
    source = open_stored(opened, data, reading, only=machine)
    watch = watch_of(opened)
    if false_alarms is not None:
        watch = watch.model_copy(update={"false_alarms_per_day": false_alarms})
    with progress_lines() as stages:
        stages("calibrating")
        made = fit(opened, source, output, watch=watch, choose=choose)
    show_recognised(source.report.recognised)
    show_skipped(source.report.skipped, source.report.examples)
    record, settings = made.manifest.detector, made.manifest.frontend
    assert record is not None
    assert isinstance(settings, SeriesSettings)
    out.print(pairs_table([("bundle", str(made.path)), *detector_rows(record, settings)]))
    show_broken_promise(record)
