"""Unlinkability: whether two templates of one identity, made with different keys, can be told to be of one identity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nearfar.errors import DataError

Scores = npt.NDArray[np.float32] | npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_MOST_BINS = 100
_A_BIN = 10  # mated scores for each bin, at least


@dataclass(frozen=True, slots=True)
class Unlinkability:
    """D_sys, from 0 (scores say nothing) to 1 (scores say all), and what it would be by chance.

    D_sys of few scores is above 0 even where they say nothing: it is worth only what it is above the null.

    Attributes:
        d_sys: of the scores.
        null: the mean of it over scores whose kinds were shuffled.
        null_95: its 95th percentile: a figure below this one is no evidence of a link.
        mated: how many scores of one identity there were.
        non_mated: how many of two.
    """

    d_sys: float
    null: float
    null_95: float
    mated: int
    non_mated: int


def d_sys(mated: Scores, non_mated: Scores) -> float:
    """The global measure of how far templates can be linked.

    Args:
        mated: (m,) scores of two templates of one identity with different keys.
        non_mated: (n,) scores of templates of two identities with different keys.

    Returns:
        From 0, where both kinds are distributed alike, to 1, where they are apart.

    Raises:
        DataError: either kind is missing.

    Source: Gomez-Barrero et al., General Framework to Evaluate Unlinkability in Biometric Template Protection Systems, IEEE TIFS 2018,
    eq. 7 to 10, with a prior ratio of 1, by histograms as in the authors' code.
    """
    together, of_mated = _histogram(mated, non_mated)
    return float(_global(of_mated[None], together)[0])


def unlinkability(mated: Scores, non_mated: Scores, *, permutations: int = 1000, seed: int = 0) -> Unlinkability:
    """D_sys with its permutation null beside it.

    Args:
        mated: (m,) scores of two templates of one identity with different keys.
        non_mated: (n,) scores of templates of two identities with different keys.
        permutations: how often kinds are shuffled.
        seed: of the shuffling.

    Raises:
        DataError: either kind is missing.
    """
    together, of_mated = _histogram(mated, non_mated)
    # Shuffling which scores are mated and counting them by bin again is a multivariate hypergeometric draw of the counts.
    shuffled = np.random.default_rng(seed).multivariate_hypergeometric(
        together, len(mated), size=permutations, method="marginals"
    )
    null = _global(shuffled, together)
    return Unlinkability(
        float(_global(of_mated[None], together)[0]),
        float(null.mean()),
        float(np.quantile(null, 0.95)),
        len(mated),
        len(non_mated),
    )


def _histogram(mated: Scores, non_mated: Scores) -> tuple[Ints, Ints]:
    """Scores in each bin (b,): all, and mated ones."""
    if not len(mated) or not len(non_mated):
        raise DataError(
            f"unlinkability needs scores of both kinds: there are {len(mated)} mated and {len(non_mated)} others. Give at least two "
            "identities with samples for two templates each"
        )
    scores = np.concatenate([mated, non_mated]).astype(np.float64)
    bins = max(2, min(_MOST_BINS, len(mated) // _A_BIN))
    low, high = float(scores.min()), float(scores.max())
    if low == high:
        return np.array([len(scores)], np.int64), np.array([len(mated)], np.int64)
    places = np.minimum(((scores - low) / (high - low) * bins).astype(np.int64), bins - 1)
    together = np.bincount(places, minlength=bins)
    return together, np.bincount(places[: len(mated)], minlength=bins)


def _global(mated: Ints, together: Ints) -> npt.NDArray[np.float64]:
    """D_sys of each row (r, b) of counts of mated scores among all of them (b,)."""
    of_one = mated / mated.sum(axis=1, keepdims=True)
    others = together - mated
    of_two = others / others.sum(axis=1, keepdims=True)
    # 2 LR / (1 + LR) - 1 = (p - q) / (p + q), which needs no case for q = 0; where LR <= 1 nothing is learned.
    both = of_one + of_two
    local = np.divide(of_one - of_two, both, out=np.zeros_like(both), where=both > 0).clip(0)
    return np.asarray((of_one * local).sum(axis=1), dtype=np.float64)
