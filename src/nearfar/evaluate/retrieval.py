"""Retrieval with embeddings, and the measurements that every ranking gets, whichever system it comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nearfar.embedder import Embedder, Side
from nearfar.errors import RunError
from nearfar.evaluate.bootstrap import Interval, mean_interval
from nearfar.evaluate.metrics import mrr_at, ndcg_at, recall_at
from nearfar.evaluate.task import RetrievalTask
from nearfar.index.exact import exact_search

RANKS = 100
"""How deep a ranking has to go for the measurements below."""


@dataclass(frozen=True, slots=True)
class RetrievalScores:
    """How well a ranking finds what it should; every figure is a share from 0 to 1 with its bootstrap interval.

    Attributes:
        ndcg_at_10: normalised discounted cumulative gain of the first ten.
        recall_at_1: share of the relevant documents that stand first.
        recall_at_10: share of the relevant documents among the first ten.
        recall_at_100: share of the relevant documents among the first hundred.
        mrr_at_10: mean reciprocal rank of the first relevant document among the first ten.
        per_query: the figures of the single queries by the names above, each float64 (q,); paired comparisons need them.
    """

    ndcg_at_10: Interval
    recall_at_1: Interval
    recall_at_10: Interval
    recall_at_100: Interval
    mrr_at_10: Interval
    per_query: dict[str, npt.NDArray[np.float64]]

    def intervals(self) -> dict[str, Interval]:
        """Every figure by its name, in the order of the attributes."""
        return {name: getattr(self, name) for name in self.per_query}


def rank_dense(embedder: Embedder, task: RetrievalTask, k: int = RANKS, *, block: int = 4096) -> npt.NDArray[np.int64]:
    """Rank the documents by the inner product of their embedding with the query's; cosine where rows have unit length.

    Documents are embedded and searched block by block, so memory holds one block of them, never the collection.

    Args:
        embedder: whatever embeds; queries go through its query side.
        task: what to rank.
        k: how many places to fill.
        block: how many documents to hold at a time.

    Returns:
        int64 array (q, min(k, n)), best first; among equals the lower index stands first.

    Raises:
        RunError: if an embedding has the wrong shape or a component that is not finite.
        ValueError: if `k` or `block` is below 1.
    """
    if k < 1 or block < 1:
        raise ValueError(f"k and block must be at least 1, got {k} and {block}")
    queries = _embedded(embedder, list(task.queries), "query")
    scores = np.empty((len(queries), 0), dtype=np.float32)
    ids = np.empty((len(queries), 0), dtype=np.int64)
    for start in range(0, len(task.documents), block):
        texts = [task.documents[index] for index in range(start, min(start + block, len(task.documents)))]
        block_scores, block_ids = exact_search(queries, _embedded(embedder, texts, "document"), k)
        scores = np.concatenate([scores, block_scores], axis=1)
        ids = np.concatenate([ids, block_ids + start], axis=1)
        # Both halves are in order of score and then of index, and the earlier blocks stand on the left: a stable sort by
        # score alone therefore keeps the lower index first.
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        scores = np.take_along_axis(scores, best, axis=1)
        ids = np.take_along_axis(ids, best, axis=1)
    return ids


def measure(
    ranked: npt.NDArray[np.int64], task: RetrievalTask, *, resamples: int = 2000, seed: int = 0
) -> RetrievalScores:
    """Score a ranking of the task's documents.

    Args:
        ranked: document indices (q, c), best first, negative where nothing was retrieved; c is at least min(100, n).
        task: what was ranked.
        resamples: how many bootstrap resamples the intervals rest on.
        seed: of the resampling.

    Returns:
        The figures with 95 % intervals, and those of every query.

    Raises:
        ValueError: if the ranking does not belong to the task or is not deep enough.
    """
    deep_enough = min(RANKS, len(task.documents))
    if ranked.ndim != 2 or ranked.shape[1] < deep_enough:
        raise ValueError(
            f"the ranking must be at least {deep_enough} deep to measure recall at 100, got {ranked.shape}"
        )
    if ranked.max() >= len(task.documents):
        raise ValueError(f"the ranking names document {ranked.max()}; the task has {len(task.documents)}")
    per_query = {
        "ndcg_at_10": ndcg_at(ranked, task.qrels, 10),
        "recall_at_1": recall_at(ranked, task.qrels, 1),
        "recall_at_10": recall_at(ranked, task.qrels, 10),
        "recall_at_100": recall_at(ranked, task.qrels, 100),
        "mrr_at_10": mrr_at(ranked, task.qrels, 10),
    }
    intervals = {name: mean_interval(values, resamples=resamples, seed=seed) for name, values in per_query.items()}
    return RetrievalScores(**intervals, per_query=per_query)


def _embedded(embedder: Embedder, texts: Sequence[str], side: Side) -> npt.NDArray[np.float32]:
    """Embed `texts` and make sure that what came back can be ranked: one NaN would make the order arbitrary."""
    vectors = embedder.embed(texts, side)
    if vectors.shape != (len(texts), embedder.dim):
        raise RunError(f"{len(texts)} {side} texts embedded to shape {vectors.shape}, not {(len(texts), embedder.dim)}")
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        first = texts[int(np.argmin(finite))]
        raise RunError(
            f"{np.count_nonzero(~finite)} of {len(texts)} {side} embeddings are not finite, the first for {first[:80]!r}; "
            "the model has diverged or is damaged: train with a lower learning rate, or export again"
        )
    return vectors
