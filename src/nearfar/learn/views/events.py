"""Altered copies of histories: crop, mask and reorder of CL4SRec (Xie et al., arXiv:2010.14395, section 3.3), and substitution by
correlated items as in CoSeRec (Liu et al., arXiv:2108.06479, section 3.2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nearfar.recipe.events import EventsViews

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Times = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sequences:
    """Actions of n histories, left padded.

    Attributes:
        items: int64 (n, L), -1 before the first action and for an item that is hidden.
        times: float64 (n, L), seconds since 1970; of no meaning before the first action.
        weights: float32 (n, L), 0 before the first action.
        mask: float32 (n, L), 1 for an action.
        now: float64 (n,), when the next one came.
        gap_numbers: seconds to the number of a gap, see `EventsFrontend`.
    """

    items: Ints
    times: Times
    weights: Floats
    mask: Floats
    now: Times
    gap_numbers: Callable[[Times], Ints]

    def gaps(self) -> Ints:
        """Numbers (n, L) of the time until the next action, 0 before the first one."""
        after = np.concatenate([self.times[:, 1:], self.now[:, None]], axis=1)
        return np.where(self.mask > 0, self.gap_numbers(after - self.times), 0)

    def taken(self, rows: slice | Ints) -> Sequences:
        """Some of the histories."""
        return Sequences(
            self.items[rows], self.times[rows], self.weights[rows], self.mask[rows], self.now[rows], self.gap_numbers
        )


@dataclass(frozen=True)
class CopyRules:
    """How histories are altered.

    Attributes:
        views: the recipe's block.
        like: int64 (items,), the item that is acted on most often together with each, itself where none is.
    """

    views: EventsViews
    like: Ints


def altered(sequences: Sequences, rules: CopyRules, rng: np.random.Generator) -> Sequences:
    """Two copies of each history, each altered in one way that is drawn among those that the rules have.

    Args:
        sequences: n histories.
        rules: how.
        rng: what draws.

    Returns:
        2 n histories: both copies of the first one, then those of the next.
    """
    twice = sequences.taken(np.repeat(np.arange(len(sequences.items)), 2))
    items, times, weights, mask = twice.items.copy(), twice.times.copy(), twice.weights.copy(), twice.mask.copy()
    views = rules.views
    shares = {"crop": views.crop, "mask": views.mask, "reorder": views.reorder, "substitute": views.substitute}
    ways = [way for way, share in shares.items() if share > 0]
    length = items.shape[1]
    drawn = rng.integers(len(ways), size=len(items)) if ways else np.zeros(0, np.int64)
    for row, way in enumerate(drawn):
        first = length - int(mask[row].sum())
        count = length - first
        if not count:
            continue
        share = shares[ways[way]]
        match ways[way]:
            case "crop":
                kept = max(1, int(share * count))
                begin = first + int(rng.integers(count - kept + 1))
                rows: tuple[npt.NDArray[Any], ...] = (items[row], times[row], weights[row], mask[row])
                for part in rows:
                    part[length - kept :] = part[begin : begin + kept].copy()
                mask[row, : length - kept], weights[row, : length - kept], items[row, : length - kept] = 0, 0, -1
            case "mask":
                items[row, _some(first, count, share, rng)] = -1
            case "reorder":
                moved = max(2, int(share * count))
                if moved <= count:
                    begin = first + int(rng.integers(count - moved + 1))
                    order = begin + rng.permutation(moved)
                    items[row, begin : begin + moved] = items[row, order]
                    weights[row, begin : begin + moved] = weights[row, order]
            case _:
                places = _some(first, count, share, rng)
                items[row, places] = rules.like[items[row, places]]
    return Sequences(items, times, weights, mask, twice.now, twice.gap_numbers)


def _some(first: int, count: int, share: float, rng: np.random.Generator) -> Ints:
    """A share of the places from `first` on, at least one."""
    return first + rng.permutation(count)[: max(1, int(share * count))]
