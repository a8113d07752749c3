"""How the embedding's score and the keyword score become one: a linear function with learned weights."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt

from nearfar.bundle.manifest import Fusion
from nearfar.errors import BundleError, DataError

FEATURES = ("dense", "bm25", "bm25_relative")
"""What is known of a candidate: cosine with the query; BM25, 0 where no word matches; BM25 over the best of this query."""

NEUTRAL = Fusion(features=FEATURES, weights=(1.0, 0.0, 0.3))
"""Used where nothing was learned. Among the hundred best candidates cosine spreads over about 0.3 and `bm25_relative`
over 1, so these weights let either side outvote the other. Being relative, it does not depend on the size of the store."""

_NON_NEGATIVE = (1, 2)
_MAX_STEPS = 100

Features = npt.NDArray[np.float32]


def check_fusion(fusion: Fusion) -> None:
    """Refuse a fusion over features that this version does not compute.

    Raises:
        BundleError: naming the feature.
    """
    unknown = [name for name in fusion.features if name not in FEATURES]
    if unknown:
        raise BundleError(
            f"the bundle joins scores by {', '.join(unknown)}, which this nearfar does not know "
            f"(known: {', '.join(FEATURES)}): upgrade nearfar"
        )


def fuse(features: Features, fusion: Fusion) -> npt.NDArray[np.float32]:
    """One score a candidate.

    Args:
        features: float32 (c, 3), columns as in `FEATURES`.
        fusion: weights by name of feature; a feature it does not name counts nothing.

    Returns:
        float32 (c,).
    """
    named = dict(zip(fusion.features, fusion.weights, strict=True))
    return features @ np.array([named.get(name, 0.0) for name in FEATURES], dtype=np.float32)


def fit_fusion(queries: Sequence[tuple[Features, npt.NDArray[np.bool_]]], *, penalty: float = 1e-4) -> Fusion:
    """Learn the weights from queries whose relevant documents are known.

    Minimises the listwise softmax cross-entropy, mean over queries of `log sum_c exp(s_c) - mean_{c relevant} s_c`, plus
    a small squared penalty on the weights measured in standard deviations of their features. BM25 may not count
    against a document. The loss is convex in three weights, so it is solved exactly: Newton's method for each choice
    of which BM25 weights are zero, and the best allowed solution. No randomness.

    Args:
        queries: for each query the features (c, 3) of its candidates, and which of them are relevant (c,). Queries with
            none or only relevant candidates tell nothing and are passed over.
        penalty: strength of the penalty.

    Raises:
        DataError: no query tells anything.

    Source: Cao et al., "Learning to rank: from pairwise approach to listwise approach", 2007 (top-one probability).
    """
    telling = [(f, r) for f, r in queries if 0 < np.count_nonzero(r) < len(r)]
    if not telling:
        raise DataError(
            f"cannot learn how to join embedding and keywords: none of {len(queries)} queries has a relevant document "
            "among its candidates beside others; give more held-out pairs"
        )
    listwise = _Listwise(telling, penalty)
    solutions = []
    for zeros in (zeros for count in range(3) for zeros in combinations(_NON_NEGATIVE, count)):
        weights = listwise.minimise([column for column in range(len(FEATURES)) if column not in zeros])
        if all(weights[column] >= 0 for column in _NON_NEGATIVE):
            solutions.append((listwise.loss(weights), zeros, weights))
    _, _, best = min(solutions, key=lambda solution: solution[:2])
    return Fusion(features=FEATURES, weights=tuple((best / listwise.deviations).tolist()), queries=len(telling))


class _Listwise:
    """The loss over all queries at once; rows of all candidates lie behind one another."""

    def __init__(self, queries: Sequence[tuple[Features, npt.NDArray[np.bool_]]], penalty: float) -> None:
        rows = np.concatenate([features for features, _ in queries]).astype(np.float64)
        spread = rows.std(axis=0)
        self.deviations = np.where(spread > 0, spread, 1.0)
        self._rows = rows / self.deviations
        lengths = np.array([len(relevant) for _, relevant in queries])
        self._starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        self._query = np.repeat(np.arange(len(queries)), lengths)
        # The mean features of the relevant candidates, averaged over queries: the linear part of the loss.
        share = np.concatenate([relevant / np.count_nonzero(relevant) for _, relevant in queries]) / len(queries)
        self._target = share @ self._rows
        self._penalty = penalty

    def _softmax(self, weights: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        """Mean log partition, and the probabilities of all candidates over the number of queries."""
        scores = self._rows @ weights
        peaks = np.maximum.reduceat(scores, self._starts)
        exponentials = np.exp(scores - peaks[self._query])
        sums = np.add.reduceat(exponentials, self._starts)
        return float(np.mean(np.log(sums) + peaks)), exponentials / sums[self._query] / len(self._starts)

    def loss(self, weights: npt.NDArray[np.float64]) -> float:
        """Cross-entropy and penalty at `weights` (3,), in units of standard deviations."""
        partition, _ = self._softmax(weights)
        return partition - float(self._target @ weights) + self._penalty * float(weights @ weights)

    def minimise(self, free: Sequence[int]) -> npt.NDArray[np.float64]:
        """Newton's method with step halving over the columns in `free`; the other weights stay zero."""
        weights = np.zeros(len(FEATURES))
        columns = np.array(free)
        loss = self.loss(weights)
        for _ in range(_MAX_STEPS):
            _, shares = self._softmax(weights)
            rows = self._rows[:, columns]
            means = np.add.reduceat(shares[:, None] * rows, self._starts)
            gradient = means.sum(axis=0) - self._target[columns] + 2 * self._penalty * weights[columns]
            hessian = (rows * shares[:, None]).T @ rows - len(self._starts) * means.T @ means
            step = np.linalg.solve(hessian + 2 * self._penalty * np.eye(len(columns)), gradient)
            decrease = float(gradient @ step)
            size = 1.0
            while decrease > 1e-12 and size > 1e-8:
                tried = weights.copy()
                tried[columns] -= size * step
                tried_loss = self.loss(tried)
                if tried_loss <= loss - 0.25 * size * decrease:
                    break
                size /= 2
            else:
                break
            weights, loss = tried, tried_loss
        return weights
