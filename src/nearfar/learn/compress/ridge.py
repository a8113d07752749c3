"""Where a static encoder starts that has a teacher: a table whose rows add up to the teacher's vectors, in closed form."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

Floats = npt.NDArray[np.float32]

PENALTY = 1.0
"""Weight of the squared distance from the prior. Of 0.1, 0.3, 1 and 3, with priors of length 0, 0.15 and 0.3, this did best on
Cranfield and on the validation queries of tldr."""

PRIOR_LENGTH = 0.3
"""Length of a prior row: that of a text of ten pieces is then about 1."""

_TOLERANCE = 1e-3  # what is left of the residual; training goes on from here
_MOST_ITERATIONS = 200


def weighted_bags(
    tokens: Sequence[npt.NDArray[np.int32]], weight: npt.NDArray[np.floating], *, damped: bool = True
) -> csr_matrix:
    """Texts as bags of tokens: the weight of each by its frequency (its root, if damped), rows of unit length.

    Args:
        tokens: ids of n texts.
        weight: (v,) of each token, not negative.
        damped: whether f occurrences count as the root of f.

    Returns:
        (n, v) float32. The static encoder embeds text i, before normalising, as row i times its table.
    """
    rows, columns, values = [], [], []
    for row, ids in enumerate(tokens):
        kinds, counts = np.unique(ids, return_counts=True)
        own = (np.sqrt(counts) if damped else counts) * weight[kinds]
        rows.append(np.full(len(kinds), row))
        columns.append(kinds)
        values.append(own / max(float(np.linalg.norm(own)), 1e-9))
    shape = (len(tokens), len(weight))
    if not rows:
        return csr_matrix(shape, dtype=np.float32)
    places = np.concatenate(rows), np.concatenate(columns)
    return csr_matrix((np.concatenate(values).astype(np.float32), places), shape=shape)


def ridge_table(bags: csr_matrix, targets: Floats, prior: Floats, *, penalty: float = PENALTY) -> Floats:
    """The table T that minimises |bags T - targets|^2 + penalty |T - prior|^2.

    Solved by conjugate gradients on all columns at once, so that neither a (v, v) nor an (n, n) matrix is ever made. Tokens that no
    bag has keep their prior.

    Args:
        bags: (n, v) sparse, rows of unit length.
        targets: (n, d), what the teacher makes of the texts.
        prior: (v, d), what the rows are drawn to.
        penalty: how strongly, above 0.

    Returns:
        float32 (v, d).

    Source:
        Hestenes and Stiefel, Methods of Conjugate Gradients for Solving Linear Systems, 1952, for each column.
    """
    change = np.zeros_like(prior)
    residual = np.asarray(bags.T @ (targets - bags @ prior), dtype=np.float32)
    direction = residual.copy()
    squares = np.einsum("vd,vd->d", residual, residual)
    goal = _TOLERANCE**2 * squares
    for _ in range(_MOST_ITERATIONS):
        if not (squares > goal).any():
            break
        product = bags.T @ (bags @ direction) + penalty * direction
        step = squares / np.maximum(np.einsum("vd,vd->d", direction, product), np.finfo(np.float32).tiny)
        change += step * direction
        residual -= step * product
        before, squares = squares, np.einsum("vd,vd->d", residual, residual)
        direction = residual + (squares / np.maximum(before, np.finfo(np.float32).tiny)) * direction
    return prior + change


def principal_axes(vectors: Floats, dim: int) -> Floats:
    """The orthonormal (D, dim) onto which the vectors (n, D) can be projected with the least loss of inner products."""
    _, axes = np.linalg.eigh(np.asarray(vectors.T @ vectors, dtype=np.float64))
    return np.ascontiguousarray(axes[:, ::-1][:, :dim], dtype=np.float32)
