"""Answers that are not all alike: maximal marginal relevance."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from nearfar.errors import DataError


def mmr(
    relevance: npt.NDArray[np.floating[Any]],
    vectors: npt.NDArray[np.floating[Any]],
    k: int,
    diversity: float,
) -> npt.NDArray[np.int64]:
    """Choose k of c candidates, one by one: relevant ones, and each unlike those chosen before it.

    The next is the one with the largest `(1 - diversity) * relevance - diversity * similarity`, where the similarity is
    the largest cosine to one that is chosen (Carbonell and Goldstein 1998, equation 1, with lambda = 1 - diversity).

    Both have to be on one scale, and BM25 and fused scores have none. So the relevance goes from 0 for the weakest of
    the candidates to 1 for the best, in every mode, and the similarity from 0 for a right angle to 1 for the same
    direction; vectors that point away from each other are no more different than unrelated ones. What is chosen
    therefore depends on how many candidates there are: take the same number for every query, some times k.

    Candidates that score the same come in the order of their relevance, then of their position. The first one is always
    the most relevant.

    Args:
        relevance: larger is better, any scale, (c,).
        vectors: of the candidates, any length, (c, d).
        k: how many to choose; all where there are fewer.
        diversity: from 0 (order by relevance) to 1 (only unlike the ones before).

    Returns:
        Positions of the chosen, in the order chosen, int64 (min(k, c),). Takes time of order k c d.

    Raises:
        DataError: the diversity is outside of 0 to 1.
    """
    if not 0 <= diversity <= 1:
        raise DataError(
            f"diversity is {diversity}; it goes from 0 (only relevance counts) to 1 (only difference counts)"
        )
    order = np.argsort(-np.asarray(relevance, dtype=np.float64), kind="stable")
    scaled = _scaled(np.asarray(relevance, dtype=np.float64)[order])
    units = _units(vectors)[order]
    similarity = np.zeros(len(order))
    free = np.ones(len(order), dtype=np.bool_)
    chosen: list[int] = []
    for _ in range(min(max(k, 0), len(order))):
        gain = np.where(free, (1 - diversity) * scaled - diversity * similarity, -np.inf)
        best = int(np.argmax(gain))  # the first of equals, and those are sorted by relevance
        chosen.append(best)
        free[best] = False
        # Rounded, so that equal vectors are equally similar whatever order a sum was taken in.
        np.maximum(similarity, np.round(units @ units[best], 6), out=similarity)
    return order[chosen]


def _scaled(relevance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """From 0 for the smallest to 1 for the largest; 1 where all are equal."""
    if not len(relevance):
        return relevance
    low, high = relevance.min(), relevance.max()
    return (relevance - low) / (high - low) if high > low else np.ones_like(relevance)


def _units(vectors: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float32]:
    rows = np.asarray(vectors, dtype=np.float32)
    lengths: npt.NDArray[np.float32] = np.linalg.norm(rows, axis=1, keepdims=True)
    lengths[lengths == 0] = 1
    return rows / lengths
