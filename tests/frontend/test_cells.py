"""What a cell says, however the table was written."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from nearfar.frontend.cells import as_category, as_days, as_number, is_missing


@pytest.mark.parametrize("cell", [None, float("nan"), Decimal("nan"), "", "  ", "?", "NA", "null"])
def test_nothing_is_missing(cell):
    assert is_missing(cell)


@pytest.mark.parametrize("cell", [0, 0.0, False, "0", "none of these", "-"])
def test_something_is_not_missing(cell):
    assert not is_missing(cell)


def test_what_is_missing_can_be_said():
    assert is_missing("-99", ("-99",))
    assert not is_missing("?", ("-99",))


@pytest.mark.parametrize(
    ("cell", "number"),
    [
        (3, 3.0),
        (True, 1.0),
        (" 3.5 ", 3.5),
        ("-1e-3", -0.001),
        (".5", 0.5),
        (Decimal("2.25"), 2.25),
        ("0", 0.0),
        ("0.5", 0.5),
    ],
)
def test_numbers(cell, number):
    assert as_number(cell) == number


@pytest.mark.parametrize("cell", ["00123", "1,5", "12 kg", "inf", "nan", float("inf"), "1_000", [1], "٣", "-01"])
def test_what_is_no_number(cell):
    assert as_number(cell) is None


@pytest.mark.parametrize(
    ("cell", "days"),
    [
        ("1970-01-02", 1.0),
        ("1970-01-01 12:00", 0.5),
        ("1970-01-01T12:00:00+06:00", 0.25),
        (date(1969, 12, 31), -1.0),
        (datetime(1970, 1, 1, 18), 0.75),
        (datetime(1970, 1, 1, 18, tzinfo=timezone(timedelta(hours=6))), 0.5),
        (datetime(1970, 1, 3, tzinfo=UTC), 2.0),
    ],
)
def test_days(cell, days):
    assert as_days(cell) == pytest.approx(days)


@pytest.mark.parametrize("cell", ["2024-02-30", "20240101", "1/2/2024", 19000, None, "2024-01-01 noon"])
def test_what_is_no_day(cell):
    assert as_days(cell) is None


def test_a_category_is_the_same_however_it_is_stored():
    assert as_category(True) == as_category("True") == "true"
    assert as_category(3) == as_category(3.0) == as_category(" 3 ") == "3"
    assert as_category("007") == "007"
