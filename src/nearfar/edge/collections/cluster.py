"""Grouping items that nobody has labelled, in blocks, with what lies far from every group."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nearfar.edge.collections.collection import Rows
from nearfar.errors import DataError
from nearfar.evaluate.clustering import k_means
from nearfar.progress import Stages, silent

GRID = (2, 3, 5, 8, 12, 20, 30, 50, 75, 100, 150, 200, 300)
"""The numbers of clusters that are tried where none is given; those with under ten items a cluster are left out."""

_BLOCK = 4096
_SAMPLE = 25_000
_CHOICE_SAMPLE = 10_000

Vectors = npt.NDArray[np.float32]


class Silhouette(NamedTuple):
    """How well held-out items lie: the mean, and its standard error."""

    mean: float
    error: float


class Clusters(NamedTuple):
    """Items in clusters, the largest cluster first.

    Attributes:
        of: int64 (n,), the cluster of each item.
        cosines: float32 (n,), of each item with the centre of its cluster.
        outlier: bool (n,), whether an item lies far from its centre, as the others of its cluster lie.
        medoids: int64 (k,), the item with the largest mean cosine with the others of its cluster.
        scores: number of clusters -> held-out silhouette, of all that were tried; empty where the number was given.
    """

    of: npt.NDArray[np.int64]
    cosines: Vectors
    outlier: npt.NDArray[np.bool_]
    medoids: npt.NDArray[np.int64]
    scores: dict[int, Silhouette]


def find_clusters(vectors: Rows, k: int | None = None, *, seed: int = 0, stages: Stages = silent) -> Clusters:
    """Spherical k-means: centres from at most 25,000 items, then every item to its nearest centre.

    Without `k`, the number is taken for which items that had no part in placing the centres lie best: by the mean simplified
    silhouette `(b - a) / b` of one half of a sample under the centres of the other, where a and b are `1 - cosine` with the
    nearest and second nearest centre. Held out, it falls again where centres begin to split what belongs together. Of numbers
    within a standard error of the best the smallest is taken.

    An item is an outlier below Tukey's fence of its cluster: the lower quartile of the cosines minus 1.5 times the distance of
    the quartiles.

    Args:
        vectors: (n, d), rows of unit length.
        k: clusters, 1 to n; fewer are given where items are too alike to tell so many apart.
        seed: the same seed gives the same clusters.
        stages: told how far it is.

    Returns:
        The clusters.

    Raises:
        DataError: there are fewer items than clusters.
        ValueError: shapes do not fit, or `k` is below 1.

    Source: Dhillon and Modha, Concept Decompositions for Large Sparse Text Data Using Clustering, 2001; Hruschka et al.,
    Evolutionary algorithms for clustering gene-expression data, 2004 (the simplified silhouette); Breiman et al., Classification
    and Regression Trees, 1984 (the rule of one standard error); Tukey, Exploratory Data Analysis, 1977.
    """
    if vectors.ndim != 2 or (k is not None and k < 1):
        raise ValueError(f"vectors must be (n, d) and k at least 1, got {vectors.shape} and {k}")
    if len(vectors) < (k or 1):
        raise DataError(f"{len(vectors)} items cannot be put into {k or 1} clusters; give at least as many items")
    scores: dict[int, Silhouette] = {}
    if k is None:
        scores = silhouettes(vectors, seed=seed, stages=stages)
        best = max(scores.values(), default=None)
        k = min(
            (number for number, score in scores.items() if best and score.mean >= best.mean - best.error), default=1
        )
    stages("placing centres")
    centres = _centres(_sample(vectors, _SAMPLE, seed), k, seed)
    of, cosines = _assign(vectors, centres, stages)
    present = np.unique(of)
    by_size = present[np.argsort(-np.bincount(of, minlength=k)[present], kind="stable")]
    renamed = np.zeros(k, dtype=np.int64)
    renamed[by_size] = np.arange(len(by_size))
    of = renamed[of]
    return Clusters(of, cosines, _outliers(of, cosines), _medoids(vectors, of, len(by_size)), scores)


def silhouettes(vectors: Rows, *, seed: int = 0, stages: Stages = silent) -> dict[int, Silhouette]:
    """The held-out silhouette of each number of clusters in `GRID` that the items allow.

    Args:
        vectors: (n, d), rows of unit length; at most 10,000 are looked at.
        seed: of the sample and its halves.
        stages: told how far it is.

    Returns:
        Number -> silhouette, -1 to 1; empty with under 20 items.
    """
    sample = _sample(vectors, _CHOICE_SAMPLE, seed)
    shuffled = np.random.default_rng(seed).permutation(len(sample))
    halves = sample[shuffled[::2]], sample[shuffled[1::2]]
    numbers = [number for number in GRID if number * 10 <= len(sample)]
    tick = stages("choosing how many", len(numbers))
    found = {}
    for number in numbers:
        values = np.concatenate(
            [_silhouette(held, _centres(placed, number, seed)) for placed, held in (halves, halves[::-1])]
        )
        found[number] = Silhouette(float(values.mean()), float(values.std() / np.sqrt(len(values))))
        tick(1, f"{number} clusters")
    return found


def _silhouette(vectors: Vectors, centres: Vectors) -> Vectors:
    """Of each item; 0 where there is only one centre."""
    if len(centres) < 2:
        return np.zeros(len(vectors), dtype=np.float32)
    cosines = vectors @ centres.T
    cosines.partition(len(centres) - 2, axis=1)
    near, next_near = 1 - cosines[:, -1], 1 - cosines[:, -2]
    return np.asarray(np.divide(next_near - near, next_near, out=np.zeros_like(near), where=next_near > 1e-6))


def _sample(vectors: Rows, most: int, seed: int) -> Vectors:
    """At most so many rows, in their order."""
    if len(vectors) <= most:
        return np.asarray(vectors, dtype=np.float32)
    drawn = np.random.default_rng(seed).choice(len(vectors), most, replace=False)
    return np.asarray(vectors[np.sort(drawn)], dtype=np.float32)


def _centres(vectors: Vectors, k: int, seed: int) -> Vectors:
    """The directions of the clusters' means, at most k, (k', d)."""
    with _one_thread():
        of = k_means(vectors, min(k, len(vectors)), restarts=3, iterations=25, seed=seed)
    sums = np.zeros((k, vectors.shape[1]), dtype=np.float64)
    np.add.at(sums, of, vectors)
    lengths = np.linalg.norm(sums, axis=1)
    there = lengths > 1e-6
    return np.asarray(sums[there] / lengths[there, None], dtype=np.float32)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Faiss's threads wait for each other by spinning: on a busy machine several are many times slower than one."""
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _assign(vectors: Rows, centres: Vectors, stages: Stages) -> tuple[npt.NDArray[np.int64], Vectors]:
    of = np.empty(len(vectors), dtype=np.int64)
    cosines = np.empty(len(vectors), dtype=np.float32)
    tick = stages("assigning", len(vectors))
    for start in range(0, len(vectors), _BLOCK):
        rows = slice(start, start + _BLOCK)
        block = np.asarray(vectors[rows], dtype=np.float32) @ centres.T
        of[rows], cosines[rows] = block.argmax(axis=1), block.max(axis=1)
        tick(len(block))
    return of, np.minimum(cosines, np.float32(1))


