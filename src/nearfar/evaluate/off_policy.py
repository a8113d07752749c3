"""What a ranker would have earned on impressions that another policy chose: estimates from a log with propensities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nearfar.errors import DataError
from nearfar.evaluate.bootstrap import Interval, ratio_interval

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class OffPolicyValue:
    """An estimate of the mean reward of a policy that did not choose what was shown.

    Attributes:
        logged: mean reward of the policy that did.
        ips: estimate by inverse propensities: right on average where every item could be shown, but of large spread.
        snips: the same over the sum of the weights: a little off with few rows, of less spread, and never above the largest reward.
        rows: of the log.
        effective: how many rows of equal weight would say as much (Kish): of few, neither estimate is worth much.
        clipped: share of the rows whose weight was cut.
        largest: the largest weight that was used.
    """

    logged: Interval
    ips: Interval
    snips: Interval
    rows: int
    effective: float
    clipped: float
    largest: float


def off_policy_value(
    rewards: Floats,
    propensities: Floats,
    chosen: Floats,
    *,
    clip: float | None = None,
    groups: Ints | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> OffPolicyValue:
    """Estimate the mean reward of a policy from a log of another one.

    Args:
        rewards: (n,) what came of each row, 1 for a click.
        propensities: (n,) how likely the logging policy was to show what it showed, above 0 to 1.
        chosen: (n,) how likely the policy in question is to show the same there, 0 to 1; see `share_of_shown`.
        clip: weights are cut at it, which trades spread for a leaning towards the logging policy; None leaves them.
        groups: (n,) rows of one person, or of one page, that are drawn together for the intervals; None draws rows.
        resamples: of the intervals.
        seed: of the intervals.

    Raises:
        DataError: there are no rows, a propensity is not above 0, or the policy would show nothing that was shown.
        ValueError: the arrays do not fit together.

    Source: Horvitz and Thompson 1952 for IPS; Swaminathan and Joachims, The Self-Normalized Estimator for Counterfactual Learning,
    NeurIPS 2015, for SNIPS; Bottou et al., JMLR 2013, section 4.2, for clipping; Saito et al., Open Bandit Dataset, NeurIPS 2021.
    """
    rewards, propensities, chosen = (np.asarray(of, dtype=np.float64) for of in (rewards, propensities, chosen))
    if not len(rewards) == len(propensities) == len(chosen):
        raise ValueError(f"got {len(rewards)} rewards, {len(propensities)} propensities and {len(chosen)} shares")
    if not len(rewards):
        raise DataError("there are no impressions to estimate from: give a log with rows of a known propensity")
    wrong = np.flatnonzero(~((propensities > 0) & (propensities <= 1)))
    if len(wrong):
        raise DataError(
            f"row {wrong[0]} has the propensity {propensities[wrong[0]]}, and {len(wrong)} rows in all are not above 0 and at most 1: "
            "leave out what could not have been shown"
        )
    weights = chosen / propensities
    cut = weights > clip if clip is not None else np.zeros(len(weights), bool)
    weights = np.minimum(weights, clip) if clip is not None else weights
    if not weights.any():
        raise DataError(
            "the policy would show nothing of what was shown: take one that chooses at random (a temperature)"
        )
    together = np.arange(len(rewards)) if groups is None else np.unique(groups, return_inverse=True)[1]

    def interval(above: Floats, below: Floats) -> Interval:
        sums = (np.asarray(np.bincount(together, of), dtype=np.float64) for of in (above, below))
        return ratio_interval(*sums, resamples=resamples, seed=seed)

    ones = np.ones(len(rewards))

    return OffPolicyValue(
        logged=interval(rewards, ones),
        ips=interval(weights * rewards, ones),
        snips=interval(weights * rewards, weights),
        rows=len(rewards),
        effective=float(weights.sum() ** 2 / (weights**2).sum()),
        clipped=float(cut.mean()),
        largest=float(weights.max()),
    )


def share_of_shown(
    scores: npt.NDArray[np.float32], shown: Ints, *, temperature: float = 0.0, explore: float = 0.0
) -> Floats:
    """How likely a ranker, made a policy, is to show what was shown.

    Args:
        scores: (n, items) of what could be shown in each row; -inf for what could not.
        shown: (n,) the item that was.
        temperature: 0 shows the item of the highest score (one of them at random, where several share it); above 0, items are drawn by
            the softmax of the scores over it.
        explore: share of the rows in which any item is drawn evenly; so none has the share 0.

    Returns:
        (n,) shares, 0 to 1.
    """
    wide = np.asarray(scores, dtype=np.float64)
    best = wide.max(axis=1, keepdims=True)
    weights = np.exp((wide - best) / temperature) if temperature > 0 else (wide == best).astype(np.float64)
    own = weights[np.arange(len(wide)), shown] / weights.sum(axis=1)
    possible = np.isfinite(wide).sum(axis=1)
    return np.asarray((1.0 - explore) * own + explore / possible, dtype=np.float64)
