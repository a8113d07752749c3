"""Time that only goes forward, so that setting the clock back shortens no delay."""

from __future__ import annotations

import time
from collections.abc import Callable


class ForwardClock:
    """The wall clock, but never before what was seen, and going on from there at the pace of a clock that nobody can set.

    A wall clock that is set ahead cannot be told from time that passed; so it shortens a delay. The number of failures after which
    everything is disabled does not depend on any clock.

    Args:
        wall: seconds since 1970.
        ticks: seconds that pass, from any beginning.
    """

    def __init__(self, wall: Callable[[], float] = time.time, ticks: Callable[[], float] = time.monotonic) -> None:
        self._wall, self._ticks = wall, ticks
        self._anchor: tuple[float, float] | None = None

    def now(self, seen: float) -> float:
        """The time in seconds since 1970.

        Args:
            seen: the latest time that the vault has seen.
        """
        tick = self._ticks()
        run = seen if self._anchor is None else self._anchor[0] + (tick - self._anchor[1])
        now = max(self._wall(), seen, run)
        self._anchor = (now, tick)
        return now

    def set_back(self) -> float:
        """Believe the wall clock again, whatever was seen; for the holder of the key."""
        self._anchor = (self._wall(), self._ticks())
        return self._anchor[0]
