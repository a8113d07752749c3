"""Samples of sensors to frames at a fixed distance, as they come: the same frames however the stream is cut."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from nearfar.errors import DataError
from nearfar.frontend.open_samples import OpenSamples
from nearfar.frontend.settings import SeriesSettings
from nearfar.frontend.spectrum import spectrum

_CLOCK = 5e-7  # seconds; float64 does not hold times since 1970 more exactly, and 0.3 / 0.1 is less than 3
_FAR_SECONDS = 60.0
_FAR_FRAMES = 20
_END_OF_TIME = 1e12  # seconds, the year 33658; milliseconds since 1970 are beyond
_STRAYS = 5  # so many samples in a row from long ago are a clock that was set back; fewer are stray
_ROWS = 65_536  # taken at a time, which bounds the memory of a large push
_MAX_NOTICES = 1000
_NEVER = -(2**60)  # the frame in which a channel was last seen that never was

Times = npt.NDArray[np.float64]
Values = npt.NDArray[np.float32]
State = dict[str, npt.NDArray[Any]]


class Frames(NamedTuple):
    """Frames in the order of time.

    Attributes:
        times: float64 (k,), when each begins, in the seconds of the samples; a multiple of the period.
        values: float32 (k, F) in physical units, NaN where missing.
    """

    times: Times
    values: Values


@dataclass(frozen=True, slots=True)
class Notice:
    """Time did something else than go on.

    Attributes:
        time: when the last frame before it began.
        what: `gap` (nothing came), `jump` (the clock was set back) or `late` (samples that no longer count: their frame was
            closed, or full because the clock stood still).
        seconds: how long the gap, how far the jump (below 0), how late the latest sample.
        samples: how many came too late.
    """

    time: float
    what: Literal["gap", "jump", "late"]
    seconds: float
    samples: int = 0


class Grid:
    """Makes frames of samples.

    Frame i holds the samples at i * period <= time < (i + 1) * period, whenever the stream began. A slow channel gives the
    mean of its finite samples there; a fast one its spectrum, if at least half of its samples came. A channel without either
    keeps its features of the last frame that had some for `max_gap` seconds, and then is NaN. A frame is closed by the first
    sample, of any channel, at or after its end + `lateness`; what comes for it later is dropped and counted.

    Where nothing comes for long, at most `window` frames follow those that are held, all NaN; then time goes on with the next
    sample. Five samples in a row that are more than `lateness` and a minute (or 20 frames) old are a clock that was set back:
    frames go on from there. Memory does not grow with the stream.

    Args:
        settings: of the frontend.

    Attributes:
        notices: what happened to time, in order; the caller empties it.
    """

    def __init__(self, settings: SeriesSettings) -> None:
        self.settings = settings
        self.notices: deque[Notice] = deque(maxlen=_MAX_NOTICES)
        self._period = settings.period
        self._lateness = settings.lateness
        self._hold = math.floor(settings.max_gap / settings.period + 1e-9)
        self._far = max(_FAR_SECONDS, _FAR_FRAMES * settings.period)
        self._most_step = _FAR_FRAMES + math.ceil(settings.lateness / settings.period)
        sizes = [channel.features for channel in settings.channels]
        self._feature_at = np.cumsum([0, *sizes])[:-1]
        self._channel_of = np.array(settings.channel_of_feature)
        slow = [n for n, channel in enumerate(settings.channels) if channel.rate is None]
        self._slot = {channel: slot for slot, channel in enumerate(slow)}
        self._slow_features = self._feature_at[slow]
        self._columns: dict[tuple[int, ...] | None, _Columns] = {}

        self._high = math.nan  # latest time seen
        self._base = 0  # first frame that is open
        self._begun = False  # whether a frame has been closed; until then one before `_base` may be opened
        self._behind = 0  # samples in a row that were far behind
        self._sums = np.zeros((0, len(slow)))
        self._counts = np.zeros((0, len(slow)), np.int64)
        self._open = {
            n: OpenSamples(round(2 * channel.rate * (settings.period + settings.lateness)) + 64)
            for n, channel in enumerate(settings.channels)
            if channel.rate is not None
        }
        self._held = np.full(settings.features, np.nan, np.float32)
        self._seen = np.full(len(sizes), _NEVER)  # the frame that `_held` is of, by channel

    def push(self, times: npt.ArrayLike, values: npt.ArrayLike, channels: Sequence[int] | None = None) -> Frames:
        """Take samples and return the frames that they close.

        Args:
            times: float64 (n,) seconds; they need not ascend.
            values: float32 (n, c); what is not finite is missing. A row of nothing but NaN still tells the time.
            channels: the numbers of the c channels that the columns are of; all in their order by default.

        Returns:
            k frames, k of 0 or more.

        Raises:
            DataError: the shapes do not fit, a channel does not exist, or a time is none in seconds; nothing was taken then.
        """
        times = np.asarray(times, np.float64)
        values = np.asarray(values, np.float32)
        key = None if channels is None else tuple(channels)
        columns = self._columns.get(key) or self._known(key)
        if times.ndim != 1 or values.shape != (len(times), columns.width):
            raise DataError(
                f"times {times.shape} and values {values.shape} do not fit: pass times (n,) and values (n, {columns.width})"
            )
        if len(times) and not np.abs(times).max() < _END_OF_TIME:  # also where one is not a number
            row = int(np.flatnonzero(~(np.abs(times) < _END_OF_TIME))[0])
            raise DataError(f"time {row} is {times[row]:g}, which is no time in seconds; are they milliseconds?")
        made: list[Frames] = []
        start = 0
        while start < len(times):
            stop = min(start + _ROWS, len(times))
            start += self._take(times[start:stop], values[start:stop], columns, made)
        return self._joined(made)

    def flush(self) -> Frames:
        """Close the frames that are open; samples that still come for them are late."""
        made: list[Frames] = []
        if not math.isnan(self._high):
            self._close(self._frame(self._high) + 1, made)
        return self._joined(made)

    def state(self) -> State:
        """All that `restore` needs to go on, as arrays; notices are no part of it."""
        samples = [buffer.arrays() for buffer in self._open.values()]
        return {
            "clock": np.array([self._high]),
            "count": np.array([self._base, self._begun, self._behind], np.int64),
            "sums": self._sums.copy(),
            "counts": self._counts.copy(),
            "held": self._held.copy(),
            "seen": self._seen.copy(),
            "open_sizes": np.array([len(times) for times, _ in samples], np.int64),
            "open_times": np.concatenate([np.zeros(0), *(times for times, _ in samples)]),
            "open_values": np.concatenate([np.zeros(0, np.float32), *(values for _, values in samples)]),
        }

    @classmethod
    def restore(cls, settings: SeriesSettings, state: Mapping[str, npt.ArrayLike]) -> Self:
        """Go on where `state` was taken: the future is that of a grid that never stopped.

        Args:
            settings: those of the grid that was stopped.
            state: of `state`; lists in place of arrays will do, so that it may have been JSON.

        Raises:
            DataError: the state is not of these settings, or damaged.
        """
        grid = cls(settings)
        try:
            base, begun, behind = np.asarray(state["count"], np.int64).tolist()
            grid._high = float(np.asarray(state["clock"], np.float64)[0])
            grid._base, grid._begun, grid._behind = base, bool(begun), behind
            width = grid._sums.shape[1]
            grid._sums = np.array(state["sums"], np.float64).reshape(-1, width)
            grid._counts = np.array(state["counts"], np.int64).reshape(-1, width)
            grid._held = np.array(state["held"], np.float32).reshape(grid._held.shape)
            grid._seen = np.array(state["seen"], np.int64).reshape(grid._seen.shape)
            ends = np.cumsum(np.asarray(state["open_sizes"], np.int64))
            times = np.split(np.asarray(state["open_times"], np.float64), ends)[:-1]
            values = np.split(np.asarray(state["open_values"], np.float32), ends)[:-1]
            if grid._sums.shape != grid._counts.shape:
                raise ValueError("sums and counts differ in shape")
            for buffer, some_times, some_values in zip(grid._open.values(), times, values, strict=True):
                buffer.append(some_times, some_values)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise DataError(
                f"the saved state of the frames does not fit the channels: {error}; start without it"
            ) from error
        return grid

    def _frame(self, time: float) -> int:
        return math.floor((time + _CLOCK) / self._period)

    def _frames(self, times: Times) -> npt.NDArray[np.int64]:
        return np.floor((times + _CLOCK) / self._period).astype(np.int64)

    def _known(self, channels: tuple[int, ...] | None) -> _Columns:
        wanted = range(len(self.settings.channels)) if channels is None else channels
        for channel in wanted:
            if not 0 <= channel < len(self.settings.channels):
                raise DataError(
                    f"there is no channel {channel}: there are {len(self.settings.channels)}, counted from 0"
                )
        if len(set(wanted)) < len(wanted):
            raise DataError(f"channels {list(wanted)} name one twice")
        slow = [(column, self._slot[channel]) for column, channel in enumerate(wanted) if channel in self._slot]
        fast = [(column, channel) for column, channel in enumerate(wanted) if channel in self._open]
        pairs = np.array(slow, np.int64).reshape(-1, 2)
        self._columns[channels] = _Columns(len(wanted), pairs[:, 0], pairs[:, 1], fast)
        return self._columns[channels]

    def _take(self, times: Times, values: Values, columns: _Columns, made: list[Frames]) -> int:
        """Take rows up to the first that sets the clock back; return how many."""
        if math.isnan(self._high):
            self._high = float(times[0])
            self._base = self._frame(self._high)
        high = np.maximum.accumulate(np.concatenate(([self._high], times)))
        end = self._set_back_at(times, high)
        steps = np.diff(self._frames(high[: end + 1]))
        begin = 0
        for gap in np.flatnonzero(steps > self._most_step).tolist():
            self._add(times[begin:gap], values[begin:gap], high[begin : gap + 1], columns, made)
            self._skip_to(float(times[gap]), made)
            begin = gap
        self._add(times[begin:end], values[begin:end], high[begin : end + 1], columns, made)
        if end < len(times):
            self._set_back(float(times[end]), made)
        return end

    def _set_back_at(self, times: Times, high: Times) -> int:
        """The first row of which we know that the clock was set back, or the number of rows."""
        behind = times < high[:-1] - (self._lateness + self._far)
        if not behind.any():
            self._behind = 0
            return len(times)
        rows = np.arange(len(times))
        run = rows - np.maximum.accumulate(np.where(behind, -1 - self._behind, rows))
        sure = np.flatnonzero(run >= _STRAYS)
        self._behind = int(run[-1])
        return int(sure[0]) if len(sure) else len(times)

    def _set_back(self, time: float, made: list[Frames]) -> None:
        last = self._frame(self._high)
        self._close(last + 1, made)
        self._notice("jump", self._base, time - self._high)
        self._seen += self._frame(time) - self._base
        self._base, self._high, self._behind = self._frame(time), time, 0

    def _skip_to(self, time: float, made: list[Frames]) -> None:
        """Close what is open before a gap, give the gap at most so many frames, and open those after it."""
        silence = time - self._high
        self._close(self._frame(self._high) + 1, made)
        if silence > max(self._far, self.settings.max_gap):
            self._notice("gap", self._base, silence)
        first = self._frame(time - self._lateness)
        self._close(min(first, self._base + self._hold + self.settings.window), made)
        self._base = max(self._base, first)

    def _add(self, times: Times, values: Values, high: Times, columns: _Columns, made: list[Frames]) -> None:
        """Take rows between gaps; `high` (n + 1,) is the latest time before each, and after the last."""
        if not len(times):
            return
        frames = self._frames(times)
        first_open = self._frames(high[:-1] - self._lateness)
        if self._begun:
            np.maximum(first_open, self._base, out=first_open)
        late = frames < first_open
        if late.any():
            self._drop(float((high[:-1] - times)[late].max()), int(late.sum()), int(first_open[late][-1]))
            frames, times, values = frames[~late], times[~late], values[~late]
        if len(times):
            self._make_room(int(frames.min()), int(frames.max()) + 1)
            self._accumulate(frames - self._base, values, columns)
            for column, channel in columns.fast:
                some = values[:, column]
                finite = np.isfinite(some)
                self._open[channel].append(times[finite], some[finite])
        self._high = float(high[-1])
        self._close(self._frame(self._high - self._lateness), made)
        for buffer in self._open.values():
            if surplus := buffer.shrink():
                self._drop(0.0, surplus, self._base)

    def _make_room(self, begin: int, end: int) -> None:
        """Open the frames from `begin` to `end`, beside those that are open."""
        before = max(0, self._base - begin) if len(self._sums) else 0
        after = max(0, end - min(begin, self._base) - before - len(self._sums))
        if before or after:
            width = self._sums.shape[1]
            self._sums = np.concatenate((np.zeros((before, width)), self._sums, np.zeros((after, width))))
            room = np.zeros((before + after, width), np.int64)
            self._counts = np.concatenate((room[:before], self._counts, room[before:]))
        self._base = min(begin, self._base)

    def _accumulate(self, rows: npt.NDArray[np.int64], values: Values, columns: _Columns) -> None:
        """Add row by row, so that sums do not depend on how the stream is cut."""
        slow = values[:, columns.slow_columns]
        finite = np.isfinite(slow)
        places = (rows[:, None] * self._sums.shape[1] + columns.slots)[finite]
        np.add.at(self._sums.reshape(-1), places, slow[finite].astype(np.float64))
        np.add.at(self._counts.reshape(-1), places, 1)

    def _close(self, end: int, made: list[Frames]) -> None:
        """Make the open frames before `end`."""
        count = end - self._base
        if count <= 0:
            return
        self._make_room(self._base, end)
        values = np.full((count, len(self._channel_of)), np.nan, np.float32)
        sums, counts = self._sums[:count], self._counts[:count]
        means = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
        values[:, self._slow_features] = means
        for channel, buffer in self._open.items():
            self._describe(channel, buffer, end, values)
        self._hold_last(values)
        made.append(Frames(np.round(np.arange(self._base, end) * self._period, 6), values))
        self._sums, self._counts = self._sums[count:].copy(), self._counts[count:].copy()
        self._base, self._begun = end, True

    def _describe(self, channel: int, buffer: OpenSamples, end: int, values: Values) -> None:
        """Put the spectra of a fast channel into frames before `end`."""
        if not len(buffer):
            return
        settings = self.settings.channels[channel]
        assert settings.rate is not None
        times, samples = buffer.sorted()
        frames = self._frames(times)
        cut = int(np.searchsorted(frames, end))
        first = int(self._feature_at[channel])
        edges = [0, *(np.flatnonzero(np.diff(frames[:cut])) + 1).tolist(), cut]
        for begin, stop in pairwise(edges):
            if stop - begin >= max(2.0, settings.rate * self._period / 2):
                row = int(frames[begin]) - self._base
                features = spectrum(samples[begin:stop], settings.rate, settings.bands)
                values[row, first : first + settings.features] = features
        buffer.keep(times[cut:], samples[cut:])

    def _hold_last(self, values: Values) -> None:
        """Fill what is missing with what was there last, as long as that is held."""
        there = np.isfinite(values[:, self._feature_at])
        if there.all():
            self._held = values[-1].copy()
            self._seen[:] = self._base + len(values) - 1
            return
        numbers = np.arange(self._base, self._base + len(values))[:, None]
        last = np.maximum.accumulate(np.where(there, numbers, self._seen), axis=0)
        held = (~there & (numbers - last <= self._hold))[:, self._channel_of]
        source = (last - self._base)[:, self._channel_of]
        earlier = np.take_along_axis(values, np.maximum(source, 0), axis=0)
        np.copyto(values, np.where(source >= 0, earlier, self._held), where=held)
        now = (last[-1] >= self._base)[self._channel_of]
        rows = np.maximum(last[-1] - self._base, 0)[self._channel_of]
        self._held = np.where(now, values[rows, np.arange(len(rows))], self._held)
        self._seen = last[-1].copy()  # a view would keep the whole block

    def _drop(self, seconds: float, samples: int, first_open: int) -> None:
        """Count late samples, together with those that were counted right before; `first_open` is the frame open at the last."""
        if self.notices and self.notices[-1].what == "late":
            before = self.notices.pop()
            seconds, samples = max(seconds, before.seconds), samples + before.samples
        self._notice("late", first_open, seconds, samples)

    def _notice(self, what: Literal["gap", "jump", "late"], first_open: int, seconds: float, samples: int = 0) -> None:
        self.notices.append(Notice(round((first_open - 1) * self._period, 6), what, seconds, samples))

    def _joined(self, made: list[Frames]) -> Frames:
        if len(made) == 1:
            return made[0]
        if not made:
            return Frames(np.zeros(0), np.zeros((0, len(self._channel_of)), np.float32))
        return Frames(np.concatenate([m.times for m in made]), np.concatenate([m.values for m in made]))


class _Columns(NamedTuple):
    """Which columns of a push are of which channels."""

    width: int
    slow_columns: npt.NDArray[np.int64]
    slots: npt.NDArray[np.int64]
    fast: list[tuple[int, int]]
