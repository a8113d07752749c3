"""Whether queries find what belongs to them, where several answers are right and scores may tie; and means over seeds and groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from nearfar.evaluate import Interval

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Scores = npt.NDArray[np.floating]

_RESAMPLES = 2000


def hit_chance(scores: Scores, right: Ints, k: int) -> float:
    """Probability that one of the right answers is among the first k, where equal scores stand in a random order.

    Args:
        scores: (m,) of one query with each item.
        right: (r,) int64, places of the items that are right; at least one.
        k: depth, at least 1.
    """
    best = scores[right].max()
    before = int((scores > best).sum())
    if before >= k:
        return 0.0
    equal, good, room = int((scores == best).sum()), int((scores[right] == best).sum()), k - before
    missed = 1.0
    for drawn in range(min(room, equal)):
        missed *= max(0, equal - good - drawn) / (equal - drawn)
    return 1.0 - missed


def hits(scores: Scores, right: Sequence[Ints], k: int) -> Floats:
    """`hit_chance` of each of q queries: scores (q, m), right answers of each; returns (q,)."""
    return np.array([hit_chance(row, places, k) for row, places in zip(scores, right, strict=True)], dtype=np.float64)


def precision(scores: Scores, right: npt.NDArray[np.bool_], k: int = 10) -> Floats:
    """Share of the first k of each query that is right.

    Args:
        scores: (q, m).
        right: (q, m), whether an item is right; k or more of each query, or perfect is out of reach.
        k: depth.

    Returns:
        (q,) float64; among equal scores the lower place stands first.
    """
    first = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.asarray(np.take_along_axis(right, first, axis=1).mean(axis=1), dtype=np.float64)


def over_seeds(runs: Mapping[str, Floats]) -> Floats:
    """The mean of each query over the seeds of its part, and the parts one after the other.

    Args:
        runs: `<part>_seed_<number>` to (q,); the seeds of a part have the same queries.
    """
    parts: dict[str, list[Floats]] = {}
    for name, values in sorted(runs.items()):
        parts.setdefault(name.rpartition("_seed_")[0], []).append(values)
    return np.concatenate([np.mean(seeds, axis=0) for seeds in parts.values()])


def mean_of_groups(groups: Sequence[Floats]) -> Interval:
    """The mean of the means of several groups of queries, each (q,), with a 95 % bootstrap interval over queries within groups."""
    return _interval(float(np.mean([group.mean() for group in groups])), _drawn_means(groups))


def ratio_of_groups(above: Sequence[Floats], below: Sequence[Floats]) -> Interval:
    """The ratio of two such means over the same queries, paired; NaN or infinite where the second is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.mean([group.mean() for group in above]) / np.mean([group.mean() for group in below])
        return _interval(float(ratio), _drawn_means(above) / _drawn_means(below))


def _drawn_means(groups: Sequence[Floats]) -> Floats:
    """(resamples,) means of means; the same for groups of the same sizes, whatever their values."""
    random = np.random.default_rng(0)
    means = [group[random.integers(len(group), size=(_RESAMPLES, len(group)))].mean(axis=1) for group in groups]
    return np.asarray(np.mean(means, axis=0), dtype=np.float64)


def _interval(value: float, drawn: Floats) -> Interval:
    low, high = np.nanquantile(drawn, [0.025, 0.975]) if np.isfinite(drawn).any() else (np.nan, np.nan)
    return Interval(value, float(low), float(high))
