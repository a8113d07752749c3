"""Clustering: whether labels show in embeddings that are grouped without looking at any."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nearfar.errors import DataError, MissingExtraError
from nearfar.evaluate.bootstrap import Interval
from nearfar.evaluate.knn import Labels, Vectors


class Clustering(NamedTuple):
    """How well clusters agree with labels.

    Attributes:
        nmi: normalised mutual information, 0 to 1.
        ari: adjusted Rand index, about 0 by chance, 1 at best.
        accuracy: share of items whose cluster stands for their label, by the best one-to-one matching.
    """

    nmi: float
    ari: float
    accuracy: float


def k_means(vectors: Vectors, k: int, *, restarts: int = 10, iterations: int = 50, seed: int = 0) -> Labels:
    """The cluster of each vector: Lloyd's algorithm from several k-means++ starts, the best of them.

    Args:
        vectors: (n, d) float32.
        k: clusters, 1 to n.
        restarts: how many starts.
        iterations: of each start.
        seed: of the starts; the same seed gives the same clusters.

    Returns:
        (n,) int64, 0 to k - 1.

    Raises:
        DataError: there are fewer vectors than clusters.
        ValueError: `k` or `restarts` is below 1.

    Source: Arthur and Vassilvitskii, k-means++: The Advantages of Careful Seeding, SODA 2007; Lloyd's part is faiss's, which
    gives the same sums whatever the number of threads.
    """
    import faiss

    if k < 1 or restarts < 1:
        raise ValueError(f"k and restarts must be at least 1, got {k} and {restarts}")
    if len(vectors) < k:
        raise DataError(f"{len(vectors)} items cannot be put into {k} clusters; give at least as many items")
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    rng = np.random.default_rng(seed)
    best, least = np.empty(0, dtype=np.int64), np.inf
    for _ in range(restarts):
        lloyd = faiss.Kmeans(
            vectors.shape[1],
            k,
            niter=iterations,
            seed=seed,
            min_points_per_centroid=1,
            max_points_per_centroid=len(vectors),
        )
        lloyd.train(vectors, init_centroids=_spread(vectors, k, rng))
        distances, clusters = lloyd.assign(vectors)
        if (total := float(np.sum(distances, dtype=np.float64))) < least:
            best, least = clusters.astype(np.int64), total
    return best


def compare_clusters(clusters: Labels, labels: Labels) -> Clustering:
    """How well clusters agree with labels.

    Args:
        clusters: (n,) int64, at least 0.
        labels: (n,) int64, at least 0.

    Returns:
        NMI (with the arithmetic mean of the entropies), ARI, and the accuracy of the best matching.

    Raises:
        MissingExtraError: scipy is not installed.
        DataError: there are no items.
        ValueError: shapes do not fit.

    Source: Vinh et al., Information Theoretic Measures for Clusterings Comparison, JMLR 2010; Hubert and Arabie, Comparing
    partitions, 1985; the matching as in Xie et al., Unsupervised Deep Embedding for Clustering Analysis (arXiv:1511.06335),
    eq. 10.
    """
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError as error:
        raise MissingExtraError("train", "Matching clusters with labels") from error
    table = _contingency(clusters, labels)
    matched = table[linear_sum_assignment(table, maximize=True)].sum()
    return Clustering(float(_nmi(table[None])[0]), _ari(table), float(matched / table.sum()))


def nmi_interval(
    clusters: Labels, labels: Labels, *, resamples: int = 2000, seed: int = 0, level: float = 0.95
) -> Interval:
    """NMI with the percentile bootstrap interval over items, the clusters as they are.

    Args:
        clusters: (n,) int64, at least 0.
        labels: (n,) int64, at least 0.
        resamples: how many times the items are drawn anew with replacement.
        seed: the same seed gives the same interval.
        level: share of the resampled figures that lie inside, strictly between 0 and 1.

    Returns:
        The figure and its interval.

    Raises:
        DataError: there are no items.
        ValueError: shapes do not fit, or `resamples` or `level` is out of range.
    """
    if resamples < 1 or not 0 < level < 1:
        raise ValueError(f"resamples must be at least 1 and level between 0 and 1, got {resamples} and {level}")
    table = _contingency(clusters, labels)
    items = int(table.sum())
    # NMI knows items by their cell only, and cells of items drawn with replacement are multinomial.
    drawn = np.random.default_rng(seed).multinomial(items, table.ravel() / items, size=resamples)
    resampled = _nmi(drawn.reshape(resamples, *table.shape))
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    return Interval(float(_nmi(table[None])[0]), float(low), float(high))


def _spread(vectors: Vectors, k: int, rng: np.random.Generator) -> Vectors:
    """K of the vectors, each drawn with a chance that grows with its squared distance from those before (k-means++)."""
    lengths = np.square(vectors).sum(axis=1, dtype=np.float64)
    chosen = [int(rng.integers(len(vectors)))]
    nearest = np.full(len(vectors), np.inf)
    while len(chosen) < k:
        last = vectors[chosen[-1]]
        squared = lengths - 2.0 * (vectors @ last) + lengths[chosen[-1]]
        nearest = np.minimum(nearest, squared.clip(min=0))
        nearest[chosen[-1]] = 0
        total = nearest.sum()
        # Where all are equal to a chosen one, any will do.
        chances = nearest / total if total > 0 else None
        chosen.append(int(rng.choice(len(vectors), p=chances)))
    return vectors[chosen]


def _contingency(clusters: Labels, labels: Labels) -> Labels:
    """How many items of each label (column) are in each cluster (row)."""
    if clusters.ndim != 1 or clusters.shape != labels.shape:
        raise ValueError(f"clusters and labels must both be (n,), got {clusters.shape} and {labels.shape}")
    if not len(labels):
        raise DataError("there are no items to compare clusters and labels on; give at least one")
    table = np.zeros((int(clusters.max()) + 1, int(labels.max()) + 1), dtype=np.int64)
    np.add.at(table, (clusters, labels), 1)
    return table


def _nmi(tables: Labels) -> npt.NDArray[np.float64]:
    """Of each of r tables (r, clusters, labels); 1 where both sides have one value only, as scikit-learn has it."""
    shares = tables / tables.sum(axis=(1, 2), keepdims=True)
    of_clusters, of_labels = _entropy(shares.sum(axis=2)), _entropy(shares.sum(axis=1))
    mutual = of_clusters + of_labels - _entropy(shares.reshape(len(shares), -1))
    mean = (of_clusters + of_labels) / 2
    return np.asarray(np.divide(mutual, mean, out=np.ones_like(mean), where=mean > 0).clip(0, 1))


def _entropy(shares: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Of each row."""
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    return np.asarray(-(shares * logs).sum(axis=1))


def _ari(table: Labels) -> float:
    def pairs(counts: Labels) -> float:
        return float((counts * (counts - 1) // 2).sum())

    together, of_clusters, of_labels = pairs(table), pairs(table.sum(axis=1)), pairs(table.sum(axis=0))
    everything = pairs(table.sum(keepdims=True))
    by_chance = of_clusters * of_labels / everything if everything else 0.0
    most = (of_clusters + of_labels) / 2
    return 1.0 if most == by_chance else (together - by_chance) / (most - by_chance)
