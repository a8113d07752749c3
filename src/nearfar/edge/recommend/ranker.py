"""What ships, over the cases of an evaluation: every history alone, through the same code as on the device."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nearfar.edge.recommend.profile import Profile
from nearfar.edge.recommend.scorer import Parts, Scorer
from nearfar.errors import DataError
from nearfar.evaluate.ranking import RankingTask
from nearfar.frontend.table import Features

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


class DeviceRanker:
    """A `Ranker` over the bundle and catalogue of a scorer."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    def scores(self, task: RankingTask, cases: Ints) -> Floats:
        """Scores (len(cases), task.count) of all items for these cases, float32.

        Raises:
            DataError: the task is of another catalogue.
        """
        self._check(task)
        rows = [
            self._scorer.scores(self._profile(task, case), float(task.now[case]), _moment(task, case)) for case in cases
        ]
        return np.stack(rows) if rows else np.empty((0, task.count), dtype=np.float32)

    def parts(self, task: RankingTask, cases: Ints) -> Parts:
        """The parts of the scores, not weighted: encoder and prior (len(cases), task.count), popularity (task.count,).

        Raises:
            DataError: the task is of another catalogue.
        """
        self._check(task)
        shape = (len(cases), task.count)
        encoder, prior = np.empty(shape, dtype=np.float32), np.empty(shape, dtype=np.float32)
        for row, case in enumerate(cases):
            encoder[row], prior[row], _ = self._scorer.parts(
                self._profile(task, case), float(task.now[case]), _moment(task, case)
            )
        return Parts(encoder, prior, self._scorer.catalogue.popularity.astype(np.float32))

    def _profile(self, task: RankingTask, case: int) -> Profile:
        """That of a user with the history of one case; its long-term vector, which does not rank, is left at zero."""
        new = self._scorer.new_profile()
        end = int(task.end[case])
        history = slice(max(int(task.begin[case]), end - new.length), end)
        items, times, weights = (part[history] for part in (task.items, task.times, task.weights))
        return Profile(
            new.length,
            new.decay,
            items.astype(np.int64),
            times.astype(np.float64),
            weights.astype(np.float32),
            new.long_term,
            len(items),
        )

    def _check(self, task: RankingTask) -> None:
        if task.count != len(self._scorer.catalogue):
            raise DataError(
                f"{self._scorer.bundle.path}: has {len(self._scorer.catalogue):,} items, but the cases are of {task.count:,}: "
                "number their items by this catalogue"
            )


def _moment(task: RankingTask, case: int) -> Features | None:
    """What is known of the moment of a case besides, (1, F)."""
    if task.values is None or task.codes is None:
        return None
    return Features(task.values[case : case + 1], task.codes[case : case + 1])
