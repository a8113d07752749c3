"""Rankers that only count, to set beside those that learn: popularity, item neighbours, transitions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nearfar.evaluate.ranking import RankingTask

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Ints = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float32]


class Popularity:
    """What most have acted on, the same for everybody."""

    def scores(self, task: RankingTask, cases: Ints) -> Scores:
        """How often each item was acted on in training, (len(cases), task.count)."""
        return np.tile(task.popularity.astype(np.float32), (len(cases), 1))


class ItemKnn:
    """Items that the same people acted on, by cosine, the latest actions counting most.

    The table of all pairs is never made: a batch of histories goes to the people that share its items, and back to theirs.

    Args:
        items: (e,) what was acted on in training.
        owners: (e,) by whom.
        count: how many items there are.
        decay: weight of each older action of the history, as a share of the one after it; 1 counts all alike.
        last: actions of the history that are looked at.

    Source: Sarwar et al., Item-Based Collaborative Filtering Recommendation Algorithms, WWW 2001, section 3.1.1.
    """

    def __init__(self, items: Ints, owners: Ints, count: int, *, decay: float = 0.5, last: int = 50) -> None:
        from scipy.sparse import csr_matrix, diags

        people = np.unique(owners, return_inverse=True)[1]
        acted = csr_matrix(
            (np.ones(len(items), np.float32), (people, items)), shape=(people.max(initial=-1) + 1, count)
        )
        acted.data[:] = 1.0  # twice is no more than once
        lengths = np.sqrt(np.asarray(acted.sum(axis=0)).ravel())
        self._units: csr_matrix = (acted @ diags(1.0 / np.maximum(lengths, 1.0))).tocsr().astype(np.float32)
        self._known = (lengths > 0).astype(np.float32)
        self._decay, self._last = decay, last

    def scores(self, task: RankingTask, cases: Ints) -> Scores:
        """Sum of cosines to the past items, (len(cases), task.count)."""
        asked = latest_actions(task, cases, decay=self._decay, last=self._last)
        alike = (asked @ self._units.T) @ self._units
        itself = asked.multiply(self._known[None])  # an item is no neighbour of its own
        return np.asarray((alike - itself).todense(), dtype=np.float32)


class Transitions:
    """What others did after what this user did last, by the shares of what came after each item.

    Args:
        counts: sparse (count, count), of `count_transitions`.
        decay: weight of each older action of the history, as a share of the one after it.
        last: actions of the history that are looked at.
        smoothing: is added to what an item was followed by in all, so that rare ones say less.
    """

    def __init__(self, counts: csr_matrix, *, decay: float = 0.6, last: int = 5, smoothing: float = 5.0) -> None:
        from scipy.sparse import diags

        totals = np.asarray(counts.sum(axis=1)).ravel() + smoothing
        shares = np.divide(1.0, totals, out=np.zeros_like(totals), where=totals > 0)
        self._shares: csr_matrix = (diags(shares) @ counts).tocsr().astype(np.float32)
        self._decay, self._last = decay, last

    def scores(self, task: RankingTask, cases: Ints) -> Scores:
        """Mixture of the shares over the past items, (len(cases), task.count)."""
        asked = latest_actions(task, cases, decay=self._decay, last=self._last)
        return np.asarray((asked @ self._shares).todense(), dtype=np.float32)


def latest_actions(task: RankingTask, cases: Ints, *, decay: float, last: int) -> csr_matrix:
    """The items of the latest actions, weighted by their place.

    Args:
        task: with the histories.
        cases: (n,) which of them.
        decay: weight of each older action, as a share of the one after it.
        last: actions that are looked at.

    Returns:
        Sparse float32 (n, task.count): decay ** (actions since); an item that was acted on several times has the sum.
    """
    from scipy.sparse import csr_matrix

    lengths = np.minimum(task.end[cases] - task.begin[cases], last)
    rows = np.repeat(np.arange(len(cases)), lengths)
    since = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    columns = task.items[np.repeat(task.end[cases] - 1, lengths) - since]
    weights = np.power(decay, since, dtype=np.float64).astype(np.float32)
    return csr_matrix((weights, (rows, columns)), shape=(len(cases), task.count))
