"""A small chart of the score that moves, in the terminal."""

from __future__ import annotations

import time
from collections import deque
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from nearfar.connect.records import iso_time, sentence
from nearfar.edge.monitor.events import Cleared, Event, Share
from nearfar.edge.monitor.monitor import Monitor, Trace

_HEIGHT = 8  # lines of the plot
_DOTS = 4  # of a character above each other; two stand side by side
_LEFT = 10  # characters of the axis
_KEPT = 1024  # frames that are shown
_PAUSE = 0.25  # seconds between two pictures
_NAMED = 4  # channels that are shown
_BRAILLE = 0x2800
_COLUMN = ((0x40, 0x04, 0x02, 0x01), (0x80, 0x20, 0x10, 0x08))  # dots of the left and the right half, from below
_COLOURS = {"alarm": "bold red", "cleared": "green", "sensor": "yellow", "drift": "yellow", "clock": "dim"}


class LiveChart:
    """Score against threshold, the channels that say most, and what has happened; use it as a context.

    Args:
        monitor: what is watched.
        name: of it.
        console: a terminal.
    """

    def __init__(self, monitor: Monitor, name: str, console: Console) -> None:
        self._monitor, self._name, self._console = monitor, name, console
        self._scores: deque[float] = deque(maxlen=_KEPT)
        self._frames = np.zeros((0, monitor.detector.settings.features), np.float32)
        self._samples = self._alarms = 0
        self._status = ""
        self._drawn = 0.0
        self._live = Live(console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)

    def __enter__(self) -> Self:
        self._live.__enter__()
        self._draw()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._draw()
        self._live.__exit__(kind, error, trace)

    def take(self, trace: Trace | None, events: list[Event], samples: int, status: str = "") -> None:
        """Note what came, and draw if it is time to.

        Args:
            trace: frames of the last block, or None.
            events: what happened.
            samples: how many came with it.
            status: of the source, such as a connection that is lost.
        """
        self._samples += samples
        self._status = status
        if trace is not None and len(trace.times):
            self._scores.extend(trace.scores[-_KEPT:].tolist())
            history = self._monitor.detector.history
            self._frames = np.concatenate([self._frames, trace.values[-history:]])[-history:]
        for event in events:
            self._alarms += event.kind == "alarm"
            settled = isinstance(event, Cleared) and event.settled
            colour = "yellow" if settled else _COLOURS[event.kind]
            line = Text(f"{clock_of(event.time)}  {sentence(event)}", style=colour)
            self._live.console.print(line, soft_wrap=True)
        if time.monotonic() - self._drawn >= _PAUSE or events:
            self._draw()

    def say(self, text: str) -> None:
        """Write a line above the chart."""
        self._live.console.print(text, style="dim", markup=False, soft_wrap=True)

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        width = max(10, min(self._console.width, 120) - _LEFT - 2)
        rows = plot(np.array(self._scores, np.float32), self._monitor.threshold, width)
        self._live.update(Group(self._head(), *rows, *self._below()), refresh=True)

    def _head(self) -> Text:
        state = ("● ALARM", "bold red") if self._monitor.alarmed else ("● healthy", "green")
        if not self._scores:
            state = ("● waiting for samples", "yellow")
        elif np.isnan(self._monitor.score):
            state = ("● too little is known", "yellow")
        elif not self._monitor.alarmed and self._monitor.statistic > self._monitor.threshold:
            # In the cool-down, or where a machine has settled to something else after an alarm.
            state = ("● above the threshold, no alarm", "yellow")
        parts = [(f"{self._name}  ", "bold"), state]
        if not np.isnan(self._monitor.time):
            parts.append((f"   {clock_of(self._monitor.time)}", "dim"))
        parts.append((f"   {self._samples:,} samples, {self._alarms:,} alarm{'' if self._alarms == 1 else 's'}", "dim"))
        return Text.assemble(*parts, overflow="ellipsis", no_wrap=True)

    def _below(self) -> list[Text]:
        lines = [Text("")]
        if shares := self._shares():
            parts: list[tuple[str, str]] = [("most of it  ", "dim")]
            for share in shares[:_NAMED]:
                parts += [(f"{share.channel} ", ""), (_bar(share.share), "cyan"), (f" {share.share:.0%}   ", "dim")]
            lines.append(Text.assemble(*parts, overflow="ellipsis", no_wrap=True))
        if out := self._monitor.sensors_out:
            lines.append(Text("out  " + ", ".join(f"{name} ({why})" for name, why in out.items()), style="yellow"))
        if self._status:
            lines.append(Text(self._status, style="yellow"))
        return lines

    def _shares(self) -> tuple[Share, ...]:
        detector = self._monitor.detector
        if len(self._frames) < detector.history or np.isnan(self._monitor.score):
            return ()
        return detector.contributions(self._frames)


def plot(scores: npt.NDArray[np.float32], threshold: float, width: int, height: int = _HEIGHT) -> list[Text]:
    """Columns of dots that are as high as the scores, red above the threshold.

    Args:
        scores: float32 (n,), the newest last; NaN where there is none. Several share a column if they are many, the highest counts.
        threshold: where the line is.
        width: of the plot in characters.
        height: in lines.
    """
    columns = columns_of(scores, 2 * width)
    known = columns[np.isfinite(columns)]
    top = max(1.25 * threshold, float(known.max()) if len(known) else 0.0) or 1.0
    filled = np.nan_to_num(np.ceil(columns / top * height * _DOTS - 1e-6), nan=0.0).clip(0, height * _DOTS).astype(int)
    line = min(height - 1, int(threshold / top * height))
    rows = []
    for row in reversed(range(height)):
        mark = f"{threshold:>{_LEFT - 2}.3g}" if row == line else ""
        mark = f"{top:>{_LEFT - 2}.3g}" if row == height - 1 and line < height - 1 else mark
        axis = Text(f"{mark:>{_LEFT - 2}} ", style="red" if row == line else "dim")
        axis.append("┤" if mark else "│", style="dim")
        dots = np.clip(filled - row * _DOTS, 0, _DOTS).reshape(-1, 2)
        for left, right in dots.tolist():
            sign = _BRAILLE + sum(_COLUMN[0][:left]) + sum(_COLUMN[1][:right])
            if sign == _BRAILLE:
                axis.append("╌" if row == line else " ", style="red")
            else:
                axis.append(chr(sign), style="red" if row >= line else "cyan")
        axis.no_wrap = True
        rows.append(axis)
    return rows


def columns_of(scores: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.float32]:
    """`count` columns with the newest at the right: the highest score of each, NaN where there is none."""
    share = max(1, len(scores) // count)
    newest = scores[-count * share :]
    padded = np.full(count * share, np.nan, np.float32)
    padded[len(padded) - len(newest) :] = newest
    return np.asarray(np.fmax.reduce(padded.reshape(count, share), axis=1), np.float32)


def clock_of(seconds: float) -> str:
    """A time as people read it: without the parts of a second."""
    when = iso_time(seconds)
    return f"{when:.0f} s" if isinstance(when, float) else when[:19].replace("T", " ")


def _bar(share: float, width: int = 8) -> str:
    eighths = round(share * width * 8)
    return "█" * (eighths // 8) + ("▏▎▍▌▋▊▉"[eighths % 8 - 1] if eighths % 8 else "")