def _outliers(of: npt.NDArray[np.int64], cosines: Vectors) -> npt.NDArray[np.bool_]:
    outlier = np.zeros(len(of), dtype=bool)
    for cluster in np.unique(of):
        rows = of == cluster
        low, high = np.quantile(cosines[rows], [0.25, 0.75])
        # Rounding to half precision spreads equal vectors by less than a thousandth.
        outlier[rows] = cosines[rows] < low - 1.5 * (high - low) - 1e-3
    return outlier


def _medoids(vectors: Rows, of: npt.NDArray[np.int64], k: int) -> npt.NDArray[np.int64]:
    """The mean cosine with unit vectors is the product with their mean, so two passes find it."""
    sums = np.zeros((k, vectors.shape[1]), dtype=np.float64)
    for start in range(0, len(vectors), _BLOCK):
        np.add.at(sums, of[start : start + _BLOCK], np.asarray(vectors[start : start + _BLOCK], dtype=np.float64))
    means = (sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)).astype(np.float32)
    best, medoids = np.full(k, -np.inf, dtype=np.float32), np.zeros(k, dtype=np.int64)
    for start in range(0, len(vectors), _BLOCK):
        block = np.asarray(vectors[start : start + _BLOCK], dtype=np.float32)
        clusters = of[start : start + len(block)]
        near = np.einsum("nd,nd->n", block, means[clusters])
        # Of each cluster the first row with the largest cosine in this block.
        order = np.lexsort((np.arange(len(block)), -near, clusters))
        first = order[np.unique(clusters[order], return_index=True)[1]]
        for row in first:
            if near[row] > best[clusters[row]]:
                best[clusters[row]], medoids[clusters[row]] = near[row], start + row
    return medoids
