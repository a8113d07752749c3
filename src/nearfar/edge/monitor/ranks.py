"""Whether two samples come from one distribution, by their ranks: no assumption about what scores look like."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt


def rank_sum_p_value(first: npt.NDArray[np.floating], second: npt.NDArray[np.floating]) -> float:
    """The two-sided p-value of the rank-sum test in its normal approximation, with ties and continuity corrected for.

    Args:
        first: (n,), n of 1 or more.
        second: (m,), m of 1 or more.

    Source: Mann and Whitney, On a test of whether one of two random variables is stochastically larger (1947).
    """
    n, m = len(first), len(second)
    both = np.concatenate([first, second])
    _, which, counts = np.unique(both, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[which.reshape(-1)]
    wins = float(ranks[:n].sum()) - n * (n + 1) / 2
    total = n + m
    ties = float((counts.astype(np.float64) ** 3 - counts).sum()) / (total * (total - 1))
    variance = n * m / 12 * (total + 1 - ties)
    if variance <= 0:
        return 1.0
    excess = max(0.0, abs(wins - n * m / 2) - 0.5)
    return math.erfc(excess / math.sqrt(2 * variance))
