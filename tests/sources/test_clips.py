"""Readers of recordings: folders in every layout, tables of every kind with holes, and every recording found again by its id."""

from __future__ import annotations

import csv
import gzip
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.errors import DataError
from nearfar.sources import ClipFolder, ClipTable

# --- folders -------------------------------------------------------------------------------------------------------------


def folder(root: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"sound %d" % number)
    return root


def rows(source: ClipFolder | ClipTable) -> list[tuple[str, str, str, str, str]]:
    return [(clip.id, clip.label, clip.split, clip.session, clip.group) for clip in source.clips()]


def test_folders_say_who_is_heard_and_in_which_session(tmp_path):
    root = folder(tmp_path, "anna/monday/1.wav", "anna/2.FLAC", "berta/monday/am/1.ogg", "notes.txt", "anna/.x.wav")
    source = ClipFolder(root, "folder")
    assert rows(source) == [
        ("anna/2.FLAC", "anna", "", "", ""),
        ("anna/monday/1.wav", "anna", "", "monday", "anna/monday"),
        ("berta/monday/am/1.ogg", "berta", "", "monday/am", "berta/monday/am"),
    ]
    first = next(source.clips())
    assert first.content == root / "anna" / "2.FLAC"
    assert first.location == str(root / "anna" / "2.FLAC")
    assert (first.start, first.end, first.attribute) == (None, None, "")


def test_without_labels_folders_are_groups(tmp_path):
    root = folder(tmp_path, "a.wav", "film/1.wav")
    assert rows(ClipFolder(root, "none")) == [("a.wav", "", "", "", ""), ("film/1.wav", "", "", "", "film")]


def test_splits_come_before_labels(tmp_path):
    root = folder(tmp_path, "train/anna/s1/1.wav", "val/berta/2.wav", "test/cora/3.wav", "more/dora/4.wav")
    source = ClipFolder(root, "folder")
    assert {(label, split, session) for _, label, split, session, _ in rows(source)} == {
        ("anna", "train", "s1"),
        ("berta", "validation", ""),
        ("cora", "test", ""),
    }
    assert source.report.skipped == {"not in a folder of a split (train, validation, test)": 1}


def test_empty_files_strays_and_broken_links_are_counted_and_named(tmp_path):
    root = folder(tmp_path, "anna/1.wav", "stray.wav")
    (root / "anna" / "0.wav").write_bytes(b"")
    (root / "anna" / "2.wav").symlink_to(tmp_path.parent / "nowhere")
    source = ClipFolder(root, "folder")
    assert [row[0] for row in rows(source)] == ["anna/1.wav"]
    assert source.report.skipped == {
        "empty file": 1,
        "not a regular file, or a broken link": 1,
        "not in a folder of a class": 1,
    }
    assert source.report.examples[0] == f"{root / 'anna' / '0.wav'}: empty file"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path / "nowhere", "does not exist: name a folder with recordings"),
        (lambda path: folder(path, "a.wav") / "a.wav", "is not a folder"),
        (lambda path: folder(path, "a.txt"), "holds no recordings: looked for .wav, .flac"),
        (lambda path: folder(path, "a.wav"), "no recording in it can be used.*set labels: none"),
    ],
)
def test_a_folder_without_recordings_says_so(tmp_path, make, message):
    with pytest.raises(DataError, match=message):
        rows(ClipFolder(make(tmp_path), "folder"))


def test_files_are_found_again(tmp_path):
    source = ClipFolder(folder(tmp_path, "a/1.wav", "a/2.wav", "b/3.wav"), "folder")
    ids = ["b/3.wav", "a/1.wav", "b/3.wav"]
    assert [path.name for path in source.contents(ids)] == ["3.wav", "1.wav", "3.wav"]
    assert [clip.content for clip in source.again(ids)] == list(source.contents(ids))
    (tmp_path / "a" / "1.wav").unlink()
    with pytest.raises(DataError, match=r"1\.wav is not there any more"):
        list(source.contents(ids))


names = st.text("abXY _é.", min_size=1, max_size=4).filter(lambda name: name.strip(".") and not name.startswith("."))


@settings(max_examples=20, deadline=None)
@given(paths=st.sets(st.lists(names, min_size=1, max_size=3).map("/".join), min_size=1, max_size=8))
def test_any_tree_is_read_whole_in_order_and_found_again(tmp_path_factory, paths):
    root = folder(tmp_path_factory.mktemp("tree"), *(f"{path}#.wav" for path in paths))
    source = ClipFolder(root, "none")
    clips = list(source.clips())
    assert {clip.id for clip in clips} == {f"{path}#.wav" for path in paths}
    assert list(source.contents([clip.id for clip in clips])) == [clip.content for clip in clips]
    assert clips == list(source.clips())


