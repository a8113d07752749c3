"""Intervals for counts that hold for few of them too, where a bootstrap of nothing but zeros would say that all is certain."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from nearfar.evaluate.bootstrap import Interval

_HALVINGS = 100


def binomial_interval(successes: int, trials: int, *, level: float = 0.95) -> Interval:
    """A share with its exact interval.

    Args:
        successes: how many trials had what is counted, from 0 to `trials`.
        trials: at least 1.
        level: least chance that the interval covers the true share, strictly between 0 and 1.

    Raises:
        ValueError: an argument is out of range.

    Source: Clopper and Pearson, The use of confidence or fiducial limits illustrated in the case of the binomial, 1934.
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(
            f"{successes} of {trials}: successes must lie between 0 and trials, and trials must be 1 or more"
        )
    tail = _tail(level)
    counts = np.arange(trials + 1)
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, trials + 1)))])
    log_ways = log_factorial[-1] - log_factorial - log_factorial[::-1]

    def chance(share: float, first: int, last: int) -> float:
        """That between `first` and `last` successes are seen."""
        part = slice(first, last + 1)
        log_chances = log_ways[part] + counts[part] * math.log(share) + (trials - counts[part]) * math.log1p(-share)
        return float(np.exp(log_chances).sum())

    low = _crossing(lambda share: chance(share, successes, trials) - tail) if successes else 0.0
    high = _crossing(lambda share: tail - chance(share, 0, successes)) if successes < trials else 1.0
    return Interval(successes / trials, low, high)


def poisson_interval(count: int, exposure: float, *, level: float = 0.95) -> Interval:
    """A rate of events that come independently of each other, with its exact interval.

    Args:
        count: how many came.
        exposure: how long was looked, above 0; in days the rate is one a day.
        level: least chance that the interval covers the true rate, strictly between 0 and 1.

    Raises:
        ValueError: an argument is out of range.

    Source: Garwood, Fiducial limits for the Poisson distribution, 1936.
    """
    if count < 0 or exposure <= 0:
        raise ValueError(f"count is {count} and exposure {exposure}: count must be 0 or more, exposure above 0")
    tail = _tail(level)
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, count + 1)))])

    def at_most(most: int, mean: float) -> float:
        """The chance of `most` events or fewer."""
        return float(np.exp(np.arange(most + 1) * math.log(mean) - mean - log_factorial[: most + 1]).sum())

    # Ten standard deviations and some room for small counts, far beyond either end.
    top = count + 10 * math.sqrt(count) - 2 * math.log(tail) + 20
    low = _crossing(lambda part: 1 - at_most(count - 1, part * top) - tail) * top if count else 0.0
    high = _crossing(lambda part: tail - at_most(count, part * top)) * top
    return Interval(count / exposure, low / exposure, high / exposure)


def _tail(level: float) -> float:
    if not 0 < level < 1:
        raise ValueError(f"level must lie strictly between 0 and 1, got {level}")
    return (1 - level) / 2


def _crossing(ascending: Callable[[float], float]) -> float:
    """Where a function that ascends over (0, 1) passes 0, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if ascending(middle) < 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2
