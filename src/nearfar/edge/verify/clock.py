"""The time that delays are counted by, which nobody shortens by setting a clock.

While the system runs, the time since it was started counts (`CLOCK_BOOTTIME`, which goes on in standby): nobody can set it, so a wall
clock that is set ahead or back changes nothing. Across a restart only the wall clock can tell how long the pause was; then the later of
it and of what the vault has seen counts. Who can restart the device with its clock set ahead so ends a delay. The number of failures
after which everything is disabled depends on no clock.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_OF_THIS_PROCESS = secrets.token_hex(16)


class Moment(NamedTuple):
    """A point in time, as a vault has seen it.

    Attributes:
        at: what delays are counted by, in seconds; it began as seconds since 1970, and never goes back.
        wall: what the wall clock says, in seconds since 1970.
        boot: names the run of the system.
        ticks: seconds since that run began.
    """

    at: float
    wall: float
    boot: str
    ticks: float


def ticks() -> float:
    """Seconds since the system was started, with standby; where it does not tell, those of the monotonic clock."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


def boot() -> str:
    """Names the run of the system; where that has no name, this process."""
    try:
        return _BOOT.read_text("ascii").strip()
    except (OSError, ValueError):
        return _OF_THIS_PROCESS


class ForwardClock:
    """Time that only goes forward; see the head of this module.

    Args:
        wall: seconds since 1970.
        ticks: seconds since the system was started.
        boot: names the run of the system.
    """

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        ticks: Callable[[], float] = ticks,
        boot: Callable[[], str] = boot,
    ) -> None:
        self._wall, self._ticks, self._boot = wall, ticks, boot()

    def now(self, before: Moment) -> Moment:
        """The present, after the last moment that the vault has seen."""
        wall, ticks = self._wall(), self._ticks()
        same = self._boot == before.boot
        at = before.at + max(0.0, ticks - before.ticks) if same else max(wall, before.at)
        return Moment(at, wall, self._boot, ticks)

    def anew(self) -> Moment:
        """The present by the wall clock, whatever was seen; for the holder of the key."""
        wall = self._wall()
        return Moment(wall, wall, self._boot, self._ticks())
