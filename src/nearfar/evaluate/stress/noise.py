"""Noise: how many of the right ones are turned away as samples get worse, at the threshold as it stands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nearfar.errors import DataError
from nearfar.evaluate.bootstrap import Interval, ratio_interval


@dataclass(frozen=True, slots=True)
class NoiseRate:
    """Figures at one level of noise.

    Attributes:
        level: as the caller counts it (dB of signal to noise, standard deviation).
        fnmr: share of genuine samples that no longer match, with its interval over identities.
    """

    level: float
    fnmr: Interval


def fnmr_by_noise(
    levels: Sequence[float],
    scores: Callable[[float], npt.NDArray[np.float64]],
    identities: npt.NDArray[np.int64],
    threshold: float,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> list[NoiseRate]:
    """False non-match rate at a fixed threshold by level of noise.

    Templates stay clean and the threshold stays where it was: a threshold chosen anew for each level hides what happens.

    Args:
        levels: of noise, in the order of the result.
        scores: corrupts the genuine samples to a level, and gives their scores (g,) against their templates.
        identities: (g,) int64, the identity of each.
        threshold: least score of a match.
        resamples: of the interval.
        seed: of the interval.

    Raises:
        DataError: there are no genuine samples.
    """
    if not len(identities):
        raise DataError(
            "there are no genuine samples to corrupt: give identities more samples than a template is made of"
        )
    numbers, places = np.unique(identities, return_inverse=True)
    asked = np.bincount(places, minlength=len(numbers)).astype(np.float64)
    found = []
    for level in levels:
        failed = (scores(level) < threshold).astype(np.float64)
        missed = np.bincount(places, weights=failed, minlength=len(numbers)).astype(np.float64)
        found.append(NoiseRate(level, ratio_interval(missed, asked, resamples=resamples, seed=seed)))
    return found
