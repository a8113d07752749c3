"""Event logs: every format says the same, pyarrow or not; what is wrong is counted with its place, or refused with the mend."""

from __future__ import annotations

import csv
import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nearfar.errors import DataError
from nearfar.sources.event_cells import name_of
from nearfar.sources.event_log import EventLog, EventNames
from nearfar.sources.event_table import EventTable

FULL = EventNames(action="action", dwell="dwell", rating="rating", propensity="propensity", context=("device",))
HEADER = ("user", "item", "timestamp", "action", "dwell", "rating", "propensity", "device")


def write_csv(path: Path, rows: list[tuple[str, ...]], header: tuple[str, ...] = HEADER) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def told(table: EventTable) -> list[tuple[Any, ...]]:
    """Rows as a person would read them."""

    def number(value: float) -> float | None:
        return None if np.isnan(value) else value

    return [
        (
            table.user_names[user] if table.user_names else user,
            table.item_names[item],
            time,
            table.action_names[action],
            *(number(value) for value in values),
            *(str(cells[row]) for cells in table.context.values()),
        )
        for row, (user, item, time, action, *values) in enumerate(
            zip(
                table.users.tolist(),
                table.items.tolist(),
                table.times.tolist(),
                table.actions.tolist(),
                table.dwells.tolist(),
                table.ratings.tolist(),
                table.propensities.tolist(),
                strict=True,
            )
        )
    ]


NAMES = st.sampled_from(["a", "b ", " 5", "5", "", "NaN", "null", "-", 'é,"x', "two\nlines", "7.0"])
TIMES = st.one_of(
    st.sampled_from(["", "nan", "soon", "inf", "2026-02-30 10:00", "1e400", "99999999999999999999"]),
    st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1)).map(lambda at: at.isoformat(" ", "seconds")),
    st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1)).map(lambda at: at.isoformat("T", "milliseconds") + "Z"),
    st.integers(0, 2_000_000_000).map(str),
)
NUMBERS = st.sampled_from(["", "1", "0", "0.25", "-3", "nan", "inf", "1e3", " 2 ", "x", "1_0", "?"])
ROWS = st.lists(st.tuples(NAMES, NAMES, TIMES, NAMES, NUMBERS, NUMBERS, NUMBERS, NAMES), min_size=1, max_size=12)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ROWS)
def test_csv_is_the_same_by_pyarrow_and_row_by_row(tmp_path: Path, rows: list[tuple[str, ...]]) -> None:
    path = write_csv(tmp_path / "log.csv", rows)
    quick, slow = EventLog(path, FULL), EventLog(path, FULL)
    assert outcome(quick, arrow=True) == outcome(slow, arrow=False)
    assert quick.report.skipped == slow.report.skipped
    assert quick.report.examples == slow.report.examples
    assert slow.report.read + slow.report.skipped_total == len(rows)


def outcome(log: EventLog, *, arrow: bool) -> object:
    """The rows, or what was said against them."""
    try:
        return told(log.read(arrow=arrow))
    except DataError as error:
        return str(error)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ROWS)
def test_jsonl_and_gzip_say_what_csv_says(tmp_path: Path, rows: list[tuple[str, ...]]) -> None:
    lines = [json.dumps(dict(zip(HEADER, row, strict=True))) for row in rows]
    (tmp_path / "log.jsonl").write_text("\n".join(lines), "utf-8")
    plain = write_csv(tmp_path / "log.csv", rows)
    (tmp_path / "log.csv.gz").write_bytes(gzip.compress(plain.read_bytes()))
    read: list[Any] = []
    for name in ("log.csv", "log.csv.gz", "log.jsonl"):
        log = EventLog(tmp_path / name, FULL)
        try:
            read.append((told(log.read()), log.report.skipped))
        except DataError:
            read.append(None)
    assert read[0] == read[1] == read[2]


