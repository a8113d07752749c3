"""Verification: how often strangers pass and the right ones are turned away, by trials of samples against templates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nearfar.errors import DataError
from nearfar.evaluate.bootstrap import Interval
from nearfar.evaluate.exact_intervals import binomial_interval

Scores = npt.NDArray[np.float32] | npt.NDArray[np.float64]
Figures = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

FMRS = {"fmr100": 1e-2, "fmr1000": 1e-3, "fmr10000": 1e-4}
"""What a false non-match rate at a false match rate is called -> that rate."""

RULE_OF_THREE = 3.0
"""So many trials times the rate without one error say, with 95 % confidence, that the rate is kept."""


@dataclass(frozen=True)
class Trials:
    """Samples that were held against templates. A higher score is more alike; a match has at least the threshold.

    Attributes:
        genuine: (g,) scores of samples against the template of their own identity.
        genuine_of: (g,) int64, the number of that identity.
        same_session: (g,) bool, whether a sample of the template is of the same session: such trials are easier.
        impostor: (i,) scores of samples against templates of others.
        impostor_sample: (i,) int64, the number of the identity of the sample.
        impostor_template: (i,) int64, of that of the template.

    Raises:
        ValueError: the arrays of a kind differ in length, or a score is not finite.
    """

    genuine: Scores
    genuine_of: Ints
    same_session: Flags
    impostor: Scores
    impostor_sample: Ints
    impostor_template: Ints

    def __post_init__(self) -> None:
        genuine = {self.genuine.shape, self.genuine_of.shape, self.same_session.shape}
        impostor = {self.impostor.shape, self.impostor_sample.shape, self.impostor_template.shape}
        if len(genuine) > 1 or len(impostor) > 1 or self.genuine.ndim != 1 or self.impostor.ndim != 1:
            raise ValueError(f"trials of a kind need as many numbers as scores: got {genuine} and {impostor}")
        if not (np.isfinite(self.genuine).all() and np.isfinite(self.impostor).all()):
            raise ValueError("scores must be finite")

    @property
    def identities(self) -> Ints:
        """The numbers of all identities that take part, ascending."""
        return np.unique(np.concatenate([self.genuine_of, self.impostor_sample, self.impostor_template]))

    def of_sessions(self, same: bool) -> Trials:
        """Genuine trials within a session only, or across sessions only; all impostor trials stay."""
        kept = self.same_session == same
        return Trials(
            self.genuine[kept],
            self.genuine_of[kept],
            self.same_session[kept],
            self.impostor,
            self.impostor_sample,
            self.impostor_template,
        )


@dataclass(frozen=True, slots=True)
class DetCurve:
    """Error rates at every threshold that tells scores apart, from one that nobody passes to one that all do.

    Attributes:
        thresholds: (v,) float64, descending; the first is infinite.
        fmr: (v,) float64, false match rate, ascending from 0 to 1.
        fnmr: (v,) float64, false non-match rate, descending from 1 to 0.
    """

    thresholds: Figures
    fmr: Figures
    fnmr: Figures


@dataclass(frozen=True, slots=True)
class ErrorRates:
    """Error rates at one threshold, with exact intervals as if trials were independent.

    Attributes:
        threshold: least score of a match.
        fmr: share of impostor trials that match.
        fnmr: share of genuine trials that do not.
    """

    threshold: float
    fmr: Interval
    fnmr: Interval


def det_curve(trials: Trials) -> DetCurve:
    """False match and false non-match rate over all thresholds.

    Raises:
        DataError: there are no genuine or no impostor trials.

    Source: Martin et al., The DET Curve in Assessment of Detection Task Performance, Eurospeech 1997.
    """
    _check(trials)
    values = np.unique(np.concatenate([trials.genuine, trials.impostor]).astype(np.float64))[::-1]
    thresholds = np.concatenate([[np.inf], values])
    below = np.searchsorted(np.sort(trials.genuine.astype(np.float64)), thresholds, side="left")
    passed = len(trials.impostor) - np.searchsorted(np.sort(trials.impostor.astype(np.float64)), thresholds)
    return DetCurve(thresholds, passed / len(trials.impostor), below / len(trials.genuine))


def equal_error_rate(trials: Trials) -> float:
    """The rate at which false matches and false non-matches are equally frequent, interpolated between two thresholds.

    Raises:
        DataError: there are no genuine or no impostor trials.
    """
    curve = det_curve(trials)
    return float(crossing_rates(curve.fmr[None], curve.fnmr[None])[0])


def fnmr_at_fmr(trials: Trials, fmr: float) -> float | None:
    """False non-match rate at the lowest threshold that keeps a false match rate.

    Args:
        trials: what was tried.
        fmr: the rate, above 0 and below 1.

    Returns:
        The rate; None where there are fewer than 3 / `fmr` impostor trials, by which such a rate cannot be seen (rule of three).

    Raises:
        DataError: there are no genuine or no impostor trials.
        ValueError: `fmr` is out of range.
    """
    if not supports(trials, fmr):
        return None
    curve = det_curve(trials)
    return float(kept_rates(curve.fmr[None], curve.fnmr[None], fmr)[0])


def supports(trials: Trials, fmr: float) -> bool:
    """Whether there are enough impostor trials to see a false match rate (rule of three).

    Raises:
        ValueError: `fmr` is out of range.
    """
    if not 0 < fmr < 1:
        raise ValueError(f"fmr must lie strictly between 0 and 1, got {fmr}")
    return len(trials.impostor) * fmr >= RULE_OF_THREE * (1 - 1e-9)


def error_rates(trials: Trials, threshold: float, *, level: float = 0.95) -> ErrorRates:
    """Error rates at a threshold, with intervals that are exact for independent trials.

    Trials of few identities are not independent; `verification_intervals` draws identities anew.

    Args:
        trials: what was tried.
        threshold: least score of a match.
        level: of the intervals.

    Raises:
        DataError: there are no genuine or no impostor trials.
    """
    _check(trials)
    matched = int(np.count_nonzero(trials.impostor >= threshold))
    missed = int(np.count_nonzero(trials.genuine < threshold))
    return ErrorRates(
        threshold,
        binomial_interval(matched, len(trials.impostor), level=level),
        binomial_interval(missed, len(trials.genuine), level=level),
    )


def _check(trials: Trials) -> None:
    if not len(trials.genuine) or not len(trials.impostor):
        raise DataError(
            f"{len(trials.genuine)} genuine and {len(trials.impostor)} impostor trials: error rates need both. Give at least two "
            "identities, and of each more samples than a template is made of"
        )


def crossing_rates(fmr: Figures, fnmr: Figures) -> Figures:
    """Where each row (r, v) of rising and of falling rates crosses, linearly between two thresholds, (r,)."""
    apart = fnmr - fmr
    after = np.argmax(apart <= 0, axis=1)
    rows = np.arange(len(fmr))
    ahead, behind = apart[rows, after - 1], apart[rows, after]
    part = ahead / (ahead - behind)
    low, high = fmr[rows, after - 1], fmr[rows, after]
    return np.asarray(low + part * (high - low), dtype=np.float64)


def kept_rates(fmr: Figures, fnmr: Figures, target: float) -> Figures:
    """Of each row (r, v) the false non-match rate at the lowest threshold whose false match rate is at most a target, (r,)."""
    # A rate of exactly the target is kept; sums of weights miss it by rounding.
    last = np.count_nonzero(fmr <= target * (1 + 1e-9), axis=1) - 1
    return np.asarray(fnmr[np.arange(len(fmr)), last], dtype=np.float64)
