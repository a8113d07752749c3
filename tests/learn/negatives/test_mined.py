"""The table of mined negatives: what is drawn from it, and when it is made again."""

from __future__ import annotations

import numpy as np
import pytest

from nearfar.learn.negatives import MinedNegatives

TABLE = np.array([[10, 11, 12, 13], [20, 21, -1, -1], [-1, -1, -1, -1], [30, -1, -1, -1]])


def made(*, per_query: int = 2, every: int | None = 10, seed: int = 5) -> MinedNegatives:
    mined = MinedNegatives(4, 4, per_query=per_query, seed=seed, begins=3, every=every)
    mined.replace(TABLE, 3)
    return mined


def test_a_draw_is_of_different_negatives_of_the_query_filled_up() -> None:
    mined, rows = made(), np.array([3, 0, -1, 1, 2, 0])
    seen: set[int] = set()
    for step in range(3, 60):
        drawn = mined.drawn(rows, step, 0)
        assert drawn.shape == (6, 2)
        assert drawn[0].tolist() == [30, -1]
        assert drawn[2].tolist() == drawn[4].tolist() == [-1, -1]
        assert set(drawn[3].tolist()) == {20, 21}
        for place in (1, 5):
            assert len(set(drawn[place].tolist())) == 2
            assert set(drawn[place].tolist()) <= {10, 11, 12, 13}
            seen |= set(drawn[place].tolist())
    assert seen == {10, 11, 12, 13}


def test_a_draw_depends_on_seed_step_and_rank_and_nothing_else() -> None:
    rows = np.zeros(40, np.int64)
    mined = made()
    first = mined.drawn(rows, 7, 1)
    for _ in range(3):
        mined.drawn(rows, 8, 0)
    assert np.array_equal(mined.drawn(rows, 7, 1), first)
    assert np.array_equal(made().drawn(rows, 7, 1), first)
    assert not np.array_equal(mined.drawn(rows, 8, 1), first)
    assert not np.array_equal(mined.drawn(rows, 7, 0), first)
    assert not np.array_equal(made(seed=6).drawn(rows, 7, 1), first)


def test_before_it_begins_nothing_is_drawn() -> None:
    assert (made().drawn(np.array([0, 1]), 2, 0) == -1).all()
    assert (made().drawn(np.array([0, 1]), 3, 0) >= 0).all()


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
    assert all(np.array_equal(unbroken.drawn(rows, s, 0), restored.drawn(rows, s, 0)) for s in range(3, 13))
    # Broken off after step 12 was saved and before step 13 mined: the restored run makes up for it.
    assert restored.is_due(13)
    assert restored.is_due(14)


def test_a_table_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the table is \(4, 4\), the new one \(4, 3\)"):
        made().replace(TABLE[:, :3], 3)
    with pytest.raises(ValueError, match=r"per_query is 5, and must be from 1 to keep \(4\)"):
        made(per_query=5)
