"""Peers of benchmarks/recommend.py: factors of the matrix of users and items, by the package `implicit`."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from nearfar.evaluate.ranking import Ints, RankingTask
from tools.recommend_learned import Floats, Sequences, histories


class Als:
    """Weighted matrix factorisation (Hu, Koren and Volinsky, 2008); the factors of a history are solved for anew.

    Args:
        learned: the actions; how often does not count.
        factors: of a user and of an item.
        regularisation: of the factors.
        alpha: weight of what was acted on.
        seed: of the start.
    """

    def __init__(
        self, learned: Sequences, *, factors: int = 64, regularisation: float = 0.01, alpha: float = 1.0, seed: int = 0
    ) -> None:
        from implicit.cpu.als import AlternatingLeastSquares

        self._model: Any = AlternatingLeastSquares(
            factors=factors,
            regularization=regularisation,
            alpha=alpha,
            iterations=20,
            num_threads=1,
            random_state=seed,
        )
        self._model.fit(learned.matrix(), show_progress=False)

    def scores(self, task: RankingTask, cases: Ints) -> Floats:
        """Scores (len(cases), task.count)."""
        found = self._model.recalculate_user(np.arange(len(cases)), histories(task, cases))
        return np.asarray(found @ self._model.item_factors.T, dtype=np.float32)


class Bpr:
    """Bayesian personalised ranking (Rendle and others, 2009).

    Users whom it learned have their own factors. It knows no way to those of others: theirs are the mean of the factors of the items of
    their history, which is where its gradient pulls a user.

    Args:
        learned: the actions; how often does not count.
        factors: of a user and of an item.
        regularisation: of the factors.
        rate: of learning.
        epochs: draws, in numbers of actions.
        seed: of the start and the draws.
    """

    def __init__(
        self,
        learned: Sequences,
        *,
        factors: int = 64,
        regularisation: float = 0.01,
        rate: float = 0.05,
        epochs: int = 100,
        seed: int = 0,
    ) -> None:
        from implicit.cpu.bpr import BayesianPersonalizedRanking

        self._model: Any = BayesianPersonalizedRanking(
            factors=factors,
            regularization=regularisation,
            learning_rate=rate,
            iterations=epochs,
            num_threads=1,
            random_state=seed,
        )
        matrix = learned.matrix()
        self._model.fit(matrix, show_progress=False)
        self._seen = matrix

    def scores(self, task: RankingTask, cases: Ints) -> Floats:
        """Scores (len(cases), task.count)."""
        items = np.asarray(self._model.item_factors)
        acted = histories(task, cases)
        users = _means(acted, items)
        users[:, -1] = 1.0  # the last factor of an item is its bias
        own = self._learned(acted, task.users[cases])
        users[own] = self._model.user_factors[task.users[cases][own]]
        return np.asarray(users @ items.T, dtype=np.float32)

    def _learned(self, acted: csr_matrix, users: Ints) -> Ints:
        """Places of the cases whose history was learned whole: others have done more since."""
        within = users < self._seen.shape[0]
        known = np.zeros(len(users), dtype=bool)
        known[within] = (acted[within] != self._seen[users[within]]).sum(axis=1).A1 == 0
        return np.flatnonzero(known)


def _means(rows: csr_matrix, vectors: Floats) -> Floats:
    totals = np.asarray(rows.sum(axis=1), dtype=np.float32)
    return np.asarray(rows @ vectors / np.maximum(totals, 1.0), dtype=np.float32)
