"""Tables of partners: what a cell may hold, what counts as missing, and what is refused."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.errors import DataError
from nearfar.sources.partners import PartnerTable, SideColumns

SIDES = {"text": SideColumns("text", ("name", "words")), "image": SideColumns("image", ("photo",))}


def lines(path: Path, *rows: object) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), "utf-8")
    return path


def contents(table: PartnerTable, side: str) -> list[list[object]]:
    return [[item.content for item in row.cells[side]] for row in table.rows()]


def test_a_list_is_several_captions_and_each_knows_its_column(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    path = lines(
        tmp_path / "t.jsonl", {"name": "cat", "words": ["pet", " tom ", "pet", "", None], "photo": "a.png", "n": 7}
    )
    row = next(PartnerTable(path, SIDES, label="n", split="name").rows())
    assert [tuple(item) for item in row.cells["text"]] == [("cat", 0), ("pet", 1), ("tom", 1)]
    assert [item.content for item in row.cells["image"]] == [tmp_path / "a.png"]
    assert (row.label, row.split, row.location) == ("7", "cat", f"{path}:1")


def test_what_holds_nothing_is_missing_and_what_is_wrong_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    path = lines(
        tmp_path / "t.jsonl",
        {"name": " ", "words": [], "photo": ""},
        {"name": None, "words": ["", None]},
        {"name": {"a": 1}, "words": True, "photo": "none.png"},
        {"photo": "empty.png", "name": "x"},
        {"photo": 7},
        "not json",
    )
    table = PartnerTable(path, SIDES)
    rows = list(table.rows())
    assert all(not row.cells["image"] for row in rows)
    assert [row.missing for row in rows[:2]] == [{"text": 2, "image": 1}] * 2
    assert [(cell.side, cell.reason) for cell in rows[2].refused] == [
        ("text", '"name" is neither a text nor a list of texts'),
        ("text", '"words" is neither a text nor a list of texts'),
        ("image", "no such file"),
    ]
    assert [cell.reason for row in rows[3:] for cell in row.refused] == ["empty file", '"photo" is no picture']
    assert table.report.skipped == {"not valid JSON": 1}


def test_bytes_structs_and_paths_in_parquet(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "b.png").write_bytes(b"file")
    photos = [{"bytes": b"png", "path": None}, {"bytes": None, "path": "../b.png"}, {"bytes": None, "path": None}, None]
    table = pa.table({"photo": photos, "name": ["a", "b", "c", "d"], "words": [["x"], [], None, ["y", "z"]]})
    pq.write_table(table, tmp_path / "sub" / "t.parquet")
    read = PartnerTable(tmp_path / "sub" / "t.parquet", SIDES)
    assert contents(read, "image") == [[b"png"], [tmp_path / "sub" / "../b.png"], [], []]
    assert contents(read, "text") == [["a", "x"], ["b"], ["c"], ["d", "y", "z"]]
    assert read.report.read == 4


def test_the_columns_of_a_row_of_numbers_are_one_item(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"name,size,colour\na,3,red\nb,,\n"))
    sides = {"text": SideColumns("text", ("name",)), "row": SideColumns("table", ("size", "colour"))}
    assert contents(PartnerTable(path, sides), "row") == [[{"size": "3", "colour": "red"}], []]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "name,photo\n", 'no column "words"'),
        ("t.csv", "name,words,photo\n", "no row in it that can be used"),
        ("t.csv", "name;words;photo\n1;2;3\n", "looks separated by ';'"),
        ("t.txt", "x", "is no table of partners"),
        ("t.parquet", "PAR1 nothing PAR1", "not a sound Parquet file"),
    ],
)
def test_a_table_that_cannot_be_read_says_why(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        list(PartnerTable(tmp_path / name, SIDES).rows())
    for missing in ("no.csv", "no.parquet"):
        with pytest.raises(DataError, match="does not exist"):
            list(PartnerTable(tmp_path / missing, SIDES).rows())


CELL = st.one_of(
    st.none(),
    st.text(st.characters(), max_size=8),  # half surrogate pairs too
    st.integers(),
    st.booleans(),
    st.lists(st.text(max_size=3), max_size=3),
    st.dictionaries(st.sampled_from(["bytes", "path", "x"]), st.one_of(st.none(), st.text(max_size=3), st.integers())),
)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.fixed_dictionaries({"name": CELL, "words": CELL, "photo": CELL}), min_size=1, max_size=5))
def test_every_cell_is_filled_missing_or_refused(tmp_path_factory: pytest.TempPathFactory, rows: list[object]) -> None:
    table = PartnerTable(lines(tmp_path_factory.mktemp("t") / "t.jsonl", *rows), SIDES)
    for row in table.rows():
        for side, (_, columns) in SIDES.items():
            filled = {item.column for item in row.cells[side]}
            refused = sum(cell.side == side for cell in row.refused)
            assert len(filled) + refused + row.missing[side] == len(columns)
        assert all(item.content.strip() == item.content != "" for item in row.cells["text"])


def test_cells_that_hold_something_else_are_refused_and_not_missing(tmp_path: Path) -> None:
    (tmp_path / "red.png").write_bytes(b"picture")
    photos = ["\ud800.png", {"bytes": "a text"}, {"bytes": [1, 2]}, {"other": 1}, {"path": 5}]
    rows = [{"photo": photo, "text": "red"} for photo in photos] + [{"photo": "red.png", "text": {"de": "rot"}}]
    table = PartnerTable(
        lines(tmp_path / "pairs.jsonl", *rows),
        {"image": SideColumns("image", ["photo"]), "text": SideColumns("text", ["text"])},
    )
    found = list(table.rows())
    assert [cell.side for row in found for cell in row.refused] == ["image"] * 5 + ["text"]
    assert not any(row.missing[side] for row in found for side in ("image", "text"))
