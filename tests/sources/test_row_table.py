"""Rows as items: their cells, and what the table says of them."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nearfar.errors import DataError
from nearfar.sources.row_table import RowTable


def test_a_csv_gives_rows_with_what_it_says_of_them(tmp_path):
    (tmp_path / "t.csv").write_text("who,age,kind,part,shop\na,1,x,dev,s1\nb,,y,train,s2\n")
    table = RowTable(tmp_path / "t.csv", id="who", label="kind", split="part", group="shop")
    first, second = table.rows()
    assert (first.id, first.label, first.split, first.group) == ("a", "x", "validation", "s1")
    assert dict(first.cells) == {"age": "1"}
    assert dict(second.cells) == {"age": ""}
    assert second.location.endswith("t.csv:3")
    assert table.report.read == 2


def test_parquet_keeps_its_types_and_rows_have_a_number(tmp_path):
    pq.write_table(pa.table({"age": [1, None], "fit": [True, False]}), tmp_path / "t.parquet")
    first, second = RowTable(tmp_path / "t.parquet").rows()
    assert dict(first.cells) == {"age": 1, "fit": True}
    assert second.cells["age"] is None
    assert (first.id, second.id) == ("t.parquet#1", "t.parquet#2")


def test_the_files_of_a_folder_say_the_split(tmp_path):
    for name, age in (("test", 2), ("train", 1)):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"age": age}) + "\n")
    assert [(row.cells["age"], row.split) for row in RowTable(tmp_path).rows()] == [(2, "test"), (1, "train")]


def test_rows_are_found_again_by_their_id(tmp_path):
    (tmp_path / "t.csv").write_text("who,age\na,1\nb,2\nc,3\n")
    table = RowTable(tmp_path / "t.csv", id="who")
    assert [cells["age"] for cells in table.contents(["c", "a", "c"])] == ["3", "1", "3"]
    with pytest.raises(DataError, match="no row 'z' any more"):
        list(table.contents(["z"]))


def test_a_row_without_an_id_of_its_own_is_reported(tmp_path):
    (tmp_path / "t.csv").write_text("who,age\na,1\n,2\na,3\n")
    table = RowTable(tmp_path / "t.csv", id="who")
    assert [row.id for row in table.rows()] == ["a"]
    assert table.report.skipped == {"no id": 1, "an id for the second time": 1}


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("t.csv", "a;b\n1;2\n", "looks separated by ';'; nearfar reads commas"),
        ("t.csv", "a;b\n1;2,5\n", "looks separated by ';'; nearfar reads commas"),
        ("t.csv", "a,b\n", "there is no row in it"),
        ("t.txt", "a,b\n", "is no table"),
        ("other.csv", "a\n1\n", "does not exist"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, name, content, complaint):
    (tmp_path / name).write_text(content)
    asked = "t.csv" if name == "other.csv" else name
    with pytest.raises(DataError, match=complaint):
        list(RowTable(tmp_path / asked).rows())


def test_a_column_that_is_not_there_is_named_with_the_nearest(tmp_path):
    (tmp_path / "t.csv").write_text("kind,age\nx,1\n")
    with pytest.raises(DataError, match='no column "kinds"; did you mean "kind"'):
        list(RowTable(tmp_path / "t.csv", label="kinds").rows())
