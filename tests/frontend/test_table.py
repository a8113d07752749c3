"""Rows to features."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from nearfar.errors import DataError
from nearfar.frontend import TableFrontend, TableSettings, open_frontend
from nearfar.frontend.settings import CategoryColumn, DateColumn, NumberColumn

SETTINGS = TableSettings(
    columns=(
        NumberColumn(name="age", knots=(0, 50, 100), levels=(-1, 0, 3)),
        CategoryColumn(name="town", values=("Ulm", "Bonn")),
        DateColumn(name="since", knots=(0, 10), levels=(-1, 1), cycles=("week",)),
    ),
    missing=("", "?"),
)


def test_each_column_becomes_its_features():
    values, codes = TableFrontend(SETTINGS).encode([{"age": "75", "town": "Bonn", "since": "1970-01-06", "more": 1}])
    assert values.dtype == np.float32
    assert codes.dtype == np.int64
    # Five days after the epoch is a Tuesday, a seventh of the way from Monday to Monday.
    np.testing.assert_allclose(values, [[1.5, 0, 0, np.sin(2 * np.pi / 7), np.cos(2 * np.pi / 7)]], atol=1e-6)
    assert codes.tolist() == [[1, 3, 1, 1, 1]]


def test_nothing_is_not_zero():
    values, codes = TableFrontend(SETTINGS).encode(
        [{"age": 50, "town": "Jena", "since": None}, {"age": "?", "town": ""}]
    )
    assert codes.tolist() == [[1, 1, 0, 0, 0], [0, 0, 0, 0, 0]]
    assert not values.any()


def test_what_is_no_number_counts_as_missing_and_what_is_far_out_as_the_end():
    values, codes = TableFrontend(SETTINGS).encode([{"age": "old"}, {"age": 1e9}, {"age": -5}])
    assert codes[:, 0].tolist() == [0, 1, 1]
    assert values[:, 0].tolist() == [0.0, 3.0, -1.0]


def test_widths_hold_every_code():
    frontend = TableFrontend(SETTINGS)
    assert frontend.widths == (2, 4, 2, 2, 2)
    assert frontend.column_of_feature == (0, 1, 2, 2, 2)
    trial = frontend.trials("query")
    assert (trial["codes"] < np.array(frontend.widths)).all()
    assert trial["codes"].max() == 3


def test_batches_are_what_one_call_makes():
    frontend = TableFrontend(SETTINGS)
    rows = [{"age": n, "town": ["Ulm", "Bonn", "?"][n % 3]} for n in range(7)]
    whole = frontend.encode(rows)
    found = list(frontend.feeds(rows, "document", 3))
    assert [place for places, _ in found for place in places] == list(range(7))
    np.testing.assert_array_equal(np.concatenate([feed["values"] for _, feed in found]), whole.values)
    np.testing.assert_array_equal(np.concatenate([feed["codes"] for _, feed in found]), whole.codes)


@pytest.mark.parametrize(
    ("items", "complaint"),
    [
        ({"age": 1}, "one row where a list of rows is needed"),
        ("age", "one row where a list of rows is needed"),
        ([{"age": 1}, 7], "row 1 is int, not a mapping"),
        ([{"Age": 1}], "row 0 has none of the columns that this encoder knows: age, town, since"),
    ],
)
def test_what_is_no_list_of_rows_is_refused(items, complaint):
    with pytest.raises(DataError, match=complaint):
        TableFrontend(SETTINGS).encode(items)


def test_settings_come_back_from_a_manifest(tmp_path):
    again = TableSettings.model_validate_json(SETTINGS.model_dump_json())
    assert again == SETTINGS
    assert isinstance(open_frontend(again, lambda name: b"", tmp_path), TableFrontend)


def test_settings_that_contradict_themselves_are_refused():
    with pytest.raises(ValidationError, match="knots must ascend"):
        NumberColumn(name="a", knots=(1, 1), levels=(0, 1))
    with pytest.raises(ValidationError, match="2 knots but 1 levels"):
        NumberColumn(name="a", knots=(1, 2), levels=(0,))
    with pytest.raises(ValidationError, match="values must differ"):
        CategoryColumn(name="a", values=("x", "x"))
    with pytest.raises(ValidationError, match="columns must differ by name"):
        TableSettings(columns=(SETTINGS.columns[0], SETTINGS.columns[0]))
