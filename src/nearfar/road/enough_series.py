"""Whether a series has enough held-out healthy data for a monitor, told before anything is trained."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nearfar.errors import DataError

if TYPE_CHECKING:
    from nearfar.edge.monitor.stretch import Stretch
    from nearfar.learn.data.frames import SeriesCorpus
    from nearfar.recipe import Recipe

_MOST_TRIED = 40  # blocks that a shorter block is made to give, at most
_LEAST_WINDOWS = 2  # that a block must hold, for scores of neighbouring blocks to be anything of their own


class _Way(NamedTuple):
    """What the number of blocks depends on in a way to score."""

    history: int
    needed: int
    out_of: int


def check_enough(corpus: SeriesCorpus, recipe: Recipe) -> None:
    """Refuse data of which no threshold could be made: the same count of blocks as after training, by the way that gives most.

    Values that are missing are taken for present, so what passes may still be too little.

    Args:
        corpus: the prepared data.
        recipe: with its blocks `watch` and `data.split`.

    Raises:
        DataError: too few blocks and no fleet, or more alarms are allowed than blocks can tell; the message says how many hours are
            needed at this split, and which changes of the recipe would do.
    """
    from nearfar.edge.monitor.fit import Fitter, candidates
    from nearfar.edge.monitor.make import FLEET
    from nearfar.edge.monitor.threshold import DAY, LEAST_BLOCKS, level_per_block
    from nearfar.road.measure_series import machine_parts

    settings, watch = corpus.settings, recipe.of_series.watch
    block = Fitter(settings, watch).block
    level = level_per_block(watch.false_alarms_per_day, block)
    least = math.ceil(1 / level) - 1 if watch.tail == "conformal" else LEAST_BLOCKS
    ways = {
        _Way(one.smooth if one.features == "raw" else settings.window, *watch.votes(one.features))
        for one in candidates(watch, embedding=True)
    }
    parts = machine_parts(corpus)
    later = [stretch for part in parts for stretch in part.later]
    found = max(_blocks(later, block, way) for way in ways)
    shortest = min(way.history for way in ways)
    machines = sum(any(len(stretch.frames) >= shortest for stretch in part.later) for part in parts)
    if found >= least or (found < LEAST_BLOCKS and machines >= FLEET):
        return
    split = recipe.data.split
    # Of each machine a window is lost between training and validation, the first scores, and up to half a block at the end.
    lost = (settings.window + max(way.history + way.out_of for way in ways) + 1) * settings.period + block / 2
    needed = least * block + max(1, len(parts)) * lost
    there = corpus.counts.frames * settings.period
    mends = ["record more"]
    if (share := math.ceil(100 * needed / max(there, 1.0)) / 100) + split.test <= 0.7:
        mends.append(f"set data.split.validation to {share:g}")
    for shorter in _shorter(later, _LEAST_WINDOWS * max(way.history for way in ways) * settings.period):
        if watch.tail != "conformal" and max(_blocks(later, shorter, way) for way in ways) >= LEAST_BLOCKS:
            mends.append(f"set watch.block to {shorter:g}")
            break
    hours = f"about {_hours(needed / split.validation)} in all are needed" if split.validation else "none is held out"
    days = f" ({least * block / DAY:.2g} days)" if least > LEAST_BLOCKS else ""
    raise DataError(
        f"{found} healthy blocks of {block:g} seconds in the validation part are too few to say when to alarm: at least {least:,}{days} "
        f"are needed, or {FLEET} machines. There are {_hours(there)} of data; with data.split.validation at {split.validation:g} {hours}. "
        f"{', or '.join(mends).capitalize()}"
    )


def _blocks(later: Sequence[Stretch], block: float, way: _Way) -> int:
    """How many blocks have a highest score."""
    from nearfar.edge.monitor.decide import decision_statistic
    from nearfar.edge.monitor.threshold import block_maxima

    count = 0
    for stretch in later:
        scores = np.zeros(len(stretch.frames), np.float32)
        scores[: way.history - 1] = np.nan
        count += len(block_maxima(stretch.times, decision_statistic(scores, way.needed, way.out_of), block))
    return count


def _shorter(later: Sequence[Stretch], least: float) -> Iterator[float]:
    """Lengths of blocks in seconds, the longest first, that this data may have enough of."""
    seconds = sum(float(np.ptp(stretch.times)) for stretch in later)
    for count in range(10, _MOST_TRIED):
        if seconds / count < least:
            return
        yield float(f"{0.995 * seconds / count:.3g}")


def _hours(seconds: float) -> str:
    return f"{math.ceil(seconds / 360) / 10:g} hours"
