"""One ranking over items of several modalities: how far apart these lie, and what a common scale of scores does about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nearfar.errors import DataError
from nearfar.evaluate.bootstrap import Interval
from nearfar.evaluate.cross_modal import Floats, Ints, Partners, Vectors, cosines_by_block
from nearfar.index.exact import top_k

_LEAST_SPREAD = 0.01
"""Cosines of a few items may all be equal; without it any other would stand out of them beyond measure."""
_QUERIES_AT_A_TIME = 256
_SQUARES_AT_A_TIME = 2**22


class Scale(NamedTuple):
    """Cosines of queries of one tower with items of another that do not belong to them.

    Attributes:
        mean: what chance gives.
        spread: their standard deviation, above 0.
    """

    mean: float
    spread: float


class MixedRanking(NamedTuple):
    """The first places of a ranking over items of several towers.

    Attributes:
        towers: (q, k) int64, places in the order of the galleries.
        places: (q, k) int64, of the item in the gallery of its tower.
    """

    towers: Ints
    places: Ints


def score_scale(queries: Vectors, items: Vectors, partners: Partners) -> Scale:
    """Mean and standard deviation of the cosines of what does not belong together.

    Args:
        queries: (q, d) float32, rows of unit length.
        items: (m, d) float32, rows of unit length.
        partners: of q queries in a gallery of m; these pairs are left out, and an item with itself.

    Raises:
        DataError: all pairs belong together.
    """
    pairs, total, squares = 0, 0.0, 0.0
    for first, cosines in cosines_by_block(queries, items, partners):
        apart = np.isfinite(cosines)
        for row in range(len(cosines)):
            apart[row, partners.of(first + row)] = False
        kept = cosines[apart].astype(np.float64)
        pairs, total, squares = pairs + len(kept), total + float(kept.sum()), squares + float((kept**2).sum())
    if not pairs:
        raise DataError(
            "all items belong together, so that there is no score of what does not; give items of more rows"
        )
    mean = total / pairs
    return Scale(mean, max(_LEAST_SPREAD, float(np.sqrt(max(0.0, squares / pairs - mean**2)))))


def modality_gap(left: Vectors, right: Vectors, *, resamples: int = 1000, seed: int = 0) -> Interval:
    """Distance of the mean vectors of two modalities, with its 95 % percentile bootstrap interval over items of both.

    Args:
        left: (n, d) float32, rows of unit length.
        right: (m, d) float32, rows of unit length.
        resamples: of the bootstrap; 0 gives no more than the value.
        seed: of the bootstrap.

    Returns:
        From 0 to 2.

    Raises:
        DataError: there are no items on a side.

    Source: Liang et al., Mind the Gap (arXiv:2203.02053), section 4.
    """
    if not len(left) or not len(right):
        raise DataError("the distance of two modalities needs items of both; give at least one of each")
    rng = np.random.default_rng(seed)
    value = float(np.linalg.norm(left.mean(axis=0, dtype=np.float64) - right.mean(axis=0, dtype=np.float64)))
    if not resamples:
        return Interval(value, value, value)
    means = [_resampled_means(vectors.astype(np.float64), resamples, rng) for vectors in (left, right)]
    drawn = np.linalg.norm(means[0] - means[1], axis=1)
    # A resampled distance is too long by the noise of the means; without it the interval would lie above the value.
    noise = (drawn**2).mean() - value**2
    low, high = np.quantile(np.sqrt(np.maximum(0.0, drawn**2 - max(0.0, noise))), [0.025, 0.975])
    return Interval(value, float(min(low, value)), float(max(high, value)))


def rank_mixed(
    queries: Vectors,
    galleries: Mapping[str, Vectors],
    *,
    scales: Mapping[str, Scale] | None = None,
    own: tuple[str, Ints] | None = None,
    k: int = 10,
) -> MixedRanking:
    """Rank the items of all towers for queries of one.

    Args:
        queries: (q, d) float32, rows of unit length.
        galleries: tower -> (m, d) float32, rows of unit length.
        scales: tower of the items -> scale of the cosines with these queries: scores then are (cosine - mean) / spread. None ranks by
            the cosine.
        own: a tower, and (q,) int64 the places of the queries themselves in its gallery, which are not found; -1 where there is none.
        k: places, at least 1.

    Returns:
        Places of at most k items for each query, best first; equal scores in the order of the galleries.
    """
    offsets = np.cumsum([0, *(len(vectors) for vectors in galleries.values())])
    names = list(galleries)
    k = min(k, int(offsets[-1]) - (own is not None))
    ids = np.empty((len(queries), k), np.int64)
    for first in range(0, len(queries), _QUERIES_AT_A_TIME):
        block = queries[first : first + _QUERIES_AT_A_TIME]
        parts = []
        for name, vectors in galleries.items():
            cosines = block @ vectors.T
            if scales is not None:
                cosines = (cosines - np.float32(scales[name].mean)) / np.float32(scales[name].spread)
            if own is not None and own[0] == name:
                places = own[1][first : first + len(block)]
                cosines[np.flatnonzero(places >= 0), places[places >= 0]] = -np.inf
            parts.append(cosines)
        scores = np.hstack(parts)
        ids[first : first + len(block)] = top_k(scores, np.arange(scores.shape[1], dtype=np.int64), k)[1]
    towers = np.searchsorted(offsets, ids, side="right") - 1
    return MixedRanking(towers.reshape(ids.shape).astype(np.int64), ids - offsets[towers] if names else ids)


def mixed_recall(ranking: MixedRanking, partners: Mapping[int, Partners]) -> Floats:
    """Whether a partner of another modality is among the first k, for each query.

    Args:
        ranking: of q queries.
        partners: place of a tower -> what belongs with the queries in its gallery.

    Returns:
        (q,) float64, 1 or 0.
    """
    found = np.zeros(len(ranking.towers))
    for tower, belonging in partners.items():
        for query in range(len(found)):
            places = ranking.places[query][ranking.towers[query] == tower]
            if len(places) and np.isin(places, belonging.of(query)).any():
                found[query] = 1.0
    return found


def _resampled_means(vectors: Floats, resamples: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """(resamples, d) means of as many vectors drawn anew, by how often each is drawn."""
    count, at_a_time = len(vectors), max(1, _SQUARES_AT_A_TIME // len(vectors))
    shares = np.full(count, 1 / count)
    return np.concatenate(
        [
            rng.multinomial(count, shares, size=min(at_a_time, resamples - start)) @ vectors / count
            for start in range(0, resamples, at_a_time)
        ]
    )
