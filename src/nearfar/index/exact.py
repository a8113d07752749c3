"""Exact nearest neighbours by inner product, in blocks, so that the whole (q, n) matrix never exists."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def top_k(
    scores: npt.NDArray[np.float32], ids: npt.NDArray[np.int64], k: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """The k best columns of every row, best first; equal scores are ordered by the lower id.

    Args:
        scores: float32 (q, n).
        ids: int64 (q, n), or (n,) where all rows share them.
        k: how many to keep; more than n keeps n.

    Returns:
        Scores float32 (q, min(k, n)) and ids int64 of the same shape.
    """
    ids = np.broadcast_to(ids, scores.shape)
    if k < scores.shape[1]:
        kept = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        # A partition picks any of the columns that tie at the border; only rows where that matters are sorted whole.
        border = np.take_along_axis(scores, kept, axis=1).min(axis=1, keepdims=True)
        for row in np.flatnonzero((scores >= border).sum(axis=1) > k):
            kept[row] = np.lexsort((ids[row], -scores[row]))[:k]
        scores, ids = np.take_along_axis(scores, kept, axis=1), np.take_along_axis(ids, kept, axis=1)
    order = np.lexsort((ids, -scores), axis=1)
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(ids, order, axis=1)


def exact_search(
    queries: npt.NDArray[np.float32],
    documents: npt.NDArray[np.float32],
    k: int,
    *,
    block: int = 8192,
    query_block: int = 256,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """The k documents with the largest inner product with each query.

    Memory beside inputs and outputs is about `query_block x (block + k)` numbers, whatever q and n are.

    Args:
        queries: float32 (q, d).
        documents: float32 (n, d).
        k: neighbours a query, at least 1; more than n gives n columns.
        block: documents looked at together.
        query_block: queries looked at together.

    Returns:
        Scores float32 (q, min(k, n)), best first, and ids int64 of the same shape: row numbers of `documents`.
        Equal scores are ordered by the lower id.

    Raises:
        ValueError: k below 1, or the arrays do not share d.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if queries.ndim != 2 or documents.ndim != 2 or queries.shape[1] != documents.shape[1]:
        raise ValueError(f"queries {queries.shape} and documents {documents.shape} must be (q, d) and (n, d)")
    columns = min(k, len(documents))
    best_scores = np.empty((len(queries), columns), dtype=np.float32)
    best_ids = np.empty((len(queries), columns), dtype=np.int64)
    for first in range(0, len(queries), query_block):
        rows = slice(first, first + query_block)
        part = np.ascontiguousarray(queries[rows], dtype=np.float32)
        scores = np.empty((len(part), 0), dtype=np.float32)
        ids = np.empty((len(part), 0), dtype=np.int64)
        for start in range(0, len(documents), block):
            found = part @ np.asarray(documents[start : start + block], dtype=np.float32).T
            found_ids = np.arange(start, start + found.shape[1], dtype=np.int64)
            found, found_ids = top_k(found, found_ids, columns)
            scores, ids = top_k(np.hstack([scores, found]), np.hstack([ids, found_ids]), columns)
        best_scores[rows], best_ids[rows] = scores, ids
    return best_scores, best_ids
