"""What the peers of benchmarks/recommend.py learn from: the actions of a corpus in the order of time, user by user."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from nearfar.evaluate.ranking import Ints, RankingTask
from nearfar.learn.data.actions import ActionCorpus
from nearfar.learn.data.split import TRAIN

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Sequences:
    """What users did, oldest first.

    Attributes:
        count: items that can be recommended.
        offsets: int64 (users + 1,): user u has `items[offsets[u]:offsets[u + 1]]`.
        items: int64 (e,), each below `count`.
    """

    count: int
    offsets: Ints
    items: Ints

    @property
    def owners(self) -> Ints:
        """Whose each action is, int64 (e,)."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))

    def matrix(self) -> csr_matrix:
        """Users by items, float32, 1 where a user acted on an item, however often."""
        return _binary(self.items, self.offsets, self.count)


def sequences(corpus: ActionCorpus, count: int, sides: tuple[int, ...] = (TRAIN,)) -> Sequences:
    """The actions of some sides of the split.

    Args:
        corpus: as the run of nearfar learns from.
        count: items that can be recommended, as in its ranking tasks.
        sides: TRAIN alone, or with VALIDATION where a peer learns from that as well.
    """
    kept = np.isin(corpus.side, sides) & (corpus.items >= 0) & (corpus.items < count)
    before = np.concatenate([[0], np.cumsum(kept)])
    return Sequences(count, before[corpus.offsets].astype(np.int64), corpus.items[kept])


def histories(task: RankingTask, cases: Ints) -> csr_matrix:
    """Cases by items, float32, 1 where an item is in the history of a case."""
    lengths = task.end[cases] - task.begin[cases]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    places = np.arange(offsets[-1]) - np.repeat(offsets[:-1] - task.begin[cases], lengths)
    return _binary(task.items[places], offsets, task.count)


def latest(task: RankingTask, cases: Ints, length: int) -> Ints:
    """The last items of the histories (len(cases), length), oldest first, -1 before the first."""
    places = task.end[cases, None] - length + np.arange(length)
    known = places >= task.begin[cases, None]
    return np.where(known, task.items[np.maximum(places, 0)], -1)


def _binary(items: Ints, offsets: Ints, count: int) -> csr_matrix:
    known = items >= 0
    kept = np.concatenate([[0], np.cumsum(known)])[offsets]
    found = csr_matrix((np.ones(int(kept[-1]), dtype=np.float32), items[known], kept), shape=(len(offsets) - 1, count))
    found.sum_duplicates()
    found.data[:] = 1.0
    return found
