"""How far error rates would move with other people: intervals by drawing identities anew, not trials."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from nearfar.evaluate.bootstrap import Interval
from nearfar.evaluate.verification import (
    FMRS,
    Figures,
    Trials,
    crossing_rates,
    det_curve,
    equal_error_rate,
    fnmr_at_fmr,
    kept_rates,
    supports,
)

_THRESHOLDS = 2048  # of a grid over both kinds of scores; where there are fewer different scores, all of them
_AT_A_TIME = 64


def verification_intervals(
    trials: Trials,
    *,
    threshold: float | None = None,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Interval]:
    """Equal error rate, and false non-match rates at false match rates, with intervals over identities.

    Identities are drawn anew with replacement. A genuine trial counts as often as its identity was drawn, an impostor trial the
    product of how often its two identities were: both ends of it are people whose luck it shares. Of fewer than about twenty
    identities percentile intervals are too narrow.

    Args:
        trials: what was tried.
        threshold: also gives `fmr` and `fnmr` at this one.
        resamples: how often identities are drawn.
        seed: the same seed gives the same intervals.
        level: share of the resampled figures that lie inside, strictly between 0 and 1.

    Returns:
        `eer`; `fmr100`, `fmr1000` and `fmr10000`, the false non-match rate at a false match rate of 1, 0.1 and 0.01 %, those of them
        that there are impostor trials enough to see.

    Raises:
        DataError: there are no genuine or no impostor trials.
        ValueError: `resamples` or `level` is out of range.

    Source: Bolle et al., Error analysis of pattern recognition systems: the subsets bootstrap, CVIU 2004; Poh and Bengio, Estimating the
    Confidence Interval of Expected Performance Curve in Biometric Authentication Using Joint Bootstrap, ICASSP 2007.
    """
    if resamples < 1 or not 0 < level < 1:
        raise ValueError(f"resamples must be 1 or more and level between 0 and 1, got {resamples} and {level}")
    exact: dict[str, float] = {"eer": equal_error_rate(trials)}
    for name, fmr in FMRS.items():
        if supports(trials, fmr):
            exact[name] = fnmr_at_fmr(trials, fmr) or 0.0
    if threshold is not None:
        exact["fmr"] = float(np.mean(trials.impostor >= threshold))
        exact["fnmr"] = float(np.mean(trials.genuine < threshold))
    drawn: dict[str, list[Figures]] = {name: [] for name in exact}
    for fmr_rows, fnmr_rows, at in _resampled(trials, threshold, resamples, seed):
        for name, values in drawn.items():
            if name == "eer":
                values.append(crossing_rates(fmr_rows, fnmr_rows))
            elif name in FMRS:
                values.append(kept_rates(fmr_rows, fnmr_rows, FMRS[name]))
            else:
                values.append((fmr_rows if name == "fmr" else fnmr_rows)[:, at])
    found = {}
    for name, value in exact.items():
        low, high = np.quantile(np.concatenate(drawn[name]), [(1 - level) / 2, (1 + level) / 2])
        found[name] = Interval(value, min(float(low), value), max(float(high), value))
    return found


def _resampled(
    trials: Trials, threshold: float | None, resamples: int, seed: int
) -> Iterator[tuple[Figures, Figures, int]]:
    """False match and false non-match rates (r, v) of some resamples at a time, over descending thresholds; the place of `threshold`."""
    thresholds = _grid(trials, threshold)
    at = 0 if threshold is None else int(np.flatnonzero(thresholds == threshold)[0])
    count = len(thresholds)
    # The first place of the grid at which a score matches; a score below all of them has none.
    ascending = thresholds[::-1]
    places = {
        kind: count - np.searchsorted(ascending, scores.astype(np.float64), side="right")
        for kind, scores in (("genuine", trials.genuine), ("impostor", trials.impostor))
    }
    identities = trials.identities
    of = np.searchsorted(identities, trials.genuine_of)
    samples = np.searchsorted(identities, trials.impostor_sample)
    templates = np.searchsorted(identities, trials.impostor_template)
    generator = np.random.default_rng(seed)
    for first in range(0, resamples, _AT_A_TIME):
        fmr_rows, fnmr_rows = [], []
        for _ in range(min(_AT_A_TIME, resamples - first)):
            while True:
                picked = generator.integers(len(identities), size=len(identities))
                times = np.bincount(picked, minlength=len(identities)).astype(np.float64)
                genuine, impostor = times[of], times[samples] * times[templates]
                if genuine.sum() > 0 and impostor.sum() > 0:  # else one identity was drawn alone, which has no trials
                    break
            fmr_rows.append(_matching(places["impostor"], impostor, count))
            fnmr_rows.append(1 - _matching(places["genuine"], genuine, count))
        yield np.stack(fmr_rows), np.stack(fnmr_rows), at


def _matching(places: npt.NDArray[np.intp], weights: Figures, count: int) -> Figures:
    """The share of the weight that matches at each threshold (v,)."""
    counted = np.bincount(places, weights=weights, minlength=count + 1)
    share: Figures = np.minimum(np.cumsum(counted)[:count] / weights.sum(), 1.0)
    return share


def _grid(trials: Trials, threshold: float | None) -> Figures:
    """Thresholds (v,), descending, from one that nobody passes to one that all do."""
    thresholds = det_curve(trials).thresholds
    if len(thresholds) > _THRESHOLDS:
        half = _THRESHOLDS // 2
        genuine = np.quantile(trials.genuine.astype(np.float64), np.linspace(0, 1, half), method="higher")
        # By powers, because false match rates of interest lie far out in the tail.
        tail = np.geomspace(1 / len(trials.impostor), 1, half)
        impostor = np.quantile(trials.impostor.astype(np.float64), 1 - tail, method="higher")
        thresholds = np.unique(np.concatenate([[np.inf, thresholds[-1]], genuine, impostor]))[::-1]
    if threshold is not None:
        thresholds = np.unique(np.append(thresholds, threshold))[::-1]
    return np.asarray(thresholds, dtype=np.float64)
