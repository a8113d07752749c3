"""Ranking metrics per query, as TREC and BEIR define them (`trec_eval`: ndcg_cut, recall, recip_rank).

All take the same two things: `ranked`, an int64 array (q, c) with one row of document indices a query, best first, and
`qrels`, which gives for every query the gain of each judged document. A negative index in `ranked` says that nothing was
retrieved at that place. Documents without a judgement, or with a gain of 0 or less, are not relevant. Every metric is 0
for a query that has no relevant document.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

Qrels = Sequence[Mapping[int, float]]
"""For each query, the gain of each judged document by its index."""


def ndcg_at(ranked: npt.NDArray[np.int64], qrels: Qrels, k: int) -> npt.NDArray[np.float64]:
    """Normalised discounted cumulative gain of the first `k` places, with linear gain and a discount of log2(rank + 1).

    Args:
        ranked: document indices (q, c), best first.
        qrels: q mappings from document index to gain.
        k: how many places count, at least 1; places that `ranked` does not have count as nothing retrieved.

    Returns:
        float64 array (q,) in [0, 1].

    Raises:
        ValueError: if the shapes do not fit together or a row names a document twice.

    Source: Järvelin and Kekäläinen, Cumulated gain-based evaluation of IR techniques, TOIS 2002; the discount is that of
    `trec_eval` (and scikit-learn), the ideal ranking is that of all judged documents.
    """
    gains = _gains(ranked, qrels, k)
    discounts = 1.0 / np.log2(np.arange(2, k + 2))
    gained: npt.NDArray[np.float64] = gains @ discounts[: gains.shape[1]]
    ideal = np.zeros(len(qrels))
    for query, judged in enumerate(qrels):
        best = sorted((gain for gain in judged.values() if gain > 0), reverse=True)[:k]
        ideal[query] = np.dot(best, discounts[: len(best)])
    return np.asarray(np.divide(gained, ideal, out=np.zeros_like(ideal), where=ideal > 0))


def recall_at(ranked: npt.NDArray[np.int64], qrels: Qrels, k: int) -> npt.NDArray[np.float64]:
    """Share of a query's relevant documents that are among the first `k`.

    The share is of all relevant documents, not of min(k, relevant): with three relevant documents recall at 1 is at most 1/3.

    Args:
        ranked: document indices (q, c), best first.
        qrels: q mappings from document index to gain.
        k: how many places count, at least 1.

    Returns:
        float64 array (q,) in [0, 1].

    Raises:
        ValueError: if the shapes do not fit together or a row names a document twice.
    """
    found: npt.NDArray[np.int64] = np.count_nonzero(_gains(ranked, qrels, k), axis=1)
    relevant = np.array([sum(gain > 0 for gain in judged.values()) for judged in qrels], dtype=np.int64)
    return found / np.maximum(relevant, 1)


def mrr_at(ranked: npt.NDArray[np.int64], qrels: Qrels, k: int) -> npt.NDArray[np.float64]:
    """Reciprocal of the rank of the first relevant document, 0 if it is not among the first `k`.

    Args:
        ranked: document indices (q, c), best first.
        qrels: q mappings from document index to gain.
        k: how many places count, at least 1.

    Returns:
        float64 array (q,) in [0, 1]; its mean is the mean reciprocal rank.

    Raises:
        ValueError: if the shapes do not fit together or a row names a document twice.
    """
    relevant = _gains(ranked, qrels, k) > 0
    reciprocal_ranks = relevant / np.arange(1, relevant.shape[1] + 1)
    return np.asarray(reciprocal_ranks.max(axis=1, initial=0.0))


def _gains(ranked: npt.NDArray[np.int64], qrels: Qrels, k: int) -> npt.NDArray[np.float64]:
    """Gain (q, min(k, c)) of what stands at each of the first `k` places; 0 for whatever is not relevant."""
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if ranked.ndim != 2 or len(ranked) != len(qrels):
        raise ValueError(f"ranked must have one row for each of the {len(qrels)} queries, got shape {ranked.shape}")
    top = ranked[:, :k]
    in_order = np.sort(top, axis=1)
    if bool(((in_order[:, 1:] == in_order[:, :-1]) & (in_order[:, 1:] >= 0)).any()):
        raise ValueError("a row of ranked names the same document twice; its gain would count twice")
    gains = np.zeros(top.shape, dtype=np.float64)
    for query, judged in enumerate(qrels):
        for place, document in enumerate(top[query].tolist()):
            if document >= 0:
                gains[query, place] = max(judged.get(document, 0.0), 0.0)
    return gains
