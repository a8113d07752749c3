"""Ranking of all items by what a user did before: each held-out action is looked for among everything the user had not acted on yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RankingTask:
    """Histories, each with the action that came next.

    Case c has the history `items[begin[c]:end[c]]`, oldest first, and looks for `targets[c]`; several cases of one user share what they
    have in common.

    Attributes:
        count: items that can be recommended; they are numbered from 0.
        items: int64 (e,), what was acted on.
        times: float64 (e,), seconds since 1970.
        weights: float32 (e,), above 0.
        begin: int64 (c,).
        end: int64 (c,).
        targets: int64 (c,); -1 for one that cannot be recommended, which is a miss.
        now: float64 (c,), when the target was acted on.
        users: int64 (c,), whose case it is; figures are means over users of the means over their cases.
        popularity: float64 (count,), how often items were acted on in training.
    """

    count: int
    items: Ints
    times: npt.NDArray[np.float64]
    weights: npt.NDArray[np.float32]
    begin: Ints
    end: Ints
    targets: Ints
    now: npt.NDArray[np.float64]
    users: Ints
    popularity: npt.NDArray[np.float64]


class Ranker(Protocol):
    """Anything that scores all items for a history."""

    def scores(self, task: RankingTask, cases: Ints) -> npt.NDArray[np.float32]:
        """Scores (len(cases), task.count) of all items for these cases; larger is better."""
        ...
