"""Which events are no evidence: rules over whole logs, in the order in which they are applied.

    accidents   actions with a shorter dwell time than `least_dwell`
    repeats     what a user does again to the same item, in the same way, within `repeat` seconds
    bots        users with more than `most_per_hour` actions in some hour, whole
    the core    items and users with too few actions, again and again until nothing changes

An action is an event of positive weight. What is rare is counted last, so that bots and repeats make nothing popular.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Times = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

_HOUR = 3600.0


def accidents(weights: npt.NDArray[np.float32], dwells: Times, least: float) -> Flags:
    """Which events are actions that were too short to mean anything.

    Args:
        weights: float32 (n,).
        dwells: float64 (n,) in seconds, NaN where nobody knows: these are kept.
        least: in seconds.

    Returns:
        bool (n,).
    """
    return (weights > 0) & (dwells < least)


def bots(users: Ints, times: Times, actions: Flags, most: int) -> Ints:
    """Who acts faster than people do.

    Args:
        users: int64 (n,).
        times: float64 (n,), seconds.
        actions: bool (n,), which events are actions.
        most: that a person does within an hour.

    Returns:
        int64, ascending: users with more actions in some hour.
    """
    own, at = users[actions], times[actions]
    order = np.lexsort((at, own))
    own, at = own[order], at[order]
    if len(own) <= most:
        return np.zeros(0, np.int64)
    too_fast = (own[most:] == own[:-most]) & (at[most:] - at[:-most] < _HOUR)
    return np.unique(own[most:][too_fast])


def core(
    users: Ints, items: Ints, actions: Flags, exempt: Flags, least_of_user: int, least_of_item: int
) -> tuple[Flags, Flags, Ints]:
    """Who and what is left when everything rare is taken out, again and again until nothing changes.

    Args:
        users: int64 (n,) of the rows that count.
        items: int64 (n,).
        actions: bool (n,), which rows are actions; others (what was shown by chance) count for items alone.
        exempt: bool (items,), items that stay however rare they are.
        least_of_user: actions on what stays that a user needs.
        least_of_item: rows of who stays that an item needs.

    Returns:
        bool (users,) and bool (items,), who and what stays; int64 (items,), rows of those who stay.
    """
    user_stays = np.ones(int(users.max(initial=-1)) + 1, bool)
    item_stays = np.ones(len(exempt), bool)
    while True:
        left = user_stays[users] & item_stays[items]
        enough = np.bincount(users[left & actions], minlength=len(user_stays)) >= least_of_user
        counts = np.bincount(items[left], minlength=len(exempt))
        wanted = (counts >= least_of_item) | exempt
        if (enough | ~user_stays).all() and (wanted | ~item_stays).all():
            return user_stays, item_stays, counts
        user_stays &= enough
        item_stays &= wanted


def answered(
    shown_to: Ints, shown: Ints, shown_at: Times, users: Ints, items: Ints, times: Times, within: float
) -> Ints:
    """Which action answers an impression: the first one of its user on its item from then on, within so many seconds.

    Args:
        shown_to: int64 (m,), users.
        shown: int64 (m,), items.
        shown_at: float64 (m,), seconds.
        users: int64 (n,) of the actions.
        items: int64 (n,).
        times: float64 (n,).
        within: seconds.

    Returns:
        int64 (m,), places of actions, -1 where there is none.
    """
    if not len(users) or not len(shown):
        return np.full(len(shown), -1, np.int64)
    most = int(max(items.max(), shown.max())) + 1
    # Ranks in place of keys and moments: both together must make one number of 64 bits.
    _, ranks = np.unique(np.concatenate([users * most + items, shown_to * most + shown]), return_inverse=True)
    moments, moment_ranks = np.unique(np.concatenate([times, shown_at]), return_inverse=True)
    places_in_time = ranks * (len(moments) + 1) + moment_ranks
    count = len(users)
    order = np.argsort(places_in_time[:count], kind="stable")
    places = np.searchsorted(places_in_time[:count][order], places_in_time[count:])
    found = np.minimum(places, len(order) - 1)
    same = ranks[:count][order][found] == ranks[count:]
    good = (places < len(order)) & same & (times[order][found] - shown_at <= within)
    return np.where(good, order[found], -1)
