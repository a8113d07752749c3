"""Files and cells that are items of a tower: pictures, recordings, samples and rows as documents."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nearfar.errors import DataError
from nearfar.sources.document import Document, Unchanged
from nearfar.sources.files import FilesSource
from nearfar.sources.item_rows import ItemRows
from nearfar.sources.partners import SideColumns

ITEMS = {".png": "image", ".csv": "series", ".csv.gz": "other"}


def write(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"some content")
    return folder


def documents(source: FilesSource | ItemRows) -> dict[str, Document]:
    return {one.id: one for one in source.documents() if isinstance(one, Document)}


def test_files_go_to_the_tower_of_their_suffix(tmp_path: Path) -> None:
    write(tmp_path, "a/x.PNG", "b.csv", "c.csv.gz", "d.md", "e.jpg", ".hidden.png")
    source = FilesSource(tmp_path, items=ITEMS)
    found = documents(source)
    assert {id: one.modality for id, one in found.items()} == {
        "a/x.PNG": "image",
        "b.csv": "series",
        "c.csv.gz": "other",
        "d.md": "",
    }
    picture = found["a/x.PNG"]
    assert (picture.title, picture.text, picture.item) == ("x.PNG", "", (tmp_path / "a" / "x.PNG").resolve())
    assert (picture.metadata["folder"], picture.metadata["suffix"], picture.metadata["bytes"]) == ("a", "png", 12)
    assert source.report.read == 4
    assert set(documents(FilesSource(tmp_path, (), items={".png": "image"}))) == {"a/x.PNG"}
    assert set(documents(FilesSource(tmp_path / "b.csv", items=ITEMS))) == {"b.csv"}


def test_a_file_that_is_known_is_not_given_again(tmp_path: Path) -> None:
    write(tmp_path, "a.png", "b.png")
    (tmp_path / "empty.png").touch()
    source = FilesSource(tmp_path, items=ITEMS)
    stamps = {id: one.stamp for id, one in documents(source).items()}
    assert source.report.skipped == {"empty file": 1}
    (tmp_path / "b.png").write_bytes(b"longer content")
    again = FilesSource(tmp_path, items=ITEMS, unchanged=lambda id, stamp: stamps.get(id) == stamp)
    assert [(type(one).__name__, one.id) for one in again.documents()] == [
        ("Unchanged", "a.png"),
        ("Document", "b.png"),
    ]
    other = FilesSource(tmp_path, items={".png": "photo"}, unchanged=lambda id, stamp: stamps.get(id) == stamp)
    assert not any(isinstance(one, Unchanged) for one in other.documents())  # another tower takes them


def table(path: Path, *lines: list[object]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(lines)
    return path


TOWERS = {
    "image": SideColumns("image", ["photo", "back"]),
    "text": SideColumns("text", ["log"]),
    "setup": SideColumns("table", ["speed", "load"]),
}


def test_each_filled_cell_of_a_row_is_a_document(tmp_path: Path) -> None:
    write(tmp_path, "p.png", "q.png")
    path = table(
        tmp_path / "parts.csv",
        ["part", "photo", "back", "log", "speed", "load", "year"],
        ["p1", "p.png", "q.png", "a hot bearing", 3, 4, 2020],
        ["p2", "none.png", "", " ", "", "", 2021],
        ["p1", "p.png", "", "again", "", "", 2022],
        ["", "p.png", "", "nameless", "", "", 2022],
    )
    source = ItemRows(path, TOWERS, id="part", metadata=["year"])
    found = documents(source)
    assert list(found) == ["p1#image", "p1#image-2", "p1#text", "p1#setup"]
    assert found["p1#image"].item == tmp_path / "p.png"
    assert found["p1#image"].location.endswith("p.png")
    assert found["p1#setup"].item == {"speed": "3", "load": "4"}
    text = found["p1#text"]
    assert (text.text, text.title, text.item, len(text.passages)) == ("a hot bearing", "", None, 1)
    assert text.metadata == {"year": 2020, "row": "p1"}
    assert text.location.endswith("parts.csv:2")
    skipped = source.report.skipped
    assert skipped["image: no such file"] == 1
    assert skipped["text: nothing there"] == 1
    assert skipped["setup: nothing there"] >= 1
    assert skipped["an id that an earlier row has"] == 1
    assert skipped['"part" is missing'] == 1


def test_without_an_id_the_line_is_one_and_all_is_metadata(tmp_path: Path) -> None:
    path = table(tmp_path / "parts.csv", ["log", "machine", "place"], ["hot", "m1", "hall 3"], ["cold", "m2", ""])
    found = documents(ItemRows(path, {"text": SideColumns("text", ["log"])}, location="place", metadata="all"))
    assert {id: one.metadata for id, one in found.items()} == {
        "parts.csv#2#text": {"machine": "m1", "row": "parts.csv#2"},
        "parts.csv#3#text": {"machine": "m2", "row": "parts.csv#3"},
    }
    assert found["parts.csv#2#text"].location == "hall 3"


def test_a_table_that_gives_nothing_is_refused(tmp_path: Path) -> None:
    path = table(tmp_path / "parts.csv", ["photo", "log"], ["none.png", ""])
    with pytest.raises(DataError, match=r"nothing in these columns that can be used.*image: no such file"):
        documents(ItemRows(path, {"image": SideColumns("image", ["photo"])}))
    with pytest.raises(DataError, match='there is no column "speech"'):
        documents(ItemRows(path, {"text": SideColumns("text", ["speech"])}))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(st.text(max_size=6), st.text(max_size=6)), min_size=1, max_size=8))
def test_whatever_the_cells_hold_ids_are_unique_and_nothing_is_lost(
    tmp_path: Path, rows: list[tuple[str, str]]
) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(json.dumps({"name": name, "log": log}) for name, log in rows), "utf-8")
    source = ItemRows(path, {"text": SideColumns("text", ["log"])}, id="name")
    try:
        found = list(source.documents())
    except DataError:
        return
    assert len({one.id for one in found}) == len(found)
    assert len(found) + source.report.skipped_total >= len(rows)


@pytest.mark.parametrize("name", ["row", "modality"])
def test_metadata_that_the_index_has_itself_are_refused_by_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"log,{name}\nred,mine\n")
    sides = {"text": SideColumns("text", ["log"])}
    with pytest.raises(DataError, match=f'"{name}" is kept .* another name'):
        documents(ItemRows(path, sides, metadata=[name]))
    assert documents(ItemRows(path, sides, metadata="all"))
