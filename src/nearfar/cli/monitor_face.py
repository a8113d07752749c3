"""What a person sees of a monitor that runs: a chart or a few lines, and what went wrong."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

import typer

from nearfar.connect.feeds import Source
from nearfar.connect.sinks import Sink
from nearfar.connect.watching import Tally
from nearfar.edge.monitor.events import Event
from nearfar.edge.monitor.monitor import Monitor, Trace

if TYPE_CHECKING:
    from nearfar.cli.live_chart import LiveChart


class Face:
    """Shows on standard error what happens; use it as a context.

    Args:
        monitor: what runs.
        name: of it.
        source: where samples come from.
        sinks: who is told.
        drawn: whether to draw a chart.
    """

    def __init__(self, monitor: Monitor, name: str, source: Source, sinks: Sequence[Sink], *, drawn: bool) -> None:
        self._source, self._sinks = source, sinks
        self._chart: LiveChart | None = None
        if drawn:
            from nearfar.cli.console import notes
            from nearfar.cli.live_chart import LiveChart

            self._chart = LiveChart(monitor, name, notes)
        self._notes = 0
        self._problems: list[str] = []

    def __enter__(self) -> Self:
        if self._chart is not None:
            self._chart.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._chart is not None:
            self._chart.__exit__(kind, error, trace)

    def look(self, trace: Trace | None, events: list[Event], samples: int) -> None:
        """Show what came; see `nearfar.connect.watching.watch`."""
        for note in self._source.notes[self._notes :]:
            self._notes += 1
            self._say(f"note: {note}")
        problems = [f"source: {self._source.feed.problem}"] if self._source.feed.problem else []
        problems += [f"{sink}: {sink.problem}" for sink in self._sinks if sink.problem]
        if self._chart is not None:
            self._chart.take(trace, events, samples, "; ".join(problems))
            return
        for problem in problems:
            if problem not in self._problems:
                _warn(f"warning: {problem}")
        if self._problems and not problems:
            typer.echo("all connections are back", err=True)
        self._problems = problems

    def _say(self, text: str) -> None:
        if self._chart is not None:
            self._chart.say(text)
        else:
            typer.echo(text, err=True)


def say_the_end(source: Source, sinks: Sequence[Sink], tally: Tally) -> None:
    """Say how much went through and what was lost."""
    for reason, number in sorted(source.report.skipped.items()):
        _warn(f"skipped {number:,}: {reason}")
    for example in source.report.examples:
        _warn(f"  {example}")
    if source.feed.lost:
        _warn(f"lost {source.feed.lost:,} messages that came faster than they could be read")
    for sink in sinks:
        if sink.lost:
            why = f" ({sink.problem})" if sink.problem else ""
            _warn(f"lost {sink.lost:,} events: {sink} did not take them{why}")
    alarms = f"{tally.alarms:,} alarm{'' if tally.alarms == 1 else 's'}"
    typer.echo(f"{tally.samples:,} samples, {alarms}", err=True)


def _warn(text: str) -> None:
    # Not by rich: it is loaded for the chart only, as small devices have little memory.
    typer.secho(text, fg="yellow", err=True)
