"""The threshold of a match, chosen by trials so that a false match rate is kept, or refused where the trials are too few."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nearfar.errors import DataError
from nearfar.evaluate.bootstrap import Interval
from nearfar.evaluate.exact_intervals import binomial_interval

Scores = npt.NDArray[np.float32]

_LEAST_LEVEL = 1e-9  # of a two-sided interval whose upper end is a one-sided bound of confidence 0.5


class TooFewTrialsError(DataError):
    """The trials cannot support the false match rate that was asked for.

    Attributes:
        impostor: trials of a sample against the template of another identity that there are.
        needed: that there must be.
        supported: least false match rate that those there are can support.
    """

    def __init__(self, message: str, *, impostor: int, needed: int, supported: float) -> None:
        super().__init__(message)
        self.impostor, self.needed, self.supported = impostor, needed, supported


@dataclass(frozen=True, slots=True)
class Threshold:
    """Where a match begins, and what that does on the trials that it was chosen by.

    Attributes:
        value: least score of a match; exact in float32.
        fmr: the target.
        confidence: of the one-sided bound that keeps it.
        genuine: trials of a sample against the template of its own identity.
        impostor: trials against the template of another.
        identities: in these trials; 0 where it was not said.
        realised_fmr: share of the impostor trials at or above `value`; `high` is the bound, at most `fmr`.
        realised_fnmr: share of the genuine trials below, with its exact 95 % interval.
        warnings: what a person should know before trusting the bound; often empty.
    """

    value: float
    fmr: float
    confidence: float
    genuine: int
    impostor: int
    identities: int
    realised_fmr: Interval
    realised_fnmr: Interval
    warnings: tuple[str, ...] = ()


def trials_needed(fmr: float, confidence: float) -> int:
    """Impostor trials from which a false match rate can be shown at all: so many without a single false match.

    Args:
        fmr: the target, strictly between 0 and 1.
        confidence: of the one-sided Clopper-Pearson bound, strictly between 0 and 1.

    Returns:
        The least n with (1 - fmr)^n <= 1 - confidence; about 3 / fmr at 0.95, the rule of three.

    Raises:
        DataError: an argument is out of range.

    Source: ISO/IEC 19795-1, annex B; Hanley and Lippman-Hand, If nothing goes wrong, is everything all right?, 1983.
    """
    _check(fmr, confidence)
    needed = max(1, math.ceil(math.log1p(-confidence) / math.log1p(-fmr)))
    # The two logarithms are rounded: the neighbours decide.
    while needed > 1 and (needed - 1) * math.log1p(-fmr) <= math.log1p(-confidence):
        needed -= 1
    return needed


def identities_needed(fmr: float, confidence: float) -> int:
    """Identities from which pairs of two different ones are as many as `trials_needed`: trials of the same pair are not independent.

    Returns:
        The least m with m (m - 1) / 2 pairs or more; 78 for 0.1 % at 0.95.

    Raises:
        DataError: an argument is out of range.
    """
    pairs = trials_needed(fmr, confidence)
    return math.ceil((1 + math.sqrt(1 + 8 * pairs)) / 2)


def false_matches_allowed(trials: int, fmr: float, confidence: float) -> int:
    """Most false matches of so many impostor trials with which the upper Clopper-Pearson bound is still at most `fmr`.

    Returns:
        The largest k with P(Binomial(trials, fmr) <= k) <= 1 - confidence; -1 where not even 0 will do.

    Raises:
        DataError: an argument is out of range.
    """
    _check(fmr, confidence)
    if trials < trials_needed(fmr, confidence):
        return -1
    # From 0 to beyond where the distribution has its weight; the chance of k comes from that of k - 1.
    most = min(trials, math.ceil(trials * fmr + 10 * math.sqrt(trials * fmr) + 10))
    counts = np.arange(1, most + 1, dtype=np.float64)
    steps = np.log(trials - counts + 1) - np.log(counts) + math.log(fmr) - math.log1p(-fmr)
    log_chances = trials * math.log1p(-fmr) + np.concatenate([[0.0], np.cumsum(steps)])
    at_most = np.cumsum(np.exp(log_chances))
    # Of exactly as many trials as are needed the two ways of computing may differ in the last bit.
    return max(0, int(np.searchsorted(at_most, 1 - confidence, side="right")) - 1)


def choose_threshold(
    genuine: Scores, impostor: Scores, *, fmr: float, confidence: float = 0.95, identities: int = 0
) -> Threshold:
    """The least threshold whose false match rate is below a target, by the upper bound of what was seen.

    Args:
        genuine: scores of samples against the template of their own identity, (g,).
        impostor: scores of samples against the template of another identity, (i,).
        fmr: the target, strictly between 0 and 1.
        confidence: of the one-sided Clopper-Pearson bound, from 0.5 and below 1.
        identities: how many the trials are of; with it refusals say how many more people are needed, and too few are warned of.

    Raises:
        TooFewTrialsError: so few impostor trials could not support the target even without a single false match.
        DataError: there are no genuine trials, a score is not finite, or an argument is out of range.

    Source: the bound of a threshold chosen by an order statistic is exact, as that of a distribution-free tolerance limit (Wilks,
    Determination of sample sizes for setting tolerance limits, 1941).
    """
    _check(fmr, confidence)
    for name, scores in (("genuine", genuine), ("impostor", impostor)):
        if not np.isfinite(scores).all():
            raise DataError(f"a {name} score is not a finite number: check the encoder with `nearfar inspect`")
    if not len(genuine):
        raise DataError(
            "there is no trial of a sample against the template of its own identity: give more samples of each than make a template"
        )
    allowed = false_matches_allowed(len(impostor), fmr, confidence)
    if allowed < 0:
        raise _refusal(len(impostor), fmr, confidence, identities)
    # The first score that may not pass any more; it is compared in its own type, so the next number of that type is the least above.
    place = len(impostor) - 1 - allowed
    stopped = np.partition(np.asarray(impostor, dtype=np.float32), place)[place]
    value = np.nextafter(stopped, np.float32(np.inf))
    false_matches = int((impostor >= value).sum())
    missed = int((genuine < value).sum())
    realised = binomial_interval(false_matches, len(impostor), level=max(2 * confidence - 1, _LEAST_LEVEL))
    return Threshold(
        value=float(value),
        fmr=fmr,
        confidence=confidence,
        genuine=len(genuine),
        impostor=len(impostor),
        identities=identities,
        realised_fmr=realised,
        realised_fnmr=binomial_interval(missed, len(genuine)),
        warnings=_warnings(fmr, confidence, identities, missed / len(genuine)),
    )


def _check(fmr: float, confidence: float) -> None:
    if not 0 < fmr < 1:
        raise DataError(f"the target FMR is {fmr}: give a share between 0 and 1, as 0.001 for one in a thousand")
    if not 0.5 <= confidence < 1:
        raise DataError(f"confidence is {confidence}: give a share from 0.5 and below 1, as 0.95")


def _refusal(impostor: int, fmr: float, confidence: float, identities: int) -> TooFewTrialsError:
    needed = trials_needed(fmr, confidence)
    supported = -math.expm1(math.log1p(-confidence) / impostor) if impostor else 1.0
    message = (
        f"an FMR of {fmr:g} cannot be shown with {impostor:,} impostor trials: at a confidence of {confidence:.0%} it takes {needed:,}, "
        "even if none of them matches."
    )
    if identities > 1 and impostor:
        a_pair = impostor / (identities * (identities - 1))
        people = math.ceil((1 + math.sqrt(1 + 4 * needed / a_pair)) / 2)
        message += (
            f" Give samples of {people - identities:,} more people ({people:,} in all, with as many samples each as now), or "
            f"{math.ceil(needed / impostor):,} times as many samples of each;"
        )
    else:
        message += " Give samples of more people;"
    if supported < 0.5:
        message += f" or ask for an FMR of {_rounded_up(supported):g} or more, which these trials can show"
    else:
        message += " these trials can show none that would be of use"
    return TooFewTrialsError(message, impostor=impostor, needed=needed, supported=supported)


def _warnings(fmr: float, confidence: float, identities: int, fnmr: float) -> tuple[str, ...]:
    found = []
    pairs, needed = identities * (identities - 1) // 2, trials_needed(fmr, confidence)
    if identities and pairs < needed:
        found.append(
            f"the trials are of {identities:,} identities, which are {pairs:,} pairs of different ones; trials of the same pair are not "
            f"independent, so the bound on the FMR is surer on paper than in truth: {needed:,} pairs, that is "
            f"{identities_needed(fmr, confidence):,} identities, would be enough to be sure"
        )
    if fnmr > 0.5:
        found.append(
            f"at this threshold {fnmr:.0%} of the genuine samples are refused: allow a higher FMR, give more samples to a template, or "
            "train a better encoder"
        )
    return tuple(found)


def _rounded_up(share: float) -> float:
    """Two significant digits, never below `share`."""
    unit = 10.0 ** (math.floor(math.log10(share)) - 1)
    return math.ceil(share / unit) * unit
