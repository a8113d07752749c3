"""Instance retrieval: whether a view of a picture finds that picture. It needs no labels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nearfar.evaluate.knn import Vectors

_VIEWS_AT_A_TIME = 1024


def instance_recall_at_1(
    views: Vectors, plain: Vectors, *, distractors: Vectors | None = None
) -> npt.NDArray[np.float64]:
    """Whether a view of a picture finds that picture among all: a measure that needs no labels (`view_recall_at_1`).

    Args:
        views: (n, d) float32, rows of unit length: one view of each held-out picture.
        plain: (n, d) float32, rows of unit length: the pictures as they are, in the same order.
        distractors: (m, d) float32, rows of unit length: further pictures to be told apart from.

    Returns:
        (n,) float64, 1 or 0; 0 where another picture is as near.

    Raises:
        ValueError: shapes do not fit.
    """
    if views.ndim != 2 or views.shape != plain.shape:
        raise ValueError(f"views and plain must both be (n, d), got {views.shape} and {plain.shape}")
    found = np.ones(len(views), dtype=np.float64)
    for first in range(0, len(views), _VIEWS_AT_A_TIME):
        rows = np.arange(first, min(first + _VIEWS_AT_A_TIME, len(views)))
        cosines = views[rows] @ plain.T
        # Taken from the same product, so that equal pictures compare as equal.
        own = cosines[np.arange(len(rows)), rows].copy()
        cosines[np.arange(len(rows)), rows] = -np.inf
        others = cosines.max(axis=1)
        if distractors is not None and len(distractors):
            others = np.maximum(others, (views[rows] @ distractors.T).max(axis=1))
        found[rows] = own > others
    return found