def test_types_of_parquet_are_read_as_what_they_are(tmp_path: Path) -> None:
    moment = datetime(2026, 3, 1, 12, tzinfo=UTC)
    table = pa.table(
        {
            "user": pa.array([7, None, 8, 7]),
            "item": pa.array(["5", "x", "y", "5"]).dictionary_encode(),
            "timestamp": pa.array([moment, moment, None, moment], pa.timestamp("ms", "UTC")),
            "dwell": pa.array([1.5, 1.0, 1.0, None]),
        }
    )
    pq.write_table(table, tmp_path / "log.parquet")
    log = EventLog(tmp_path / "log.parquet", EventNames(dwell="dwell"))
    read = log.read()
    assert told(read) == [
        ("7", "5", moment.timestamp(), "", 1.5, None, None),
        ("7", "5", moment.timestamp(), "", None, None, None),
    ]
    assert sum(log.report.skipped.values()) == 2
    assert log.report.examples[0].endswith("log.parquet:2: no user")


CELLS = st.tuples(
    st.one_of(st.none(), st.integers(0, 3)),
    st.sampled_from(["a", "b", "", None]),
    st.one_of(st.none(), st.integers(10**9, 2 * 10**9)),
    st.one_of(st.none(), st.just(float("nan")), st.floats(-1, 5)),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(CELLS, min_size=1, max_size=10))
def test_parquet_says_what_jsonl_says(tmp_path: Path, rows: list[tuple[Any, ...]]) -> None:
    columns = ("user", "item", "timestamp", "dwell")
    (tmp_path / "log.jsonl").write_text(
        "\n".join(json.dumps(dict(zip(columns, row, strict=True))) for row in rows), "utf-8"
    )
    types = (pa.int64(), pa.string(), pa.int64(), pa.float64())
    arrays = [pa.array(cells, kind) for cells, kind in zip(zip(*rows, strict=True), types, strict=True)]
    pq.write_table(pa.table(arrays, names=columns), tmp_path / "log.parquet")
    logs = [EventLog(tmp_path / f"log.{kind}", EventNames(dwell="dwell")) for kind in ("jsonl", "parquet")]
    read = [outcome(log, arrow=True) for log in logs]
    assert read[0] == read[1] or (isinstance(read[0], str) and isinstance(read[1], str))
    assert logs[0].report.skipped == logs[1].report.skipped


def test_a_number_and_a_text_are_one_item(tmp_path: Path) -> None:
    rows = [{"user": 1, "item": item, "timestamp": 0} for item in (5, "5", 5.0, " 5", "5.0")]
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    read = EventLog(tmp_path / "log.jsonl", EventNames()).read()
    assert read.item_names == ["5", "5.0"]  # text is left as it is
    assert read.items.tolist() == [0, 0, 0, 0, 1]


@pytest.mark.parametrize("factor", [1, 1e3, 1e6])
def test_the_size_of_numbers_tells_their_unit(tmp_path: Path, factor: float) -> None:
    rows = [("a", "b", str(int(second * factor))) for second in (1_700_000_000, 1_700_000_100)]
    path = write_csv(tmp_path / "log.csv", rows, ("user", "item", "timestamp"))
    assert EventLog(path, EventNames()).read().times.tolist() == [1_700_000_000, 1_700_000_100]


def test_times_without_a_zone_are_of_that_which_was_named(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "log.csv", [("a", "b", "2026-01-01 12:00:00")], ("user", "item", "timestamp"))
    read = EventLog(path, EventNames(), timezone="Europe/Berlin").read()
    assert read.times.tolist() == [datetime(2026, 1, 1, 11, tzinfo=UTC).timestamp()]


def test_what_is_wrong_is_counted_with_its_line(tmp_path: Path) -> None:
    rows = [
        ("a", "b", "1", "v", "1", "", "", ""),
        ("", "b", "1", "v", "1", "", "", ""),
        ("a", "", "1", "v", "1", "", "", ""),
        ("a", "b", "never", "v", "1", "", "", ""),
        ("a", "b", "1", "v", "-1", "", "", ""),
        ("a", "b", "1", "v", "x", "", "", ""),
        ("a", "b", "1", "v", "1", "", "0", ""),
        ("a", "b", "1", "v", "1", "", "1.5", ""),
        ("a", "b", "1", "", "1", "", "", ""),
    ]
    log = EventLog(write_csv(tmp_path / "log.csv", rows), FULL)
    assert len(log.read()) == 1
    assert log.report.skipped_total == 8
    assert any(example.endswith('log.csv:7: no number in dwell ("x")') for example in log.report.examples)
    assert log.report.skipped["a propensity that is not above 0 and at most 1"] == 2


