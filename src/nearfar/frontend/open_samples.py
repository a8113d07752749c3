"""Samples of a fast channel whose frame is still open."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Times = npt.NDArray[np.float64]
Values = npt.NDArray[np.float32]

_FIRST_ROOM = 256


class OpenSamples:
    """A buffer that grows in steps, so that taking one sample costs little.

    Args:
        most: samples that `shrink` leaves.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._count = 0
        self._times = np.empty(_FIRST_ROOM)
        self._values = np.empty(_FIRST_ROOM, np.float32)

    def __len__(self) -> int:
        return self._count

    def arrays(self) -> tuple[Times, Values]:
        """Times (n,) and values (n,), in the order in which they came."""
        return self._times[: self._count].copy(), self._values[: self._count].copy()

    def sorted(self) -> tuple[Times, Values]:
        """Times (n,) and values (n,), in the order of time."""
        times, values = self.arrays()
        if len(times) > 1 and (times[1:] < times[:-1]).any():
            order = np.argsort(times, kind="stable")
            return times[order], values[order]
        return times, values

    def append(self, times: Times, values: Values) -> None:
        """Take n more."""
        end = self._count + len(times)
        if end > len(self._times):
            room = max(end, 2 * len(self._times))
            self._times = np.concatenate((self._times[: self._count], np.empty(room - self._count)))
            self._values = np.concatenate((self._values[: self._count], np.empty(room - self._count, np.float32)))
        self._times[self._count : end] = times
        self._values[self._count : end] = values
        self._count = end

    def keep(self, times: Times, values: Values) -> None:
        """Hold these and no others."""
        self._count = 0
        self.append(times, values)

    def shrink(self) -> int:
        """Drop what came beyond the most that is held, and the room for it; return how many samples that were."""
        surplus = max(0, self._count - self._most)
        self._count -= surplus
        if len(self._times) > 2 * self._most + _FIRST_ROOM:
            self._times = self._times[: self._most].copy()
            self._values = self._values[: self._most].copy()
        return surplus
