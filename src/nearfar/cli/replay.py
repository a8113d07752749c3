"""`nearfar replay`: a stored stream as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nearfar.cli import stream_options as options


def replay(
    bundle: Annotated[Path, typer.Argument(help="A bundle of kind series-monitor.")],
    data: options.Data,
    output: Annotated[Path, typer.Option("--output", "-o", help="The picture: .html or .png.")],
    channels: Annotated[
        int, typer.Option("--channels", min=1, help="Draw at most so many, those that say most first.")
    ] = 8,
    threshold: options.Threshold = None,
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
    """Draw a stored stream: channels, scores, threshold, alarms, and faults that somebody has labelled.

    A .html page shows all machines and the values under the pointer, and needs nothing to be opened; a .png shows one machine.
    """
    from nearfar.bundle import Bundle
    from nearfar.cli.console import out, progress_lines, show_recognised, show_skipped
    from nearfar.cli.stream_options import show_missing
    from nearfar.errors import DataError
    from nearfar.road.replay import missing_channels
    from nearfar.road.replay import replay as put_through
    from nearfar.road.replay_html import html_page
    from nearfar.road.replay_png import write_png
    from nearfar.road.stored_series import Reading, open_stored

    kind = output.suffix.lower()
    if kind not in (".html", ".png"):
        raise DataError(f"{output}: a replay is drawn as .html or .png: give -o such a name")
    if not output.absolute().parent.is_dir():
        raise DataError(f"{output}: there is no folder {output.parent}: make it first")
    opened = Bundle.open(bundle)
    reading = Reading(time, machine_column, channel, value, label, machines, rate, timezone)
    series = open_stored(opened, data, reading, only=machine)
    with progress_lines() as stages:
        stages("reading")
        recordings = list(series.recordings())
        traces = put_through(opened, recordings, threshold=threshold, stages=stages)
        if kind == ".png" and len(traces) > 1:
            some = ", ".join(trace.machine for trace in traces[:5])
            raise DataError(
                f"{len(traces)} machines do not fit one picture: say --machine ({some}...), or draw a .html page"
            )
        stages("drawing")
        if kind == ".png":
            write_png(traces[0], output, opened.manifest.name, channels=channels)
        else:
            try:
                output.write_text(html_page(traces, opened.manifest.name, channels=channels), "utf-8")
            except OSError as error:
                raise DataError(f"{output}: cannot be written ({error.strerror}): check the permissions") from error
    show_recognised(series.report.recognised)
    show_skipped(series.report.skipped, series.report.examples)
    show_missing(missing_channels(recordings, [one.name for one in traces[0].settings.channels]))
    frames = sum(len(trace.times) for trace in traces)
    alarms = sum(len(trace.alarms) for trace in traces)
    streams = f"{len(traces):,} machines, " if len(traces) > 1 else ""
    out.print(
        f"{output}: {streams}{frames:,} frames, {alarms:,} alarm{'' if alarms == 1 else 's'}",
        markup=False,
        soft_wrap=True,
    )
