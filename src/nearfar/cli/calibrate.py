"""`nearfar calibrate`: a monitor gets used to the machine that it watches."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nearfar.cli import stream_options as options


def calibrate(
    bundle: Annotated[Path, typer.Argument(help="A bundle of kind series-monitor.")],
    healthy: Annotated[Path, typer.Argument(help="Healthy samples of this machine: a file, or a folder of them.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The new bundle; the old one stays as it is.")],
    false_alarms: Annotated[
        float | None,
        typer.Option(
            "--false-alarms",
            min=1e-6,
            help="How many a day are allowed; by default as many as the bundle promises.",
        ),
    ] = None,
    choose: Annotated[
        bool,
        typer.Option(
            "--choose",
            help="Choose anew how to score, by faults injected into this data; by default it stays as it is.",
        ),
    ] = False,
    label: options.Label = None,
    time: options.Time = None,
    channel: options.Channel = None,
    value: options.Value = None,
    machine_column: options.MachineColumn = None,
    machine: options.Machine = None,
    machines: options.Machines = None,
    rate: options.Rate = None,
    timezone: options.Timezone = None,
) -> None:
    """Fit what is normal, and the threshold, anew to healthy data of one machine. Nothing is trained; it takes seconds."""
    from nearfar.bundle import Bundle
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

    opened = Bundle.open(bundle)
    reading = Reading(time, machine_column, channel, value, label, machines, rate, timezone)
    source = open_stored(opened, healthy, reading, only=machine)
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
