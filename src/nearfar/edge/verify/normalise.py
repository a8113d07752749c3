"""Scores set against those of strangers: what a sample, or a template, scores with a cohort says how much a score means."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float32]

TOP = 50
"""Of the cohort, those that are nearest count (adaptive); all of them where it has fewer."""

_LEAST_DEVIATION = 1e-3  # of cosines: below it a cohort is one voice copied, and would blow scores up


class CohortStatistics(NamedTuple):
    """How samples, or templates, score with the nearest of a cohort.

    Attributes:
        mean: float32 (n,).
        deviation: float32 (n,), above 0.
    """

    mean: Scores
    deviation: Scores


def cohort_statistics(scores: Scores, *, top: int = TOP) -> CohortStatistics:
    """Mean and standard deviation of the scores with the nearest of a cohort.

    Args:
        scores: cosines of n samples or templates with the m members of the cohort, (n, m) or (m,); at least one member.
        top: how many of the nearest count.

    Returns:
        Of each row.
    """
    rows = np.atleast_2d(np.asarray(scores, dtype=np.float32))
    kept = min(top, rows.shape[1])
    nearest = np.partition(rows, rows.shape[1] - kept, axis=1)[:, rows.shape[1] - kept :]
    deviation = np.maximum(nearest.std(axis=1), np.float32(_LEAST_DEVIATION))
    return CohortStatistics(nearest.mean(axis=1), deviation.astype(np.float32))


def normalised(scores: Scores, of_template: CohortStatistics, of_sample: CohortStatistics) -> Scores:
    """Symmetric normalised scores: the mean of what a score is by the template's and by the sample's measure.

    Args:
        scores: cosines, (n,).
        of_template: of each score's template, (n,) or (1,).
        of_sample: of each score's sample, (n,) or (1,).

    Returns:
        float32 (n,), in standard deviations above the cohort.

    Source: Matejka et al., Analysis of score normalization in multilingual speaker recognition, Interspeech 2017 (adaptive s-norm).
    """
    by_template = (scores - of_template.mean) / of_template.deviation
    by_sample = (scores - of_sample.mean) / of_sample.deviation
    return np.asarray((by_template + by_sample) / 2, dtype=np.float32)
