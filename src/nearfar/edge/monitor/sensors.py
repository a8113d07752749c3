"""Whether each sensor still measures: stuck and unplugged ones are told apart from a machine that changed.

A sensor that measures anything real does not repeat itself exactly for longer than it did in healthy data, or than chance makes of
its noise and digits (`ChannelSettings.longest_flat`). So everything here rests on exact repeats and on silence, never on how unusual a
value is: that is the detector's part.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from nearfar.edge.monitor.events import SensorFault
from nearfar.edge.monitor.samples import LastSamples
from nearfar.frontend.settings import SeriesSettings

Times = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.int8]
Counts = npt.NDArray[np.int64]
_Fault = Literal["stuck", "unplugged", "ok"]

STUCK_TIMES: Final = 3.0
"""A sensor is stuck after so many times the time for which a healthy one may not change ..."""
STUCK_FRAMES: Final = 10
"""... and at least so many frames more than that time."""
RAIL_FRAMES: Final = 3
"""One that shows a value far outside the healthy range without change is unplugged after more than so many frames."""
BACK_FRAMES: Final = 3
"""A lost sensor counts again after so many good frames."""

_GOOD, _SUSPECT, _STUCK, _UNPLUGGED = range(4)
_FAULTS: Final[dict[int, _Fault]] = {_STUCK: "stuck", _UNPLUGGED: "unplugged"}


class Hiding(NamedTuple):
    """From `row` on a channel does not count, and neither do its values since `since`."""

    row: int
    channel: int
    since: float


class Verdict(NamedTuple):
    """What is known of the sensors at each of k frames.

    Attributes:
        hidden: bool (k, C), True where a channel does not count.
        hidings: where that begins, in the order of rows.
        faults: row and event, in the order of rows.
    """

    hidden: Mask
    hidings: list[Hiding]
    faults: list[tuple[int, SensorFault]]


class SensorWatch:
    """Follows the samples of all channels of a stream and says at each frame which of them count.

    A channel is *suspect* from the moment at which it repeats itself exactly for longer than a healthy one does, or
    when it has jumped to one value far outside of the healthy range and has shown nothing else since (not where it
    crept there). A suspect does not count, also not backwards to the first of its repeats, so that a sensor that gets
    stuck raises no alarm of the machine while it is not yet clear that it is stuck. If it moves again, nothing was said
    and it counts again.

    Args:
        settings: of the frontend.
    """

    def __init__(self, settings: SeriesSettings) -> None:
        channels = settings.channels
        self._names = [channel.name for channel in channels]
        self._period = settings.period
        self._samples = LastSamples(settings)
        flat = np.array([channel.longest_flat for channel in channels])
        # A channel that never moved in healthy data (a set point) says nothing by not moving.
        still = np.array([channel.lowest is not None and channel.lowest == channel.highest for channel in channels])
        # A whole frame of equal samples is much for a fast channel; a slow one may have one sample a frame.
        least = np.array([1 if channel.rate else STUCK_FRAMES for channel in channels]) * settings.period
        self._suspect_after = np.where(still, np.inf, flat)
        self._stuck_after = np.where(still, np.inf, np.maximum(STUCK_TIMES * flat, flat + least))
        self._rail_after = np.where(still, np.inf, np.maximum(flat, RAIL_FRAMES * settings.period))
        self._missing_after = int(np.ceil(settings.max_gap / settings.period + settings.window / 2))
        count = len(channels)
        self._silent = np.zeros(count, np.int64)  # frames since the last sample in which others had some
        self._out = np.zeros(count, np.int8)  # what it is out for, or _GOOD
        self._good = np.zeros(count, np.int64)  # good frames since
        self._hidden = np.zeros(count, np.bool_)

    @property
    def out(self) -> dict[str, str]:
        """Channels that do not count now because they are stuck or unplugged, and which of the two."""
        return {name: _FAULTS[int(code)] for name, code in zip(self._names, self._out, strict=True) if code != _GOOD}

    @property
    def samples(self) -> LastSamples:
        """Where samples go before the frames that they belong to are judged."""
        return self._samples

    def judge(self, starts: Times) -> Verdict:
        """Say what counts at frames that are complete now.

        Args:
            starts: float64 (k,), when each begins, ascending; k is 1 or more.
        """
        seen = self._samples.at(starts)
        silent = _since_last(seen.fresh, seen.running, self._silent)
        self._silent = silent[-1].copy()  # or the whole block would be kept
        flat = seen.last - seen.flat_since
        far = ~np.isnan(seen.far_since)
        codes = np.zeros(flat.shape, np.int8)  # comparisons with NaN, before the first sample, are false
        codes[(flat > self._suspect_after) | (seen.flat_since <= seen.far_since)] = _SUSPECT
        codes[flat > self._stuck_after] = _STUCK
        codes[far & (flat > self._rail_after)] = _UNPLUGGED
        lost = silent > self._missing_after
        codes[lost] = _UNPLUGGED
        if not codes.any() and not self._hidden.any():
            return Verdict(codes > _GOOD, [], [])
        begun = np.where(lost, seen.last, seen.flat_since)
        return self._follow(starts, codes, np.where(np.isnan(begun), starts[0], begun))

    def state(self) -> dict[str, Any]:
        """What `restore` takes."""
        own = {"silent": self._silent, "out": self._out, "good": self._good, "hidden": self._hidden}
        return {**own, "samples": self._samples.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where another of the same settings was."""
        self._silent, self._out, self._good = state["silent"], state["out"], state["good"]
        self._hidden = state["hidden"]
        self._samples.restore(state["samples"])

    def _follow(self, starts: Times, codes: Codes, begun: Times) -> Verdict:
        """Turn codes (k, C) into what is said: a channel that is out stays so until it was good for some frames."""
        hidden = codes != _GOOD
        hidings: list[Hiding] = []
        faults: list[tuple[int, SensorFault]] = []
        for channel in np.flatnonzero(hidden.any(axis=0) | self._hidden):
            column = hidden[:, channel]
            faults += self._follow_one(int(channel), starts, codes[:, channel], begun[:, channel], column)
            was = np.append(self._hidden[channel], column[:-1])
            hidings += [
                Hiding(int(row), int(channel), float(begun[row, channel])) for row in np.flatnonzero(column & ~was)
            ]
            self._hidden[channel] = column[-1]
        return Verdict(hidden, sorted(hidings), sorted(faults, key=lambda fault: fault[0]))

    def _follow_one(
        self, channel: int, starts: Times, codes: Codes, begun: Times, hidden: Mask
    ) -> Iterator[tuple[int, SensorFault]]:
        """The events of one channel; `hidden` (k,) is completed where it is still out though it looks good."""
        edges = [0, *(np.flatnonzero(np.diff(codes)) + 1).tolist(), len(codes)]
        for start, stop in pairwise(edges):
            code = int(codes[start])
            if code != _GOOD:
                self._good[channel] = 0
                if code != _SUSPECT and code != self._out[channel]:
                    self._out[channel] = code
                    yield start, self._event(channel, starts[start], _FAULTS[code], begun[start])
            elif self._out[channel] != _GOOD:
                back = start + BACK_FRAMES - int(self._good[channel]) - 1
                hidden[start : min(stop, back)] = True
                self._good[channel] += stop - start
                if back < stop:
                    self._out[channel], self._good[channel] = _GOOD, 0
                    since = starts[back] - (BACK_FRAMES - 1) * self._period
                    yield back, self._event(channel, starts[back], "ok", since)

    def _event(self, channel: int, start: float, fault: _Fault, since: float) -> SensorFault:
        return SensorFault(float(start) + self._period, self._names[channel], fault, float(since))


def _since_last(fresh: Mask, running: Mask, before: Counts) -> Counts:
    """Frames (k, C) since the last fresh one, of those in which the stream ran; `before` (C,) at the start."""
    count = np.cumsum(running)[:, None]
    last = np.maximum.accumulate(np.where(fresh, count, -1), axis=0)
    return np.where(last >= 0, count - last, before + count)