# --- tables --------------------------------------------------------------------------------------------------------------


def parquet(path: Path, **columns: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=2)
    return path


def manifest(path: Path, *cells: dict[str, object]) -> Path:
    if "json" in path.name:
        text = "".join(json.dumps(row) + "\n" for row in cells)
    else:
        columns = list(cells[0])
        text = "\n".join(",".join(str(row[name]) for name in columns) for row in ({c: c for c in columns}, *cells))
    path.write_bytes(gzip.compress(text.encode()) if path.name.endswith(".gz") else text.encode())
    return path


def test_a_column_of_bytes(tmp_path):
    path = parquet(tmp_path / "t.parquet", audio=[b"one", b"two", b"three"], who=["a", "b", None], n=[1, 2, 3])
    source = ClipTable(path, label="who", session="n")
    assert rows(source) == [
        ("t.parquet#1", "a", "", "1", ""),
        ("t.parquet#2", "b", "", "2", ""),
        ("t.parquet#3", "", "", "3", ""),
    ]
    clips = list(source.clips())
    assert [clip.content for clip in clips] == [b"one", b"two", b"three"]
    assert clips[1].location == f"{path}:2"
    assert list(source.contents(["t.parquet#3", "t.parquet#1", "t.parquet#1"])) == [b"three", b"one", b"one"]
    assert list(source.again([clip.id for clip in clips])) == clips


def test_structs_as_hugging_face_writes_them(tmp_path):
    folder(tmp_path, "beside.wav")
    cells = [
        {"bytes": b"one", "path": "a.wav"},
        {"bytes": None, "path": "beside.wav"},
        {"bytes": b"", "path": "c.wav"},
        {"bytes": None, "path": "missing.wav"},
        None,
        {"bytes": None, "path": None},
    ]
    source = ClipTable(parquet(tmp_path / "t.parquet", audio=cells))
    assert [clip.content for clip in source.clips()] == [b"one", tmp_path / "beside.wav"]
    assert source.report.skipped == {'"audio" is empty': 1, "no such file": 1, '"audio" is missing': 2}
    assert source.report.examples[1] == f"{tmp_path / 't.parquet'}:4: no such file ({tmp_path / 'missing.wav'})"


def test_a_folder_of_tables_says_the_split(tmp_path):
    parquet(tmp_path / "data" / "train-00000-of-00002.parquet", audio=[b"1"])
    parquet(tmp_path / "data" / "validation.parquet", audio=[b"2"])
    parquet(tmp_path / "other.parquet", audio=[b"3"])
    found = [(clip.id, clip.split) for clip in ClipTable(tmp_path).clips()]
    assert found == [
        ("data/train-00000-of-00002.parquet#1", "train"),
        ("data/validation.parquet#1", "validation"),
        ("other.parquet#1", ""),
    ]
    assert list(ClipTable(tmp_path).contents([found[2][0], found[0][0]])) == [b"3", b"1"]


@pytest.mark.parametrize("name", ["m.csv", "m.jsonl", "m.ndjson", "m.csv.gz", "m.jsonl.gz"])
def test_manifests_name_files_beside_them(tmp_path, name):
    folder(tmp_path, "sub/a.wav", "b.wav")
    path = manifest(
        tmp_path / name,
        {"file": "sub/a.wav", "who": "anna", "from": 0.5, "to": 1.25, "part": "training", "sex": "f", "n": "x1"},
        {
            "file": tmp_path.as_posix() + "/b.wav",
            "who": "berta",
            "from": "",
            "to": "",
            "part": "test",
            "sex": "",
            "n": "x2",
        },
    )
    columns = {"audio": "file", "label": "who", "start": "from", "end": "to", "split": "part", "attribute": "sex"}
    clips = list(ClipTable(path, id="n", **columns).clips())
    assert [(c.id, c.content, c.label, c.split, c.attribute, c.start, c.end) for c in clips] == [
        ("x1", tmp_path / "sub" / "a.wav", "anna", "train", "f", 0.5, 1.25),
        ("x2", tmp_path / "b.wav", "berta", "test", "", None, None),
    ]
    again = list(ClipTable(path, id="n", **columns).again(["x2", "x1"]))
    assert again == clips[::-1]
    assert [clip.content for clip in again] == [clip.content for clip in clips[::-1]]
    assert [clip.location for clip in again] == [clip.location for clip in clips[::-1]]


