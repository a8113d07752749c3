"""Percentile bootstrap: how far a mean over queries, or a ratio of two, would move with other queries of the same kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nearfar.errors import DataError

_DRAWS_AT_A_TIME = 1 << 20
"""Bounds the memory of the resampling to some tens of megabytes, however many queries there are."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with the interval that it lies in.

    Attributes:
        value: the figure on the queries as they are.
        low: lower end of the interval.
        high: upper end of the interval.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def mean_interval(
    values: npt.NDArray[np.float64], *, resamples: int = 2000, seed: int = 0, level: float = 0.95
) -> Interval:
    """Mean of `values` with its percentile bootstrap interval.

    Args:
        values: one finite figure a query, (q,).
        resamples: how many times the queries are drawn anew with replacement.
        seed: the same seed gives the same interval.
        level: share of the resampled means that lie inside, strictly between 0 and 1.

    Returns:
        The mean and its interval.

    Raises:
        DataError: if there are no values.
        ValueError: if the values are not finite or not one-dimensional, or `resamples` or `level` is out of range.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 13.3.
    """
    checked = _checked(values, "values")

    def means(drawn: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        return np.asarray(checked[drawn].mean(axis=1))

    low, high = _percentiles(means, len(checked), resamples, seed, level)
    return Interval(float(checked.mean()), low, high)


def median_interval(
    values: npt.NDArray[np.float64], *, resamples: int = 2000, seed: int = 0, level: float = 0.95
) -> Interval:
    """Median of `values` with its percentile bootstrap interval; arguments, errors and source as in `mean_interval`."""
    checked = _checked(values, "values")

    def medians(drawn: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        return np.asarray(np.median(checked[drawn], axis=1))

    low, high = _percentiles(medians, len(checked), resamples, seed, level)
    return Interval(float(np.median(checked)), low, high)


def ratio_interval(
    numerator: npt.NDArray[np.float64],
    denominator: npt.NDArray[np.float64],
    *,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """mean(numerator) / mean(denominator) with its paired percentile bootstrap interval.

    Paired: a resample takes the same queries for both, so that hard and easy queries cancel and a small but steady
    difference between two systems shows.

    Args:
        numerator: one finite figure a query, (q,).
        denominator: the other system's figures on the same queries in the same order, (q,), none negative.
        resamples: how many times the queries are drawn anew with replacement.
        seed: the same seed gives the same interval.
        level: share of the resampled ratios that lie inside, strictly between 0 and 1.

    Returns:
        The ratio and its interval; an end is infinite where too many resamples draw only queries on which the
        denominator is 0.

    Raises:
        DataError: if there are no queries, or the denominator is 0 on all of them.
        ValueError: if the two do not fit together, are not finite, or `resamples` or `level` is out of range.
    """
    above, below = _checked(numerator, "numerator"), _checked(denominator, "denominator")
    if len(above) != len(below):
        raise ValueError(f"a paired ratio needs the same queries on both sides, got {len(above)} and {len(below)}")
    if below.min() < 0:
        raise ValueError("denominator must not be negative")
    if not below.any():
        raise DataError("the ratio is undefined: the system compared with scores 0 on every query")

    def mean_ratios(drawn: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        means = below[drawn].mean(axis=1)
        unbounded = np.full_like(means, np.inf)
        return np.asarray(np.divide(above[drawn].mean(axis=1), means, out=unbounded, where=means > 0))

    low, high = _percentiles(mean_ratios, len(above), resamples, seed, level)
    return Interval(float(above.mean() / below.mean()), low, high)


def _percentiles(
    statistic: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.float64]],
    queries: int,
    resamples: int,
    seed: int,
    level: float,
) -> tuple[float, float]:
    """Lower and upper percentile of `statistic` over resamples; it maps drawn query indices (r, q) to (r,)."""
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, got {resamples}")
    if not 0 < level < 1:
        raise ValueError(f"level must lie strictly between 0 and 1, got {level}")
    generator = np.random.default_rng(seed)
    at_a_time = max(1, _DRAWS_AT_A_TIME // queries)
    resampled = np.concatenate(
        [
            statistic(generator.integers(queries, size=(min(at_a_time, resamples - start), queries)))
            for start in range(0, resamples, at_a_time)
        ]
    )
    # Order statistics instead of interpolated ones: between a finite and an infinite ratio there is nothing to interpolate.
    low = np.quantile(resampled, (1 - level) / 2, method="inverted_cdf")
    high = np.quantile(resampled, (1 + level) / 2, method="inverted_cdf")
    return float(low), float(high)


def _checked(values: npt.NDArray[np.float64], name: str) -> npt.NDArray[np.float64]:
    """`values` as float64, known to be one-dimensional, finite and not empty."""
    checked = np.asarray(values, dtype=np.float64)
    if checked.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional, one figure a query; got shape {checked.shape}")
    if not len(checked):
        raise DataError("there are no queries to take a mean over; give the evaluation at least one")
    if not np.isfinite(checked).all():
        raise ValueError(f"{name} must be finite")
    return checked