def test_bytes_that_are_no_utf8_cost_their_row_alone(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(b"user,item,timestamp\na,b,1\n\xff,b,1\na,b,2\n")
    log = EventLog(path, EventNames())
    assert len(log.read()) == 2
    assert log.report.examples == [f"{path}:3: not UTF-8"]


def test_a_folder_is_one_log_and_names_keep_their_numbers(tmp_path: Path) -> None:
    columns = ("user", "item", "timestamp")
    write_csv(tmp_path / "1.csv", [("a", "x", "1"), ("b", "y", "2")], columns)
    write_csv(tmp_path / "2.csv", [("b", "x", "3"), ("", "y", "4")], columns)
    (tmp_path / "3.jsonl").write_text('{"user": "c", "item": "z", "timestamp": 5}\n', "utf-8")
    read = EventLog(tmp_path, EventNames()).read()
    assert [row[:3] for row in told(read)] == [("a", "x", 1), ("b", "y", 2), ("b", "x", 3), ("c", "z", 5)]


def test_without_users_each_row_stands_alone(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "log.csv", [("x", "1"), ("x", "1")], ("item", "timestamp"))
    read = EventLog(path, EventNames(user=None)).read()
    assert read.users.tolist() == [0, 1]
    assert read.user_names == []


def test_an_unknown_kind_of_action_is_refused_with_its_line_and_the_mend(tmp_path: Path) -> None:
    rows = [("a", "b", "1", "view", "", "", "", "two\nlines"), ("a", "b", "2", "veiw", "", "", "", "")]
    path = write_csv(tmp_path / "log.csv", rows)
    with pytest.raises(DataError) as error:
        EventLog(path, FULL, kinds={"view", "buy"}).read()
    assert str(error.value).startswith(f'{path}:4: "veiw" in action is a kind of action without a weight')
    assert 'did you mean "view"' in str(error.value)
    assert "weights.other" in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no event in it"),
        (b"user,item,timestamp\n", "no event in it"),
        (b"user,item,when\na,b,1\n", 'no column "timestamp"'),
        (b"user;item;timestamp\na;b;1\n", "separated by ';'"),
        (b"user,item,item,timestamp\na,b,c,1\n", '"item" 2 times'),
        (b"user,item,timestamp\n,b,1\n", "log.csv:2: no user"),
    ],
)
def test_a_log_of_no_use_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "log.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        EventLog(tmp_path / "log.csv", EventNames()).read()


def test_what_is_no_log_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text("x", "utf-8")
    (tmp_path / "log.parquet").write_bytes(b"PAR1 but nothing else")
    with pytest.raises(DataError, match="does not exist"):
        EventLog(tmp_path / "nothing.csv", EventNames()).read()
    with pytest.raises(DataError, match="is no event log"):
        EventLog(tmp_path / "log.txt", EventNames()).read()
    with pytest.raises(DataError, match="not a sound Parquet file"):
        EventLog(tmp_path / "log.parquet", EventNames()).read()


def test_lists_in_the_context_are_refused(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"user": 1, "item": 2, "timestamp": 3, "device": [1, 2]}', "utf-8")
    with pytest.raises(DataError, match=r"log.jsonl:1: the column device of the context holds lists"):
        EventLog(tmp_path / "log.jsonl", EventNames(context=("device",))).read()


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        (5, "5"),
        (5.0, "5"),
        (5.5, "5.5"),
        (True, "true"),
        ("False", "false"),
        (None, ""),
        (float("nan"), ""),
        (" a ", "a"),
        (b"a", "a"),
    ],
)
def test_names(cell: object, name: str) -> None:
    assert name_of(cell) == name
