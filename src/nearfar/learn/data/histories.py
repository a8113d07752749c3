"""What users did, by user and time: which of it is held out, and how far a history reaches at a moment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nearfar.learn.data.actions import Ints
from nearfar.learn.data.split import DROPPED, TEST, TRAIN, VALIDATION
from nearfar.recipe.data import Split

Sides = npt.NDArray[np.int8]
Flags = npt.NDArray[np.bool_]
Times = npt.NDArray[np.float64]

_LEAST = 3
"""Actions of a user of which the last two may be held out."""


def sides_of(offsets: Ints, times: Times, learned: Flags, moments: tuple[float, float] | None, split: Split) -> Sides:
    """What each action may be a target of.

    Args:
        offsets: int64 (users + 1,), whose actions are which; each user's oldest first.
        times: float64 (e,).
        learned: bool (e,), whether its user is learned from.
        moments: when validation and test begin; None for a split by last actions.
        split: of the recipe.

    Returns:
        int8 (e,): TRAIN, VALIDATION, TEST, or DROPPED for those in histories only.
    """
    if moments is not None:
        by_time = side_at(times, moments)
        return np.where((by_time == TRAIN) & ~learned, DROPPED, by_time).astype(np.int8)
    side = np.full(len(times), TRAIN, np.int8)
    last = offsets[1:][np.diff(offsets) >= _LEAST] - 1
    for held_out, share in ((TEST, split.test), (VALIDATION, split.validation)):
        if share > 0:
            side[last] = held_out
            last = last - 1
    return side


def side_at(times: Times, moments: tuple[float, float]) -> Sides:
    """Side of moments (n,) in a split by time."""
    return np.where(times < moments[0], TRAIN, np.where(times < moments[1], VALIDATION, TEST)).astype(np.int8)


@dataclass(frozen=True)
class Histories:
    """What users did, to be asked for the state at a moment.

    Attributes:
        offsets: int64 (users + 1,).
        times: float64 (e,).
        side: int8 (e,).
        rows: int64 (e,), of the log.
        place: int64 (users of the log,), number of each user here, -1 for none.
    """

    offsets: Ints
    times: Times
    side: Sides
    rows: Ints
    place: Ints

    def before(self, users: Ints, rows: Ints, times: Times) -> Ints:
        """Where the history of each user (m,) ends that leads up to a row of the log (m,) at a time (m,).

        Of actions at the same time those count that come earlier in the log.
        """
        owners = np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))
        at = np.concatenate([self.times, times])
        order = np.lexsort((np.concatenate([self.rows, rows]), at, np.concatenate([owners, users])))
        earlier = np.cumsum(order < len(self.rows))
        ends = np.empty(len(order), np.int64)
        ends[order] = earlier
        return ends[len(self.rows) :]
