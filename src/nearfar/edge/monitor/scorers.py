"""Fitting a distance to healthy features: from their mean, in units of their covariance, from prototypes, from neighbours."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from nearfar.edge.monitor.distance import Distance, Floats

By = Literal["centroid", "mahalanobis", "prototypes", "knn"]

_PASSES = 50
_STARTS = 20  # of k-means, of which the best counts: from one alone it often leaves two prototypes in one place
_STILL = 1e-2  # of the mean spread: a feature that hardly ever changed is no reason for an alarm when it does by a hair
_LEAST = 1e-6  # of a spread: where nothing changes at all, distances stay numbers that float32 holds
_FLOOR = 1e-3  # of a direction's variance against the mean one: below that it is rounding, not the machine


def fit_distance(
    features: Floats,
    by: By,
    *,
    dependence: float = 1.0,
    prototypes: int = 8,
    neighbours: int = 5,
    references: int = 1000,
    seed: int = 0,
) -> Distance:
    """Fit a distance to healthy features.

    Args:
        features: float32 (n, d), n of 2 or more; rows with NaN are left out.
        by: `centroid`: the Euclidean distance from the mean. `mahalanobis`: that in units of the covariance of standardised features,
            which is shrunk as Ledoit and Wolf (2004) say. `prototypes`: the distance in such units from the nearest of some k-means centres, for
            machines with several ways to be normal. `knn`: the mean distance in such units from the nearest healthy rows.
        dependence: how many rows in a row tell as much as one: rows that are made of overlapping windows are many but few of
            them are news, and the covariance is shrunk as much as so few ask for.
        prototypes: how many prototypes, at most.
        neighbours: how many neighbours.
        references: rows that are kept for neighbours, at most, drawn at random.
        seed: of what is drawn.

    Raises:
        ValueError: fewer than two rows without NaN.
    """
    rows = np.asarray(features, np.float64)
    rows = rows[np.isfinite(rows).all(axis=1)]
    if len(rows) < 2:
        raise ValueError(f"{len(rows)} complete rows are too few to tell what is normal")
    centre, own = rows.mean(axis=0), rows.std(axis=0)
    spread = np.maximum(own, max(_STILL * float(own.mean()), _LEAST))
    standard = ledoit_wolf((rows - centre) / spread, dependence)
    # What is still varies by as much as its spread was raised to, on its own.
    standard += np.diag(1 - (own / spread) ** 2)
    values, vectors = np.linalg.eigh(standard)
    values = np.maximum(values, _FLOOR * values.mean())
    covariance = (vectors * values) @ vectors.T * np.outer(spread, spread)
    d = rows.shape[1]
    if by == "centroid":
        return _distance(centre, covariance, np.eye(d), np.zeros((1, d)))
    whitening = vectors / np.sqrt(values) / spread[:, None]
    if by == "mahalanobis":
        return _distance(centre, covariance, whitening, np.zeros((1, d)))
    places = (rows - centre) @ whitening
    if by == "prototypes":
        return _distance(centre, covariance, whitening, k_means(places, prototypes, seed))
    kept = places[np.random.default_rng(seed).permutation(len(places))[:references]]
    return _distance(centre, covariance, whitening, kept, min(neighbours, len(kept)))


def ledoit_wolf(rows: npt.NDArray[np.float64], dependence: float = 1.0) -> npt.NDArray[np.float64]:
    """The covariance (d, d) of rows (n, d), drawn towards a multiple of the identity by as much as its own errors ask for.

    With a `dependence` above 1 its errors are taken for those of n / dependence rows.

    Source: Ledoit and Wolf, A well-conditioned estimator for large-dimensional covariance matrices (2004), theorem 3.2.
    """
    n, d = rows.shape
    centred = rows - rows.mean(axis=0)
    sample = centred.T @ centred / n
    level = np.trace(sample) / d
    if level == 0:
        return np.eye(d) * np.finfo(np.float32).eps
    spread = ((sample - level * np.eye(d)) ** 2).sum()
    squared = centred**2
    errors = ((squared.T @ squared) / n - sample**2).sum() * dependence / n
    weight = 1.0 if spread == 0 else min(1.0, errors / spread)
    shrunk: npt.NDArray[np.float64] = (1 - weight) * sample + weight * level * np.eye(d)
    return shrunk


def k_means(rows: npt.NDArray[np.float64], k: int, seed: int) -> npt.NDArray[np.float64]:
    """At most k centres (k, d) of rows (n, d)."""
    import faiss

    clustering = faiss.Kmeans(
        rows.shape[1], min(k, len(rows)), niter=_PASSES, nredo=_STARTS, seed=seed, min_points_per_centroid=1
    )
    clustering.train(np.ascontiguousarray(rows, np.float32))
    return np.asarray(clustering.centroids, np.float64)


def _distance(
    centre: npt.NDArray[np.float64],
    covariance: npt.NDArray[np.float64],
    whitening: npt.NDArray[np.float64],
    points: npt.NDArray[np.float64],
    k: int = 1,
) -> Distance:
    return Distance(
        np.ascontiguousarray(centre, np.float32),
        np.ascontiguousarray(covariance, np.float32),
        np.ascontiguousarray(whitening, np.float32),
        np.ascontiguousarray(points, np.float32),
        k,
    )
