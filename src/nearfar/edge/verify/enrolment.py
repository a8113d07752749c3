"""Which samples a template is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nearfar.errors import DataError

Vectors = npt.NDArray[np.float32]

LEAST_SAMPLES = 3


class EnrolmentError(DataError):
    """An identity cannot be enrolled by these samples, or not under this name; the message says which sample has what problem."""


class Agreeing(NamedTuple):
    """The samples that agree with each other.

    Attributes:
        kept: their positions.
        refused: what is wrong with the others, in words.
        agreement: least cosine of one that was kept with the mean of the others.
    """

    kept: list[int]
    refused: list[str]
    agreement: float


def agreeing(
    vectors: Vectors,
    names: Sequence[str],
    score: Callable[[Vectors, Vectors], float],
    threshold: float,
) -> Agreeing:
    """Leave out samples that are not of the one identity that the others are of, the worst first.

    A sample is left out where it does not match a template of the others, and its score is nearer to a stranger's (0, for cosines as for
    normalised scores) than to the median of all. With a weak encoder many genuine samples miss the threshold; these stay.

    Args:
        vectors: embeddings, unit rows (k, d).
        names: of the samples, for messages.
        score: of one embedding (d,) against a template of others (j, d).
        threshold: least score of a match.

    Returns:
        At least two samples are kept, where there were two.
    """
    kept = list(range(len(vectors)))
    refused: list[str] = []
    while len(kept) > 2:
        scores = np.array([score(vectors[one], vectors[[other for other in kept if other != one]]) for one in kept])
        worst = int(scores.argmin())
        if scores[worst] >= threshold or scores[worst] >= np.median(scores) / 2:
            break
        refused.append(f"{names[kept[worst]]}: does not agree with the other samples; is it of somebody else?")
        del kept[worst]
    return Agreeing(kept, refused, _least_cosine(vectors[kept]))


def _least_cosine(vectors: Vectors) -> float:
    """Least cosine of a row with the mean of the others; 1 for a row alone."""
    if len(vectors) < 2:
        return 1.0
    others = vectors.sum(axis=0) - vectors
    lengths = np.maximum(np.linalg.norm(others, axis=1), np.finfo(np.float32).tiny)
    return float((np.einsum("kd,kd->k", vectors, others) / lengths).min())
