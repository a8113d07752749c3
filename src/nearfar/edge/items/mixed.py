"""One ranking of items of several towers.

Cosines across modalities are of different sizes: a text lies nearer to any text than to its own picture (the modality gap,
arXiv:2203.02053), and one ranking by cosine would put all texts first. So a hit counts by how far it stands out of what items of its tower
have by chance with queries of this tower, in standard deviations, which the bundle has measured on held-out items.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nearfar.bundle.joint_record import ScoreScale
from nearfar.bundle.manifest import Manifest

Rows = npt.NDArray[np.int64]
Vector = npt.NDArray[np.float32]
Search = Callable[[Vector, int], tuple[Rows, Vector]]
"""The k nearest of some rows: rows and cosines, nearest first."""


class Share(NamedTuple):
    """The part of an index that is of one tower.

    Attributes:
        search: among its rows that may be found.
        scale: of queries of the tower that asks with its items.
    """

    search: Search
    scale: ScoreScale


def scales_of(manifest: Manifest, query: str) -> Mapping[str, ScoreScale]:
    """Tower of the items -> the scale of queries of the tower `query` with them, as far as the bundle has measured it."""
    if manifest.joint is None:
        return {}
    return {one.items: one for one in manifest.joint.scales if one.query == query}


def ranked(query: Vector, k: int, shares: Sequence[Share]) -> list[tuple[int, float]]:
    """The k items that stand out most among those of their tower.

    Args:
        query: float32 (d,).
        k: how many.
        shares: one for each tower.

    Returns:
        Row and score, (cosine - mean) / spread, best first; equal scores are ordered by row.
    """
    rows, scores = [np.empty(0, np.int64)], [np.empty(0, np.float64)]
    for share in shares:
        found, cosines = share.search(query, k)
        rows.append(found)
        scores.append((cosines.astype(np.float64) - share.scale.mean) / share.scale.spread)
    every, score = np.concatenate(rows), np.concatenate(scores)
    order = np.lexsort((every, -score))[:k]
    return list(zip(every[order].tolist(), score[order].tolist(), strict=True))