def test_bad_rows_are_counted_and_named(tmp_path):
    folder(tmp_path, "a.wav")
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    cells = [("a.wav", ""), ("", ""), ("gone.wav", ""), ("empty.wav", ""), ("folder", ""), ("pipe", "")]
    cells += [("a.wav", "soon"), ("a.wav", "-1"), ("a.wav", "nan"), ("a.wav", "0"), (" a.wav ", "2")]
    path = manifest(tmp_path / "m.csv", *({"audio": audio, "end": end} for audio, end in cells))
    source = ClipTable(path, end="end")
    assert [clip.id for clip in source.clips()] == ["m.csv#2", "m.csv#12"]
    assert source.report.skipped == {
        '"audio" is empty': 1,
        "no such file": 1,
        "empty file": 1,
        "not a regular file": 2,
        '"end" is no number of seconds': 3,
        "end is not after start": 1,
    }
    assert source.report.examples[1] == f"{path}:4: no such file ({tmp_path / 'gone.wav'})"
    assert source.report.read + source.report.skipped_total == len(cells)


def test_jsonl_rows_may_lack_what_they_do_not_have(tmp_path):
    folder(tmp_path, "a.wav")
    path = manifest(
        tmp_path / "m.jsonl", {"audio": "a.wav", "who": "x"}, {"audio": "a.wav"}, {"who": "y"}, {"audio": 7}
    )
    source = ClipTable(path, label="who")
    assert [(clip.id, clip.label) for clip in source.clips()] == [("m.jsonl#1", "x"), ("m.jsonl#2", "")]
    assert source.report.skipped == {'"audio" is missing': 1, '"audio" is no recording': 1}


def test_ids_must_differ(tmp_path):
    source = ClipTable(parquet(tmp_path / "t.parquet", audio=[b"1", b"2", b"3"], n=["x", "x", ""]), id="n")
    assert [clip.id for clip in source.clips()] == ["x"]
    assert source.report.skipped == {"an id that an earlier row has": 1, '"n" is missing': 1}
    assert list(source.contents(["x"])) == [b"1"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path / "none.csv", "does not exist: name a .parquet or .csv"),
        (lambda path: path, "holds no .parquet or .csv"),
        (
            lambda path: folder(path, "a.wav") / "a.wav",
            "is no table of recordings: name a .parquet, .csv or .jsonl file",
        ),
        (lambda path: manifest(path / "m.csv", {"file": "a.wav"}), 'there is no column "audio"'),
        (
            lambda path: manifest(path / "m.csv", {"audio": "a.wav"}),
            "no row in it can be used. The first: .*no such file",
        ),
        (lambda path: parquet(path / "t.parquet", audio=[1.5]), "is of type double, which is no recording"),
        (lambda path: parquet(path / "t.parquet", sound=[b"x"]), 'there is no column "audio"'),
    ],
)
def test_a_table_that_cannot_be_used_says_so(tmp_path, make, message):
    with pytest.raises(DataError, match=message):
        rows(ClipTable(make(tmp_path)))


def test_rows_that_are_gone(tmp_path):
    path = parquet(tmp_path / "t.parquet", audio=[b"1", b"2"])
    source = ClipTable(path)
    ids = [clip.id for clip in source.clips()]
    parquet(path, audio=[b"1"])
    with pytest.raises(DataError, match=r"row 2 is not there any more: prepare the data again"):
        list(source.contents(ids))
    with pytest.raises(DataError, match="has no recording 'x#1'"):
        list(source.contents(["x#1"]))
    folder(tmp_path, "a.wav")
    named = ClipTable(manifest(tmp_path / "m.csv", {"audio": "a.wav"}))
    ids = [clip.id for clip in named.clips()]
    (tmp_path / "a.wav").unlink()
    with pytest.raises(DataError, match=r"m\.csv: row 2 is not there any more"):
        list(named.contents(ids))


cells = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)


@settings(max_examples=40, deadline=None)
@given(table=st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=8))
def test_any_manifest_is_read_or_refused_and_every_row_counted(tmp_path_factory, table):
    root = folder(tmp_path_factory.mktemp("m"), "a.wav")
    path = root / "m.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("audio", "label", "start"), ("a.wav", "first", ""), *table])
    source = ClipTable(path, label="label", start="start")
    clips = list(source.clips())
    assert clips[0].label == "first"
    assert len(clips) == source.report.read
    assert source.report.read + source.report.skipped_total <= len(table) + 1
