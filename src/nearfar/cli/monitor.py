"""`nearfar monitor`: alarms from a stream of samples."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from nearfar.cli import stream_options as options


def monitor(
    bundle: Annotated[Path, typer.Argument(help="A bundle of kind series-monitor.")],
    source: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="-|FILE|mqtt://HOST/TOPIC",
            help="Where samples come from: standard input, a CSV file, MQTT.",
        ),
    ] = "-",
    follow: Annotated[bool, typer.Option("--follow", help="Of a file: wait for what is written to it later.")] = False,
    only_new: Annotated[bool, typer.Option("--only-new", help="With --follow: begin at the end of the file.")] = False,
    state: Annotated[
        Path | None, typer.Option("--state", help="Keep the state in this file, and go on from it after a restart.")
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin anew where the state is damaged or of another bundle.")
    ] = False,
    save_every: Annotated[
        float, typer.Option("--save-every", min=0.0, help="Seconds of the stream between two savings of the state.")
    ] = 60.0,
    alarms: Annotated[
        list[str] | None,
        typer.Option(
            "--alarms",
            metavar="-|URL|mqtt://HOST/TOPIC",
            help="Who is told: standard output, a webhook, MQTT; may be given many times.",
        ),
    ] = None,
    chart: Annotated[
        bool | None,
        typer.Option("--chart/--no-chart", help="Draw the score; by default if standard error is a terminal."),
    ] = None,
    threshold: options.Threshold = None,
    speed: Annotated[
        float | None,
        typer.Option("--speed", min=1e-3, help="Of a file: so many times as fast as it was taken; by default at once."),
    ] = None,
    silence: Annotated[
        float | None,
        typer.Option(
            "--silence", min=0.1, help="Seconds without samples that are told; by default a minute, or 20 frames."
        ),
    ] = None,
    every: Annotated[
        float | None,
        typer.Option(
            "--every", min=1e-6, help="Seconds between rows without times; by default the time at which they come."
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Of the machine, in all that is told; by default the bundle's.")
    ] = None,
    time: options.Time = None,
    channel: options.Channel = None,
    value: options.Value = None,
    machine_column: options.MachineColumn = None,
    machine: options.Machine = None,
    timezone: options.Timezone = None,
) -> None:
    """Watch a stream of samples, and tell alarms as JSON, a line each.

    Ctrl-C and SIGTERM save the state and end; a monitor that is killed loses what came since the last saving. Name and password of a
    broker are taken from MQTT_USER and MQTT_PASSWORD, the token of a webhook from NEARFAR_WEBHOOK_TOKEN.
    """
    from nearfar.bundle import Bundle
    from nearfar.cli.monitor_face import Face, say_the_end
    from nearfar.connect.csv_stream import StreamColumns
    from nearfar.connect.feeds import open_feed
    from nearfar.connect.sinks import open_sink
    from nearfar.connect.watching import ArrivalClock, watch
    from nearfar.edge.monitor.monitor import Monitor
    from nearfar.edge.monitor.recipe_source import recipe_source

    opened = Bundle.open(bundle)
    watcher = Monitor.open(
        opened,
        state=state,
        threshold=threshold,
        state_every=save_every,
        on_bad_state="restart" if restart else "refuse",
    )
    settings = watcher.detector.settings
    kept = recipe_source(opened)
    columns: dict[str, Any] = kept.get("columns") or {}
    found = open_feed(
        source,
        {one.name: one.rate for one in settings.channels},
        StreamColumns(
            time=time,
            channel=channel or columns.get("channel"),
            value=value or columns.get("value"),
            machine=machine_column or (columns.get("machine") if machine else None),
            only=machine,
            timezone=timezone or kept.get("timezone") or "UTC",
        ),
        follow=follow,
        only_new=only_new,
        speed=speed,
    )
    named = name or machine or opened.manifest.name
    whole = found.stored and not found.live
    drawn = sys.stderr.isatty() if chart is None else chart
    with closing(found.feed), _stop_when_asked() as asked, ExitStack() as stack:
        # A chart and lines of JSON on one terminal would run into each other; the chart tells the same in words.
        told = [target for target in alarms or ["-"] if not (target == "-" and drawn and sys.stdout.isatty())]
        sinks = [stack.enter_context(closing(open_sink(target, sys.stdout))) for target in told]
        face = stack.enter_context(Face(watcher, named, found, sinks, drawn=drawn))
        try:
            tally = watch(
                watcher,
                found.feed,
                sinks,
                name=named,
                clock=ArrivalClock(every or (settings.period if whole else None), 0.0 if whole else None),
                stop=lambda: bool(asked),
                look=face.look,
                silence=(silence or max(60.0, 20 * settings.period)) if found.live else None,
                skip_known=found.stored,
                flush=whole and state is None,
            )
        finally:
            if state is not None:
                watcher.save()
    say_the_end(found, sinks, tally)
    if signal.SIGINT in asked:
        raise KeyboardInterrupt


@contextmanager
def _stop_when_asked() -> Iterator[list[int]]:
    """Collect the signals that ask for an end, so that no block of samples is left half done; the second one ends at once."""
    asked: list[int] = []

    def ask(number: int, frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
