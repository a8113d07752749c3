"""A history of actions to what a graph takes: one object, used by training, evaluation and the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
import numpy.typing as npt

from nearfar.errors import DataError
from nearfar.frontend.settings import EventsSettings
from nearfar.frontend.table import Features, TableFrontend

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Times = npt.NDArray[np.float64]
History = dict[str, npt.NDArray[Any]]
"""What the graph takes, by name; see `EventsSettings`."""

NOBODY = -1
"""Stands in a batch of positions before the first action of a shorter history."""


class EventsFrontend:
    """Weighs events, and makes inputs of histories.

    Attributes:
        settings: how it is done.
        context: makes features of the context; None where there is none.
    """

    def __init__(self, settings: EventsSettings) -> None:
        self.settings = settings
        self.context = None if settings.context is None else TableFrontend(settings.context)
        self._gaps = np.asarray(settings.gaps, np.float64)

    @property
    def features(self) -> int:
        """Features of the context, F; 0 where there is none."""
        return 0 if self.context is None else len(self.context.widths)

    def weight_of(self, action: str = "", dwell: float | None = None, rating: float | None = None) -> float:
        """How much one event counts: above 0 an action, 0 only shown, below 0 dislike.

        Args:
            action: its kind; empty where there are no kinds.
            dwell: seconds spent on it.
            rating: that the user gave.

        Raises:
            DataError: the kind is not known, or the dwell time is below 0 or no number.
        """
        if dwell is not None and not dwell >= 0:
            raise DataError(f"the dwell time is {dwell}: give seconds from 0 on, or leave it out")
        nothing = float("nan")
        weights = self.weights_of(
            np.array([self.kind_weight(action)]),
            np.array([nothing if dwell is None else dwell]),
            np.array([nothing if rating is None else rating]),
        )
        return float(weights[0])

    def weights_of(self, kinds: Times, dwells: Times, ratings: Times) -> Floats:
        """How much events count.

        A weight above 0 is multiplied by `min(1, log(1 + dwell) / log(1 + full_dwell))`; with a rating below `liked` it is dislike,
        of the weight of its kind whole.

        Args:
            kinds: float64 (n,), weights of the kinds of action; see `kind_weight`.
            dwells: float64 (n,) in seconds, NaN where nobody knows.
            ratings: float64 (n,), NaN where there is none.

        Returns:
            float32 (n,).
        """
        settings = self.settings
        shares = np.minimum(1.0, np.log1p(dwells) / np.log1p(settings.full_dwell))
        weights = np.where((kinds > 0) & ~np.isnan(dwells), kinds * shares, kinds)
        if settings.liked is not None:
            # A comparison with NaN is false: what has no rating is no dislike.
            weights = np.where((kinds > 0) & (ratings < settings.liked), -kinds, weights)
        return (weights + 0.0).astype(np.float32)  # + 0.0: there is no weight of -0

    def kind_weight(self, action: str) -> float:
        """The weight of a kind of action.

        Raises:
            DataError: it is not known; the message names the known ones.
        """
        known = self.settings.actions
        if action in known:
            return known[action]
        if self.settings.other is not None:
            return self.settings.other
        if not known:
            if not action:
                return 1.0
            raise DataError(f'an action of kind "{action}", but kinds are not told apart here: leave it out')
        near = get_close_matches(action, known, n=1)
        what = f'"{action}" is no known kind of action' if action else "an event without its kind of action"
        suggestion = f'; did you mean "{near[0]}"?' if near else ";"
        raise DataError(f"{what}{suggestion} known are {', '.join(sorted(known))}")

    def is_accident(self, weight: float, dwell: float | None) -> bool:
        """Whether an action was so short that it says nothing."""
        return weight > 0 and dwell is not None and dwell < self.settings.least_dwell

    def gap_numbers(self, seconds: Times) -> Ints:
        """How many of `settings.gaps` are at most so long, of the same shape: 0 to len(gaps)."""
        return np.searchsorted(self._gaps, seconds, side="right").astype(np.int64)

    def positions(self, begin: Ints, end: Ints) -> Ints:
        """The latest actions of several histories.

        Args:
            begin: int64 (n,), the first action of each.
            end: int64 (n,), the one after its last.

        Returns:
            int64 (n, L), positions from `begin` on, NOBODY before the first one; L is that of the longest, at least 1 and at most
            `settings.length`.
        """
        lengths = np.minimum(end - begin, self.settings.length)
        longest = max(1, int(lengths.max(initial=0)))
        places = end[:, None] + np.arange(-longest, 0)
        return np.where(places >= (end - lengths)[:, None], places, NOBODY)

    def batch(
        self, table: Floats, items: Ints, times: Times, weights: Floats, begin: Ints, end: Ints, now: Times
    ) -> History:
        """What the graph takes of many histories, without the context.

        Args:
            table: float32 (items, d), vectors of items.
            items: int64 (e,), what was acted on.
            times: float64 (e,), seconds since 1970.
            weights: float32 (e,), above 0.
            begin: int64 (n,), the first action of each history.
            end: int64 (n,), the one after its last.
            now: float64 (n,), for which moment.
        """
        places = self.positions(begin, end)
        there = places >= 0
        safe = np.where(there, places, 0)
        if not len(items):  # histories without any action
            shape = (*places.shape, table.shape[1])
            return self._inputs(
                np.zeros(shape, np.float32), np.zeros(places.shape), np.zeros(places.shape, np.float32), there, now
            )
        return self._inputs(table[items[safe]], times[safe], weights[safe], there, now)

    def inputs(self, vectors: Floats, times: Times, weights: Floats, now: float) -> History:
        """What the graph takes of one history, without the context.

        Args:
            vectors: float32 (L, d), of the items acted on, oldest first; only the latest `settings.length` are looked at.
            times: float64 (L,), seconds since 1970.
            weights: float32 (L,).
            now: for which moment.
        """
        count = len(times)
        return self.batch(
            vectors,
            np.arange(count),
            times,
            weights,
            np.zeros(1, np.int64),
            np.array([count], np.int64),
            np.array([now], np.float64),
        )

    def context_of(self, rows: Sequence[Mapping[str, Any] | None]) -> Features:
        """What is known of n moments, as `values` (n, F) and `codes` (n, F); F is 0 where the settings have no context.

        Args:
            rows: column -> cell; None, and columns that a row lacks, are missing.

        Raises:
            DataError: a row has none of the columns.
        """
        if self.context is None or self.settings.context is None:
            return Features(np.zeros((len(rows), 0), np.float32), np.zeros((len(rows), 0), np.int64))
        nothing = {column.name: None for column in self.settings.context.columns}
        known = [column.name for column in self.settings.context.columns]
        for row in rows:
            strange = sorted(set(row or {}) - set(known))
            if strange and not set(row or {}) & set(known):
                raise DataError(
                    f'the context has no "{strange[0]}": what is known of a moment here is {", ".join(known)}'
                )
        return self.context.encode([{**nothing, **row} if row else nothing for row in rows])

    def _inputs(
        self, vectors: Floats, times: Times, weights: Floats, there: npt.NDArray[np.bool_], now: Times
    ) -> History:
        """Fill in what lies before shorter histories: (n, L, d), (n, L), (n, L), (n, L), (n,)."""
        mask = there.astype(np.float32)
        after = np.concatenate([times[:, 1:], now[:, None]], axis=1)
        gaps = np.where(there, self.gap_numbers(after - times), 0)
        filled = vectors if there.all() else vectors * mask[:, :, None]
        return {
            "vectors": filled.astype(np.float32, copy=False),
            "gaps": gaps,
            "weights": (weights * mask).astype(np.float32, copy=False),
            "mask": mask,
        }


def repeated(keys: Ints, times: Times, seconds: float) -> npt.NDArray[np.bool_]:
    """Which events do again what was done within so many seconds before.

    An event is one if the latest earlier event of its key, itself one or not, is at most so long ago: a stream needs to remember one
    time a key.

    Args:
        keys: int64 (n,), equal for what counts as the same (user, item and kind of action).
        times: float64 (n,); of equal ones the first is the earlier.
        seconds: how long.

    Returns:
        bool (n,).
    """
    order = np.lexsort((times, keys))  # stable: equal times keep their order
    same = keys[order][1:] == keys[order][:-1]
    soon = np.diff(times[order]) <= seconds
    again = np.zeros(len(keys), bool)
    again[order[1:]] = same & soon
    return again
