"""Which beginnings and ends of alarms are told: one that comes again soon is still the same, and nobody is told twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nearfar.edge.monitor.decide import Change

Times = npt.NDArray[np.float64]


class Teller:
    """Passes on the changes of a `Decider`, but holds an end back until it is sure to last.

    Args:
        hold: seconds after an end in which the next alarm is the same one.
    """

    def __init__(self, hold: float) -> None:
        self._hold = hold
        self._since: float | None = None  # when the alarm was raised that is told; None where there is none
        self._peak = -np.inf
        self._end: tuple[float, bool] | None = (
            None  # when it ended, if that is not told yet, and whether it had settled
        )

    @property
    def open(self) -> bool:
        """Whether an alarm was told and its end was not."""
        return self._since is not None

    def push(self, ends: Times, changes: Sequence[Change]) -> list[Change]:
        """Take the next frames and what changed with them.

        Args:
            ends: float64 (k,), when the frames end.
            changes: in the order of time.

        Returns:
            What is to be told, in the order of rows. An end has the row from which it is sure, and the time at which it was.
        """
        told: list[Change] = []
        for change in changes:
            told += self._sure(ends, change.row + 1)
            if not change.raised:
                self._peak = max(self._peak, change.score)
                self._end = (change.time, change.settled)
            elif self._since is None:
                self._since, self._peak = change.time, -np.inf
                told.append(change)
            else:
                self._end = None
        return told + self._sure(ends, len(ends))

    def shift(self, seconds: float) -> None:
        """Follow a clock that was set."""
        if self._since is not None:
            self._since += seconds
        if self._end is not None:
            self._end = (self._end[0] + seconds, self._end[1])

    def state(self) -> dict[str, Any]:
        """What `restore` takes."""
        ended, settled = self._end or (None, False)
        return {"since": self._since, "peak": self._peak, "ended": ended, "settled": settled}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where another was."""
        self._since, self._peak = state["since"], state["peak"]
        self._end = None if state["ended"] is None else (state["ended"], state["settled"])

    def _sure(self, ends: Times, stop: int) -> list[Change]:
        """The end that is sure by one of the frames before row `stop`, if there is one."""
        if self._end is None or self._since is None:
            return []
        time, settled = self._end
        row = int(np.searchsorted(ends, time + self._hold))
        if row >= stop:
            return []
        change = Change(row, False, time, self._since, self._peak, settled)
        self._since = self._end = None
        return [change]
