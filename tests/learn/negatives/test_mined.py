"""The table of mined negatives: what is drawn from it, and when it is made again."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.learn.negatives import MinedNegatives

Ints = npt.NDArray[np.int64]

TABLE = np.array([[10, 11, 12, 13], [20, 21, -1, -1], [-1, -1, -1, -1], [30, -1, -1, -1]])


def made(*, per_query: int = 2, every: int | None = 10, seed: int = 5) -> MinedNegatives:
    mined = MinedNegatives(4, 4, per_query=per_query, seed=seed, begins=3, every=every)
    mined.replace(TABLE, 3)
    return mined


def test_a_draw_is_of_different_negatives_of_the_query_filled_up() -> None:
    mined, rows = made(), np.array([3, 0, -1, 1, 2, 0])
    seen: set[int] = set()
    for step in range(3, 60):
        drawn = mined.drawn(rows, step)
        assert drawn.shape == (6, 2)
        assert drawn[0].tolist() == [30, -1]
        assert drawn[2].tolist() == drawn[4].tolist() == [-1, -1]
        assert set(drawn[3].tolist()) == {20, 21}
        for place in (1, 5):
            assert len(set(drawn[place].tolist())) == 2
            assert set(drawn[place].tolist()) <= {10, 11, 12, 13}
            seen |= set(drawn[place].tolist())
    assert seen == {10, 11, 12, 13}


def wide(*, per_query: int = 2, seed: int = 5) -> MinedNegatives:
    """Every query has different negatives, 100 q to 100 q + 3."""
    mined = MinedNegatives(40, 4, per_query=per_query, seed=seed, begins=3, every=10)
    mined.replace(100 * np.arange(40)[:, None] + np.arange(4), 3)
    return mined


def test_a_draw_depends_on_seed_step_and_query_and_nothing_else() -> None:
    rows = np.arange(40)
    mined = wide()
    first = mined.drawn(rows, 7)
    for _ in range(3):
        mined.drawn(rows, 8)
    assert np.array_equal(mined.drawn(rows, 7), first)
    assert np.array_equal(wide().drawn(rows, 7), first)
    assert not np.array_equal(mined.drawn(rows, 8), first)
    assert not np.array_equal(wide(seed=6).drawn(rows, 7), first)
    places = {tuple(drawn) for drawn in (first % 100).tolist()}
    assert len(places) > 6, "different queries draw different places: 12 are possible"
    # A query that is asked for twice has one answer.
    assert (mined.drawn(np.zeros(40, np.int64), 7) == first[0]).all()


@given(st.lists(st.integers(-1, 39), min_size=1, max_size=12), st.integers(3, 50), st.integers(1, 4))
@settings(max_examples=80, deadline=None)
def test_a_draw_does_not_depend_on_what_else_is_asked_for(asked: list[int], step: int, per_query: int) -> None:
    """So it does not matter how a batch is shared out."""
    mined = wide(per_query=per_query)
    together = mined.drawn(np.array(asked), step)
    assert together.shape == (len(asked), per_query)
    for place, query in enumerate(asked):
        assert np.array_equal(mined.drawn(np.array([query]), step)[0], together[place])
    assert np.array_equal(mined.drawn(np.array(asked[::-1]), step), together[::-1])


@pytest.mark.parametrize("seed", [0, 1])
def test_draws_are_even_over_negatives_and_independent_over_queries_and_steps(seed: int) -> None:
    """By the chi-squared statistic over 20,000 draws; its 1 - 1e-6 quantiles for 3, 11 and 15 degrees of freedom."""
    mined, rows, steps = wide(seed=seed), np.arange(40), range(3, 503)
    drawn = np.stack([mined.drawn(rows, step) % 100 for step in steps])  # (steps, queries, 2)

    def statistic(events: Ints, count: int) -> float:
        expected = events.size / count
        return float((((np.bincount(events.ravel(), minlength=count) - expected) ** 2) / expected).sum())

    assert statistic(drawn[..., 0], 4) < 30.7
    pairs = drawn[..., 0] * 4 + drawn[..., 1]
    names = np.unique(pairs)
    assert len(names) == 12, "every ordered pair comes up"
    assert statistic(np.searchsorted(names, pairs), 12) < 48.9
    # A query keeps its own count even: no favourite place, also not in turn with its neighbour or with the step before.
    assert max(statistic(drawn[:, query, 0], 4) for query in rows) < 30.7
    first = drawn[..., 0]
    assert statistic(first[:, :-1] * 4 + first[:, 1:], 16) < 56.5
    assert statistic(first[:-1] * 4 + first[1:], 16) < 56.5


def test_where_a_query_has_fewer_negatives_these_are_drawn_evenly() -> None:
    mined = made(per_query=1)
    drawn = [int(mined.drawn(np.array([1]), step)[0, 0]) for step in range(3, 1003)]
    assert set(drawn) == {20, 21}
    assert 400 < drawn.count(20) < 600


def test_before_it_begins_nothing_is_drawn() -> None:
    assert (made().drawn(np.array([0, 1]), 2) == -1).all()
    assert (made().drawn(np.array([0, 1]), 3) >= 0).all()


@pytest.mark.parametrize(("every", "expected"), [(10, [3, 13, 23]), (None, [3])])
def test_it_is_due_when_it_begins_and_then_every_so_many_steps(every: int | None, expected: list[int]) -> None:
    mined = MinedNegatives(4, 4, per_query=1, seed=0, begins=3, every=every)
    made_at = []
    for step in range(30):
        if mined.is_due(step):
            made_at.append(step)
            mined.replace(TABLE, step)
            assert not mined.is_due(step)
    assert made_at == expected


def test_a_restored_table_draws_the_same_and_is_due_at_the_same_step() -> None:
    unbroken = made()
    restored = MinedNegatives(4, 4, per_query=2, seed=5, begins=3, every=10)
    assert restored.is_due(9)
    restored.load_state_dict(unbroken.state_dict(), strict=True)
    assert not restored.is_due(9)
    rows = np.array([0, 1, 2, 3])
    assert all(np.array_equal(unbroken.drawn(rows, s), restored.drawn(rows, s)) for s in range(3, 13))
    # Broken off after step 12 was saved and before step 13 mined: the restored run makes up for it.
    assert restored.is_due(13)
    assert restored.is_due(14)


def test_a_table_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the table is \(4, 4\), the new one \(4, 3\)"):
        made().replace(TABLE[:, :3], 3)
    with pytest.raises(ValueError, match=r"per_query is 5, and must be from 1 to keep \(4\)"):
        made(per_query=5)
