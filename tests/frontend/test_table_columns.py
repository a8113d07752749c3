"""What columns are taken for, and the scales of their numbers."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nearfar.errors import DataError
from nearfar.frontend.table_columns import ColumnChoice, TableLook, quantile_scale, robust_scale


def look_at(**columns):
    """A look at rows, given by column."""
    look = TableLook()
    for cells in zip(*columns.values(), strict=True):
        look.add(dict(zip(columns, cells, strict=True)))
    return look


def types_of(look, choice=None):
    settings = look.settings(choice or ColumnChoice())
    return {c.name: c.type for c in settings.columns} | {c.name: c.why for c in settings.ignored}


N = 60
VARIED = [str((7 * n) % 53) for n in range(N)]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (VARIED, "number"),
        ([None if n % 3 else n * n for n in range(N)], "number"),
        ([n / 7 for n in range(N)], "number"),
        ([*VARIED[:-1], "n.a. (see note)"], "numbers, but for 1.7% of its texts"),
        ([n % 2 for n in range(N)], "category"),
        ([n % 3 == 0 for n in range(N)], "category"),
        (["00501", "00502", "10117"] * 20, "category"),
        (["red", "blue", ""] * 20, "category"),
        ([f"2024-01-{1 + n % 28:02}" for n in range(N)], "date"),
        ([f"a sentence about {n}" for n in range(N)], "60 different texts in 60 rows: free text or an id"),
        ([f"it is about as good as the {n % 20}th one" for n in range(40 * 6)], "category"),
        (
            [f"it is about as good as the {n % 40}th one" for n in range(40 * 6)],
            "40 different texts in 240 rows: free text",
        ),
        ([f"code {n % 40}" for n in range(40 * 6)], "category"),
        ([f"name {n}" for n in range(8)], "8 different texts in 8 rows: free text or an id"),
        ([f"name {n % 7}" for n in range(8)], "category"),
        (["same"] * N, "the same value in every row (same)"),
        (["same", None] * (N // 2), "category"),
        (["", "?"] * (N // 2), "no value in any row"),
        (list(range(100, 100 + N)), "a running number"),
        ([[1, 2]] * N, "lists or bytes"),
    ],
)
def test_types_are_found_out(cells, expected):
    other = [VARIED[n % N] for n in range(len(cells))]
    assert expected in types_of(look_at(column=cells, other=other))["column"]


def test_numbers_that_differ_in_every_row_are_an_id_if_they_are_called_so():
    different = [(7919 * n) % 10_007 for n in range(N)]
    assert types_of(look_at(customer_id=different, weight=different)) == {
        "customer_id": "another number in every row: an id",
        "weight": "number",
    }


def test_the_recipe_has_the_last_word():
    look = look_at(zip=VARIED, year=[2000 + n % 3 for n in range(N)], note=["x", "y"] * (N // 2))
    assert types_of(look) == {"zip": "number", "year": "number", "note": "category"}
    choice = ColumnChoice(categories=("zip",), numbers=("year",), ignore=("note",))
    assert types_of(look, choice) == {"zip": "category", "year": "number", "note": "by the recipe"}


@pytest.mark.parametrize(
    ("choice", "complaint"),
    [
        (ColumnChoice(numbers=("agee",)), 'there is no column "agee" in the table; its columns are: age, town'),
        (ColumnChoice(numbers=("town",)), 'column "town" is to be a number, but has no number to learn from'),
        (ColumnChoice(dates=("age",)), 'column "age" is to be a date, but has no date'),
        (ColumnChoice(ignore=("age", "town")), "no column of the table can be learned from"),
    ],
)
def test_what_cannot_be_as_the_recipe_says_is_refused(choice, complaint):
    with pytest.raises(DataError, match=complaint):
        look_at(age=VARIED, town=["Ulm", "Bonn"] * (N // 2)).settings(choice)


def test_scales_and_categories_are_those_of_the_training_rows():
    look = look_at(age=list(range(0, 2 * N, 2))[::-1], town=["Ulm"] * (N - 1) + ["Bonn"])
    train = np.arange(N) < N // 2
    choice = ColumnChoice(numbers=("age",))
    age, town = look.settings(choice, train=train).columns
    assert (age.knots[0], age.knots[-1]) == (60, 118)
    assert town.values == ("Ulm",)


def test_the_commonest_categories_are_kept():
    look = look_at(town=["a"] * 30 + ["b"] * 20 + ["c"] * 9 + ["d"])
    (town,) = look.settings(most_categories=2).columns
    assert town.values == ("a", "b")
    (summary,) = look.summaries(look.settings(most_categories=2))
    assert summary.what == "2 values: a 50%, b 33%, 2 others as unknown"


def test_cells_that_are_no_numbers_are_told():
    cells = [str((7 * n) % 193) for n in range(199)] + ["about 5"]
    look = look_at(age=cells)
    (summary,) = look.summaries(look.settings())
    assert summary.type == "number"
    assert "1 cells are no number and count as missing" in summary.what


def test_dates_have_the_cycles_that_they_tell_apart():
    begin = datetime(2024, 1, 1)
    hours = [begin + timedelta(hours=37 * n) for n in range(N)]
    mondays = [begin + timedelta(days=7 * (n % 50)) for n in range(N)]
    found = {c.name: c.cycles for c in look_at(hours=hours, mondays=mondays).settings().columns}
    assert found == {"hours": ("year", "week", "day"), "mondays": ("year",)}


def test_a_column_may_be_lacking_in_some_rows():
    look = TableLook()
    for n in range(N):
        look.add({"a": n % 5} | ({"b": n % 7} if n > 10 else {}))
    shown = {one.name: one.missing for one in look.summaries(look.settings())}
    assert shown == {"a": 0.0, "b": pytest.approx(11 / N)}


@given(arrays(np.float64, st.integers(1, 200), elements=st.floats(-1e6, 1e6)))
def test_scales_rise_and_stay_bounded(values):
    for scale in (quantile_scale, robust_scale):
        knots, levels = scale(values)
        assert (np.diff(knots) > 0).all()
        assert (np.diff(levels) >= 0).all()
        assert np.isfinite(levels).all()
        assert np.abs(levels).max() <= 5


def test_the_quantile_scale_spreads_anything_evenly():
    values = np.exp(np.random.default_rng(0).normal(size=5_000) * 3)
    scaled = np.interp(values, *quantile_scale(values))
    assert scaled.mean() == pytest.approx(0, abs=0.02)
    assert scaled.std() == pytest.approx(1, abs=0.02)


def test_a_value_that_many_rows_have_stands_at_the_middle_of_its_ranks():
    values = np.array([0.0] * 90 + list(range(1, 11)))
    knots, levels = quantile_scale(values)
    assert np.interp(0, knots, levels) == pytest.approx((0.45 - 0.5) * np.sqrt(12), abs=0.06)


def test_the_robust_scale_holds_against_the_far_ends():
    values = np.array([*np.random.default_rng(0).normal(10, 2, 999), 1e9])
    assert np.interp([8, 10, 12, 1e9], *robust_scale(values)) == pytest.approx([-1, 0, 1, 5], abs=0.15)
