"""Rules over whole logs, each against a plain way to say it."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nearfar.learn.data.action_filters import accidents, answered, bots, core

PAIRS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6), st.booleans()), max_size=60)


def test_accidents_are_short_actions() -> None:
    weights = np.array([1, 1, 0, -1, 1], np.float32)
    dwells = np.array([1.0, 2.0, 1.0, 1.0, np.nan])
    assert accidents(weights, dwells, 2.0).tolist() == [True, False, False, False, False]


def test_a_bot_does_in_some_hour_what_nobody_does() -> None:
    people = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2])
    times = np.array([0.0, 1800.0, 3599.0, 0.0, 1800.0, 3600.0, 0.0, 1.0, 2.0])
    actions = np.array([True] * 8 + [False])
    assert bots(people, times, actions, 2).tolist() == [0]
    assert bots(people, times, actions, 3).tolist() == []
    assert bots(people[:2], times[:2], actions[:2], 5).tolist() == []


@given(PAIRS, st.integers(0, 3), st.integers(0, 3), st.sets(st.integers(0, 6)))
def test_the_core_is_what_is_left_when_one_after_the_other_is_taken_out(
    rows: list[tuple[int, int, bool]], least_of_user: int, least_of_item: int, kept: set[int]
) -> None:
    exempt = np.isin(np.arange(7), list(kept))
    users, items = (np.array([row[part] for row in rows], np.int64) for part in (0, 1))
    actions = np.array([row[2] for row in rows], bool)
    left_users, left_items = set(users.tolist()), set(range(7))

    def taken_out() -> bool:
        left = [row for row in rows if row[0] in left_users and row[1] in left_items]
        for user in left_users:
            if sum(row[0] == user and row[2] for row in left) < least_of_user:
                left_users.remove(user)
                return True
        for item in left_items - kept:
            if sum(row[1] == item for row in left) < least_of_item:
                left_items.remove(item)
                return True
        return False

    while taken_out():
        pass
    user_stays, item_stays, counts = core(users, items, actions, exempt, least_of_user, least_of_item)
    assert {user for user in users.tolist() if user_stays[user]} == left_users
    assert set(np.flatnonzero(item_stays).tolist()) == left_items
    for item in left_items:
        assert counts[item] == sum(row[1] == item and row[0] in left_users for row in rows)


MOMENTS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 20)), max_size=25)


@given(MOMENTS, MOMENTS)
def test_an_answer_is_the_first_action_from_then_on(
    shown: list[tuple[int, int, int]], acts: list[tuple[int, int, int]]
) -> None:
    def columns(rows: list[tuple[int, int, int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        users, items, times = (np.array([row[part] for row in rows], np.int64) for part in range(3))
        return users, items, times.astype(np.float64)

    found = answered(*columns(shown), *columns(acts), 5.0)
    for (user, item, at), answer in zip(shown, found.tolist(), strict=True):
        fitting = [
            (act[2], place) for place, act in enumerate(acts) if act[:2] == (user, item) and at <= act[2] <= at + 5
        ]
        assert answer == (min(fitting)[1] if fitting else -1)
