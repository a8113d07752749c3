"""Where a score becomes an alarm: the highest scores of healthy blocks, and a promise of so many false alarms a day."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from nearfar.errors import DataError

DAY = 86_400.0

_TAIL_SHARE = 0.25  # of the blocks, whose maxima make the tail
LEAST_BLOCKS = 10
_SHAPE = (-0.5, 0.5)


class Threshold(NamedTuple):
    """A level with what it rests on.

    Attributes:
        value: scores above it are alarming.
        tail: `conformal` where the blocks alone say it, `gpd` where their tail had to be extended, `fleet` where
            other machines say it.
    """

    value: float
    tail: Literal["conformal", "gpd", "fleet"]


def block_maxima(
    times: npt.NDArray[np.float64], statistic: npt.NDArray[np.floating], block: float
) -> npt.NDArray[np.float32]:
    """The highest values of blocks of `block` seconds, in the order of time.

    Args:
        times: (k,) seconds, ascending.
        statistic: (k,), NaN where nothing is known.
        block: length in seconds; blocks are counted from the first time. One of which more than half is unknown, or lies after the last
            time, is left out.

    Returns:
        float32 (b,).
    """
    known = np.isfinite(statistic)
    if not known.any():
        return np.zeros(0, np.float32)
    period = float(np.median(np.diff(times))) if len(times) > 1 else block
    owner = np.floor((times[known] - times[0]) / block).astype(np.int64)
    blocks, starts, counts = np.unique(owner, return_index=True, return_counts=True)
    maxima = np.maximum.reduceat(np.asarray(statistic, np.float32)[known], starts)
    del blocks
    return np.asarray(maxima[counts * period >= block / 2], np.float32)


def p_value(maxima: npt.NDArray[np.float32], score: float) -> float:
    """The conformal p-value of a block's highest score among `maxima` (b,), ascending: never below 1 / (b + 1)."""
    return float((1 + len(maxima) - np.searchsorted(maxima, score, side="left")) / (len(maxima) + 1))


def level_per_block(per_day: float, block: float) -> float:
    """Which share of healthy blocks may raise an alarm.

    Raises:
        DataError: more alarms are allowed than there are blocks.
    """
    level = per_day * block / DAY
    if level >= 0.5:
        raise DataError(
            f"{per_day:g} false alarms a day are more than can be told apart in blocks of {block:g} seconds: allow fewer, or set a "
            f"shorter block (below {DAY / per_day / 2:.0f} seconds)"
        )
    return level


def find_threshold(
    maxima: npt.NDArray[np.float32], *, per_day: float, block: float, tail: Literal["auto", "conformal", "gpd"] = "auto"
) -> Threshold:
    """The level that a share `per_day * block / 86,400` of healthy blocks exceeds.

    Args:
        maxima: (b,) highest scores of healthy blocks that come after all that was fitted.
        per_day: false alarms a day that are allowed.
        block: length of the blocks in seconds.
        tail: `conformal` takes an order statistic, for which the promise holds whatever the scores look like as long as blocks to
            come are exchangeable with these (Vovk et al., Algorithmic Learning in a Random World, 2005). `gpd` extends the
            highest quarter of the maxima by a generalised Pareto distribution (Pickands, 1975), fitted by probability-weighted moments
            (Hosking and Wallis, 1987). `auto` does so where there are too few blocks for an order statistic.

    Raises:
        DataError: too few blocks for what is asked; the message says how many days are needed.
    """
    level = level_per_block(per_day, block)
    needed = int(np.ceil(1 / level)) - 1
    ascending = np.sort(maxima)
    rank = int(np.ceil((len(ascending) + 1) * (1 - level)))
    if tail != "gpd" and rank <= len(ascending):
        return Threshold(float(ascending[rank - 1]), "conformal")
    if tail == "conformal":
        raise DataError(
            f"{per_day:g} false alarms a day in blocks of {block:g} seconds need {needed:,} healthy blocks "
            f"({needed * block / DAY:.2g} days) to calibrate with, but there are {len(ascending):,}: record more, allow more alarms, "
            "or set watch.tail to auto, which extends the tail"
        )
    if len(ascending) < LEAST_BLOCKS:
        raise DataError(
            f"{len(ascending)} healthy blocks of {block:g} seconds are too few to say when to alarm: at least {LEAST_BLOCKS} are "
            f"needed ({LEAST_BLOCKS * block / 3600:.2g} hours). Record more, or set watch.block to less"
        )
    return Threshold(_generalised_pareto(ascending, level), "gpd")


def _generalised_pareto(ascending: npt.NDArray[np.float32], level: float) -> float:
    """The level that a share of blocks exceeds, by the tail of their maxima."""
    n = len(ascending)
    count = min(n - 1, max(LEAST_BLOCKS - 1, int(n * _TAIL_SHARE)))
    start = float(ascending[n - count - 1])
    excess = np.asarray(ascending[n - count :], np.float64) - start
    if level >= count / n or excess.max() == 0:
        return float(ascending[min(n - 1, int(np.ceil(n * (1 - level))) - 1)])
    places = (np.arange(1, count + 1) - 0.35) / count
    first, second = excess.mean(), (excess * (1 - places)).mean()
    shape = float(np.clip(2 - first / (first - 2 * second), *_SHAPE)) if first > 2 * second else _SHAPE[1]
    scale = first * (1 - shape)
    ratio = level * n / count
    beyond = -scale * np.log(ratio) if abs(shape) < 1e-6 else scale / shape * (ratio**-shape - 1)
    return start + float(beyond)
