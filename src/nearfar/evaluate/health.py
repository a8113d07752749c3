"""The health of embeddings while they are learned: four figures that need no labels."""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]

ROWS = 2048
"""More rows than this are thinned out to it, evenly: the cost of every figure is bounded."""


class Health(NamedTuple):
    """How embeddings were at one moment of a training; by what `measure_health` says.

    Attributes:
        step: optimiser steps done before.
        embedding_std: 0 when all embeddings are equal, about 1 when they are spread evenly over the sphere.
        effective_rank: how many dimensions are in use, 1 to min(rows, d).
        alignment: mean squared distance of two views of one picture, 0 to 4.
        distance: mean squared distance of views of two different pictures, 0 to 4.
        uniformity: log of the mean kernel between different pictures, -4 (or less far, in few dimensions) to 0.
        view_recall: share of the views that find the other view of their picture first, 0 to 1.
        view_chance: what `view_recall` would be by chance.
    """

    step: int
    embedding_std: float
    effective_rank: float
    alignment: float
    distance: float
    uniformity: float
    view_recall: float
    view_chance: float


def measure_health(embeddings: npt.NDArray[np.floating], step: int) -> Health:
    """All figures of one batch.

    Args:
        embeddings: (n, V, d), V views of each of n at least 2 pictures; any length, any float.
        step: optimiser steps done before.

    Returns:
        The figures; all are nan where an embedding is not finite, and those of two views where V is 1.
    """
    if embeddings.ndim != 3 or embeddings.shape[0] < 2 or not embeddings.shape[1]:
        raise ValueError(f"embeddings must be (n, V, d) with at least 2 pictures and a view, got {embeddings.shape}")
    some = _thinned(np.asarray(embeddings, dtype=np.float32))
    chance, nan, in_pairs = 1 / len(some), float("nan"), some.shape[1] > 1
    if not np.isfinite(some).all():
        return Health(step, nan, nan, nan, nan, nan, nan, chance)
    every = some.reshape(-1, some.shape[2])
    return Health(
        step,
        embedding_std=embedding_std(every),
        effective_rank=effective_rank(every),
        alignment=alignment(some) if in_pairs else nan,
        distance=distance(some),
        uniformity=uniformity(some),
        view_recall=view_recall(some) if in_pairs else nan,
        view_chance=chance,
    )


def embedding_std(embeddings: Vectors) -> float:
    """Standard deviation of the components of unit-length embeddings, mean over the components, times sqrt(d).

    Args:
        embeddings: (n, d), any length but 0.

    Returns:
        0 when all are equal (collapse); about 1 when they are spread evenly over the sphere.

    Source: Chen and He, Exploring Simple Siamese Representation Learning (arXiv:2011.10566), section 4.1.
    """
    units = _units(_thinned(embeddings))
    return float(units.std(axis=0).mean() * np.sqrt(units.shape[1]))


def effective_rank(embeddings: Vectors) -> float:
    """RankMe: exp of the entropy of the singular values of the matrix of embeddings.

    Args:
        embeddings: (n, d), as the encoder gives them; not centred.

    Returns:
        1 to min(n, d).

    Source: Garrido et al., RankMe (arXiv:2210.02885), eq. 1, with epsilon = 1e-7.
    """
    matrix = _thinned(embeddings).astype(np.float64)
    gram = matrix.T @ matrix if matrix.shape[1] <= matrix.shape[0] else matrix @ matrix.T
    # A product with its own transpose costs half the digits, which epsilon covers, and a hundredth of the time.
    singular = np.sqrt(np.linalg.eigvalsh(gram).clip(min=0))
    total = singular.sum()
    shares = singular / total + 1e-7 if total > 0 else np.eye(1, len(singular))[0] + 1e-7
    return float(np.exp(-(shares * np.log(shares)).sum()))


def alignment(views: Vectors) -> float:
    """Mean squared distance of two views of one picture, on the unit sphere.

    Args:
        views: (n, V, d), V at least 2.

    Returns:
        0 (views look the same) to 4; 2 for unrelated directions.

    Source: Wang and Isola, Understanding Contrastive Representation Learning through Alignment and Uniformity on the
    Hypersphere (arXiv:2005.10242), section 4.1, with alpha = 2.
    """
    units = _units(_thinned(views))
    pairs = combinations(range(units.shape[1]), 2)
    return float(np.mean([np.square(units[:, a] - units[:, b]).sum(axis=1).mean() for a, b in pairs]))


def distance(views: Vectors) -> float:
    """Mean squared distance of two views of different pictures, on the unit sphere: what `alignment` is to be read beside.

    Args:
        views: (n, V, d), n at least 2.

    Returns:
        0 to 4; about as much as `alignment` where views of a picture are no nearer than views of others.
    """
    units = _units(_thinned(views))
    of_pictures = units.sum(axis=1)
    products = np.square(of_pictures.sum(axis=0)).sum() - np.square(of_pictures).sum()
    pairs = len(units) * (len(units) - 1) * units.shape[1] ** 2
    # |x - y|^2 = 2 - 2 x y, for directions of length 1.
    return float(2 - 2 * products / pairs)


def uniformity(views: Vectors) -> float:
    """Log of the mean of exp(-2 squared distance) over all pairs of different pictures, on the unit sphere.

    Args:
        views: (n, V, d), n at least 2; the mean is over the V sets of n.

    Returns:
        0 when all are equal; lower is more evenly spread, down to about -4.

    Source: Wang and Isola (arXiv:2005.10242), section 4.1, with t = 2.
    """
    units = _units(_thinned(views))
    others = ~np.eye(len(units), dtype=bool)
    of_view = []
    for view in range(units.shape[1]):
        cosines = units[:, view] @ units[:, view].T
        of_view.append(np.log(np.exp(-4 * (1 - cosines[others])).mean()))
    return float(np.mean(of_view))


def view_recall(views: Vectors) -> float:
    """Share of first views that are nearer, by cosine, to the second view of their picture than to that of any other.

    Args:
        views: (n, V, d), V at least 2.

    Returns:
        0 to 1; 1 / n by chance, and 0 where all embeddings are equal.
    """
    units = _units(_thinned(views))
    cosines = units[:, 0] @ units[:, 1].T
    own = np.diagonal(cosines).copy()
    np.fill_diagonal(cosines, -np.inf)
    return float((own > cosines.max(axis=1)).mean())


def _thinned(rows: Vectors) -> Vectors:
    """At most `ROWS` of the rows, evenly spaced."""
    if len(rows) <= ROWS:
        return rows
    return rows[np.arange(ROWS) * len(rows) // ROWS]


def _units(vectors: Vectors) -> npt.NDArray[np.float64]:
    """The same directions in float64, with length 1; a vector of length 0 stays."""
    double = vectors.astype(np.float64)
    lengths = np.linalg.norm(double, axis=-1, keepdims=True)
    return np.asarray(np.divide(double, lengths, out=np.zeros_like(double), where=lengths > 0))
