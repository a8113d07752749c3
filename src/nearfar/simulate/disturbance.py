"""What goes wrong between a machine and its record though the machine is well: sensors, gaps and clocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np

from nearfar.sources.recording import Recording


@dataclass(frozen=True, slots=True)
class Disturbance:
    """One such event.

    Attributes:
        kind: `stuck`, the channel keeps its value; `unplugged`, it gives 0; `missing`, it gives nothing; `gap`, no channel of the
            machine gives anything; `jump`, the clock is set by `seconds` at `start`, and stays so.
        start: seconds after the beginning of the data.
        end: when it is over; of a jump it says nothing.
        channel: the name of the channel; of a gap or a jump it says nothing.
        seconds: how far a jump goes, below 0 back.
    """

    kind: Literal["stuck", "unplugged", "missing", "gap", "jump"]
    start: float
    end: float = float("inf")
    channel: str = ""
    seconds: float = 0.0


class Disturbed:
    """Adds disturbances to recordings that follow each other.

    Args:
        disturbances: what happens, in seconds after `start`.
        start: the true time of the first sample.
    """

    def __init__(self, disturbances: Sequence[Disturbance], start: float) -> None:
        self._disturbances = tuple(disturbances)
        self._start = start
        self._stuck: dict[Disturbance, float] = {}

    def apply(self, recording: Recording) -> Iterator[Recording]:
        """The recording as it would be written down: cut where the clock was set back, and not at all where nothing came."""
        since = recording.times - self._start
        values, clock, kept = recording.values.copy(), recording.times.copy(), np.ones(len(since), np.bool_)
        names = [channel.name for channel in recording.channels]
        for event in self._disturbances:
            during = (since >= event.start) & (since < event.end)
            if event.kind == "jump":
                clock[since >= event.start] += event.seconds
            elif event.kind == "gap":
                kept &= ~during
            elif event.channel in names and during.any():
                column = names.index(event.channel)
                match event.kind:
                    case "stuck":
                        first = float(values[during.argmax(), column])
                        values[during, column] = self._stuck.setdefault(event, first)
                    case "unplugged":
                        values[during, column] = 0.0
                    case "missing":
                        values[during, column] = np.nan
        clock, values, places = clock[kept], values[kept], np.flatnonzero(kept)
        cuts = [0, *(np.flatnonzero(np.diff(clock) < 0) + 1), len(clock)]
        for first, last in pairwise(cuts):
            if last > first:
                rows = places[first:last]
                yield replace(
                    recording,
                    times=clock[first:last],
                    values=values[first:last],
                    labels=None if recording.labels is None else recording.labels[rows],
                    regime=None if recording.regime is None else recording.regime[rows],
                )
