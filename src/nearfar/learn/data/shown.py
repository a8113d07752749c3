"""What was shown, and what was done that nothing can foresee: rows of a log beside the actions."""

from __future__ import annotations

import numpy as np

from nearfar.learn.data.action_filters import answered
from nearfar.learn.data.actions import Impressions, Ints, Misses
from nearfar.learn.data.histories import Histories, Sides, side_at
from nearfar.learn.data.kept_events import Kept
from nearfar.learn.data.split import DROPPED, TRAIN
from nearfar.sources.event_table import EventTable

_ANSWER = 3600.0
"""Seconds after it was shown within which an action on an item counts as its answer."""


def impressions_of(table: EventTable, kept: Kept, history: Histories, rows: Ints, numbers: Ints) -> Impressions:
    """What was shown; its side is the later one of those of the moment and of the action that answers it."""
    users, times = history.place[table.users[rows]], table.times[rows]
    known = np.flatnonzero(users >= 0)
    ends = history.before(users[known], rows[known], times[known])
    # A row that is an action itself has not happened yet when it is shown.
    acts = kept.actions[rows]
    ends -= acts[known]
    histories = np.zeros((len(rows), 2), np.int64)
    histories[known] = np.stack([history.offsets[users[known]], ends], axis=1)
    owners = np.repeat(np.arange(len(history.offsets) - 1), np.diff(history.offsets))
    answer = answered(
        users, numbers[table.items[rows]], times, owners, numbers[table.items[history.rows]], history.times, _ANSWER
    )
    answer[users < 0] = -1
    if kept.moments is not None:
        side = side_at(times, kept.moments)
        side[(side == TRAIN) & ~kept.learned[table.users[rows]]] = DROPPED
    else:
        side = _by_next(history, users, histories[:, 1])
    answers = np.where(answer >= 0, history.side[np.maximum(answer, 0)], TRAIN)
    side = np.where(side == DROPPED, DROPPED, np.maximum(side, answers)).astype(np.int8)
    odds = table.propensities[rows]
    nothing = np.zeros((len(rows), 0), np.float32)
    return Impressions(
        items=numbers[table.items[rows]],
        histories=histories,
        now=times,
        acted=(acts | (answer >= 0)).astype(np.float32),
        propensities=np.where(np.isfinite(odds), odds, 1.0).astype(np.float32),
        side=side,
        values=nothing,
        codes=nothing.astype(np.int64),
    )


def _by_next(history: Histories, users: Ints, ends: Ints) -> Sides:
    """Side (m,) of what was shown between two actions: that of the later one; after all actions, that of the last."""
    if not len(history.side):
        return np.full(len(users), TRAIN, np.int8)
    last = history.offsets[1:][np.maximum(users, 0)] - 1
    following: Sides = history.side[np.minimum(np.maximum(ends, 0), last)]
    return np.where(users < 0, TRAIN, following).astype(np.int8)


def misses_of(table: EventTable, kept: Kept, history: Histories) -> Misses:
    """Held-out actions on what is not in the catalogue, of users who had done something before."""
    rows = np.flatnonzero(kept.missed)
    users = history.place[table.users[rows]]
    rows, users = rows[users >= 0], users[users >= 0]
    if kept.moments is None or not len(rows):
        return Misses.none()
    times = table.times[rows]
    ends = history.before(users, rows, times)
    some = ends > history.offsets[users]
    return Misses(users[some], ends[some], times[some], side_at(times[some], kept.moments))
