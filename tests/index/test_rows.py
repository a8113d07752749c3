"""Rows kept as stretches say the same as the rows themselves."""

from itertools import pairwise

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from nearfar.index.rows import stretches

ascending = st.lists(st.integers(0, 60), max_size=60, unique=True).map(sorted)
FAR = [1, 2, 3, 10**12, 10**12 + 1, 2**60]


def as_rows(values):
    return np.array(values, dtype=np.int64)


@given(ascending)
@example(FAR)
@example([0])
def test_every_place_has_its_row(rows):
    kept = stretches(as_rows(rows))
    assert kept.total == len(rows)
    assert kept.rows_at(np.arange(len(rows))).tolist() == rows
    assert kept.rows_at(np.arange(len(rows))[::-1]).tolist() == rows[::-1]


@given(ascending, ascending)
@example(FAR, [0, 3, 4, 10**12 - 1, 10**12 + 1, 2**60 + 1])
def test_places_are_those_of_the_rows_that_are_there(rows, wanted):
    kept = stretches(as_rows(rows))
    assert kept.places_of(as_rows(wanted)).tolist() == [rows.index(row) for row in wanted if row in rows]


@given(ascending)
def test_there_are_no_more_stretches_than_gaps(rows):
    kept = stretches(as_rows(rows))
    gaps = sum(after != before + 1 for before, after in pairwise(rows))
    assert len(kept.rows) == len(kept.places) == gaps + bool(rows)
    assert kept.rows.dtype == kept.places.dtype == np.int64


def test_a_million_rows_in_a_row_are_one_stretch():
    kept = stretches(np.arange(7, 1_000_007))
    assert len(kept.rows) == 1
    assert kept.rows_at(np.array([999_999])).tolist() == [1_000_006]
