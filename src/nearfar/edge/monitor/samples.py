"""When each channel last gave a sample, and since when its samples are all equal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nearfar.frontend.settings import SeriesSettings

Times = npt.NDArray[np.float64]
Values = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.int64]

_FAR = 0.5  # of the width of the healthy range, beyond its ends
_CLOCK = 5e-7  # seconds, as the grid rounds times that should lie between two frames
_FIRST, _LAST = np.zeros(1, np.int64), np.ones(1, np.bool_)
_CHUNKS = 4096  # that wait at most; more do only where a clock runs wild


class Seen(NamedTuple):
    """What was known of C channels at the ends of k frames.

    Attributes:
        last: float64 (k, C), time of the last sample; NaN before the first.
        flat_since: float64 (k, C), time of the first of the equal samples that it is the last of.
        far_since: float64 (k, C), since when samples are far outside of the healthy range; NaN where they are not. Where a channel
            did not jump there but crept, this is the last sample before that.
        fresh: bool (k, C), whether there was a sample within the frame.
        running: bool (k,), whether anything came within the frame, if only missing values.
    """

    last: Times
    flat_since: Times
    far_since: Times
    fresh: Mask
    running: Mask


@dataclass
class _Chunk:
    """What was known of c channels at the ends of b frames that may not be complete yet.

    Attributes:
        bins: int64 (b,), numbers of the frames, ascending.
        channels: int64 (c,).
        known: float64 (3, b, c), as the first three of `Seen`.
        fresh: bool (b, c).
    """

    bins: Indices
    channels: Indices
    known: Times
    fresh: Mask

    def part(self, rows: slice) -> _Chunk:
        """Some rows as arrays of their own, or those of the whole block would be kept."""
        return _Chunk(self.bins[rows].copy(), self.channels, self.known[:, rows].copy(), self.fresh[rows].copy())


class LastSamples:
    """Remembers of each channel its last sample, and since when it has not changed.

    Args:
        settings: of the frontend.
    """

    def __init__(self, settings: SeriesSettings) -> None:
        count = len(settings.channels)
        self._period = settings.period
        self._apart = settings.max_gap + settings.period  # samples that are further apart are no repeats of each other
        lowest = np.array([-np.inf if channel.lowest is None else channel.lowest for channel in settings.channels])
        highest = np.array([np.inf if channel.highest is None else channel.highest for channel in settings.channels])
        with np.errstate(invalid="ignore"):
            margin = np.nan_to_num(_FAR * (highest - lowest), posinf=0.0)
        self._margin = margin
        # A range without width tells nothing about what is far.
        self._low, self._high = (
            np.where(margin > 0, lowest - margin, -np.inf),
            np.where(margin > 0, highest + margin, np.inf),
        )
        self._value: Values = np.full(count, np.nan, np.float32)
        self._now = np.full((3, count), np.nan)  # last, flat_since, far_since: after the newest sample
        self._framed = self._now.copy()  # the same at the end of the last complete frame
        self._waiting: list[_Chunk] = []

    def observe(self, times: Times, values: Values, channels: Indices) -> None:
        """Take samples, in the order in which they come.

        Args:
            times: float64 (n,) seconds.
            values: float32 (n, c), NaN where one is missing.
            channels: int64 (c,), which they are of.
        """
        n = len(times)
        if not n:
            return
        if n > 1 and (times[1:] < times[:-1]).any():
            order = np.argsort(times, kind="stable")
            times, values = times[order], values[order]
        now, value = self._now[:, channels], self._value[channels]
        rows, far_before = np.arange(n)[:, None], now[2] == now[2]
        finite = np.isfinite(values)
        far = finite & ((values < self._low[channels]) | (values > self._high[channels]))
        newest = np.maximum.accumulate(np.where(finite, rows, -1), axis=0)
        older = np.concatenate([np.full((1, len(channels)), -1), newest[:-1]])
        apart = np.abs(times[:, None] - _times_at(times, older, now[0])) > self._apart
        before = _at(values, older, value)
        changed = finite & ((values != before) | apart)
        departed = far & ~_at(far, older, far_before)
        crept = departed & (np.abs(values - before) < self._margin[channels]) & ~apart
        begun = np.where(crept, _times_at(times, older, now[0]), times[:, None])
        known = np.stack(
            [
                _times_at(times, newest, now[0]),
                _times_at(times, np.maximum.accumulate(np.where(changed, rows, -1), axis=0), now[1]),
                _at(begun, np.maximum.accumulate(np.where(departed, rows, -1), axis=0), now[2]),
            ]
        )
        known[2, ~_at(far, newest, far_before)] = np.nan
        self._value[channels] = _at(values, newest[-1:], value)[0]
        self._now[:, channels] = known[:, -1]
        bins = np.floor((times + _CLOCK) / self._period).astype(np.int64)
        ends = np.flatnonzero(np.concatenate([bins[1:] != bins[:-1], _LAST]))
        begins = np.concatenate([_FIRST, ends[:-1] + 1])
        self._wait(_Chunk(bins[ends], channels, known[:, ends], newest[ends] >= begins[:, None]))

    def at(self, starts: Times) -> Seen:
        """What was known at the ends of frames that are complete now.

        Args:
            starts: float64 (k,), when they begin, ascending; k is 1 or more.
        """
        k, count = len(starts), self._now.shape[1]
        bins = np.rint(starts / self._period).astype(np.int64)
        table = np.full((3, k, count), np.nan)
        told, fresh, running = np.zeros((k, count), np.bool_), np.zeros((k, count), np.bool_), np.zeros(k, np.bool_)
        rest: list[_Chunk] = []
        for chunk in self._waiting:
            due = int(np.searchsorted(chunk.bins, bins[-1], side="right"))
            if due:
                rows = np.minimum(np.searchsorted(bins, chunk.bins[:due]), k - 1)
                cells = rows[:, None], chunk.channels
                table[:, *cells] = chunk.known[:, :due]
                told[cells] = True
                fresh[cells] |= chunk.fresh[:due]
                running[rows] = True
            if due < len(chunk.bins):
                rest.append(chunk.part(slice(due, None)))
        self._waiting = rest
        newest = np.maximum.accumulate(np.where(told, np.arange(k)[:, None], -1), axis=0)
        table = np.where(newest < 0, self._framed[:, None], table[:, np.maximum(newest, 0), np.arange(count)])
        self._framed = table[:, -1].copy()
        return Seen(table[0], table[1], table[2], fresh, running)

    def state(self) -> dict[str, Any]:
        """What `restore` takes."""
        waiting = [vars(chunk).copy() for chunk in self._waiting]
        return {"value": self._value, "now": self._now, "framed": self._framed, "waiting": waiting}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where another of the same settings was."""
        self._value, self._now, self._framed = state["value"], state["now"], state["framed"]
        self._waiting = [_Chunk(**chunk) for chunk in state["waiting"]]

    def _wait(self, chunk: _Chunk) -> None:
        """Put it behind the others; what goes on with the frame of the one before is joined with it."""
        before = self._waiting[-1] if self._waiting else None
        if before is not None and before.bins[-1] == chunk.bins[0] and np.array_equal(before.channels, chunk.channels):
            chunk.fresh[0] |= before.fresh[-1]
            del self._waiting[-1]
            if len(before.bins) > 1:
                self._waiting.append(before.part(slice(None, -1)))
        self._waiting.append(chunk)
        del self._waiting[:-_CHUNKS]


def _at(values: npt.NDArray[Any], rows: Indices, old: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Of each column of `values` (n, c), n of 1 or more, the rows (k, c), and `old` (c,) where a row is below 0."""
    return np.where(rows < 0, old, values[np.maximum(rows, 0), np.arange(rows.shape[1])])


def _times_at(times: Times, rows: Indices, old: Times) -> Times:
    return np.where(rows < 0, old, times[np.maximum(rows, 0)])
