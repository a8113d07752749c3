"""What the filters of a recipe leave of a log."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nearfar.errors import DataError
from nearfar.frontend.events import EventsFrontend, repeated
from nearfar.learn.data.action_filters import accidents, bots, core
from nearfar.learn.data.actions import Floats
from nearfar.recipe.data import Split
from nearfar.recipe.events import EventsSource
from nearfar.sources.event_table import EventTable

Flags = npt.NDArray[np.bool_]
Times = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Kept:
    """What the filters left of a log.

    Attributes:
        weights: float32 (n,), of all its rows.
        actions: bool (n,), which rows are actions on items of the catalogue.
        shown: bool (n,), which are impressions of such items.
        missed: bool (n,), which are held-out actions on other items.
        moments: when validation and test begin, for a split by time.
        learned: bool (users,), who is learned from.
        own: bool (items,), which items have a vector of their own.
        catalogue: bool (items,), which can be recommended.
        dropped: rule -> events.
    """

    weights: Floats
    actions: Flags
    shown: Flags
    missed: Flags
    moments: tuple[float, float] | None
    learned: Flags
    own: Flags
    catalogue: Flags
    dropped: dict[str, int]


def filtered(
    table: EventTable, source: EventsSource, frontend: EventsFrontend, split: Split, known: Container[str]
) -> Kept:
    """Apply the rules in their order; see `action_filters`.

    Args:
        table: the log.
        source: of the recipe.
        frontend: weighs events.
        split: of the recipe; with one by time, what is rare is told from the training part.
        known: names of the items with content.

    Raises:
        DataError: nothing is left to learn from.
    """
    filters = source.filters
    kinds = np.array([frontend.kind_weight(name) for name in table.action_names])
    weights = frontend.weights_of(kinds[table.actions], table.dwells, table.ratings)
    trials = np.isfinite(table.propensities)
    left = _Left(np.ones(len(table), bool), {})
    _drop_what_means_nothing(left, table, source, weights, trials)
    keep = left.rows
    actions = keep & (weights > 0)
    if not actions.any():
        raise DataError(f"{source.path}: no event in it is an action of positive weight{left.told}")
    moments = _moments(table.times[actions], split) if split.by == "time" else None
    counted = keep & ((weights > 0) | trials)
    if moments is not None:
        counted &= table.times < moments[0]
    has_content = np.array([name in known for name in table.item_names], bool)
    may_be_cold = has_content if source.items is not None and source.items.cold else np.zeros_like(has_content)
    user_stays, catalogue, counts = core(
        table.users[counted],
        table.items[counted],
        actions[counted],
        may_be_cold,
        filters.least_of_user if source.columns.user is not None else 0,
        filters.least_of_item,
    )
    learned = np.zeros(int(table.users.max()) + 1, bool)
    learned[: len(user_stays)] = user_stays
    listed = catalogue[table.items]
    missed = np.zeros(len(table), bool)
    if moments is None:
        left.drop("of users with fewer than least_of_user", ~learned[table.users])
    else:
        missed = keep & actions & ~listed & (table.times >= moments[0])
    left.drop("on items with fewer than least_of_item", ~listed & ~missed)
    actions = keep & actions & ~missed
    if not actions.any():
        raise DataError(
            f"{source.path}: nothing is left to learn from{left.told}. Lower least_of_user and least_of_item in "
            "data.source.filters, or give a longer log"
        )
    shown = keep & ((weights == 0) | trials) & ~missed
    own = catalogue & (counts >= filters.least_of_item)
    return Kept(weights, actions, shown, missed, moments, learned, own, catalogue, left.dropped)


@dataclass(frozen=True)
class _Left:
    """What the rules have left so far.

    Attributes:
        rows: bool (n,), changed in place.
        dropped: rule -> events.
    """

    rows: Flags
    dropped: dict[str, int]

    def drop(self, rule: str, rows: Flags) -> None:
        """Take out what a rule is against; what is out already counts for the rule that came first."""
        count = int((self.rows & rows).sum())
        if count:
            self.dropped[rule] = count
            self.rows[rows] = False

    @property
    def told(self) -> str:
        """What was left out, for a message."""
        told = "; ".join(f"{count:,} {rule}" for rule, count in self.dropped.items())
        return f" (left out: {told})" if told else ""


def _drop_what_means_nothing(
    left: _Left, table: EventTable, source: EventsSource, weights: Floats, trials: Flags
) -> None:
    """Accidents, double clicks, robots and dislikes; what was shown by chance, `trials`, was meant as it is."""
    filters = source.filters
    left.drop("shorter than least_dwell", accidents(weights, table.dwells, filters.least_dwell) & ~trials)
    if source.columns.user is not None:
        plain = np.flatnonzero(left.rows & ~trials)
        keys = (table.users * len(table.item_names) + table.items) * len(table.action_names) + table.actions
        again = np.zeros(len(table), bool)
        again[plain] = repeated(keys[plain], table.times[plain], filters.repeat)
        left.drop("repeated within the seconds of repeat", again)
        if filters.most_per_hour is not None:
            fast = bots(table.users, table.times, left.rows & (weights > 0), filters.most_per_hour)
            left.drop("of users with more than most_per_hour", np.isin(table.users, fast))
    left.drop("dislike, which is no action", weights < 0)


def _moments(times: Times, split: Split) -> tuple[float, float]:
    """When validation begins, and when the test does, by shares of the actions (n,)."""
    first, second = np.quantile(times, [1 - split.validation - split.test, 1 - split.test])
    return float(first), float(second)
