from __future__ import annotations

import csv
import gzip
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.errors import DataError
from nearfar.sources import ReadReport, TablePairs, TableSource, kind_of
from nearfar.sources.lines import read_lines
from nearfar.sources.rows import TableKind, read_rows


def jsonl(path: Path, *rows: object) -> Path:
    path.write_text(
        "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8"
    )
    return path


def texts(source: TableSource) -> list[str]:
    return [d.text for d in source.documents()]


def test_a_jsonl_row_is_a_document_with_its_place(tmp_path: Path) -> None:
    row = {"body": "One.", "name": "First", "key": 7, "part": "a"}
    path = jsonl(tmp_path / "t.jsonl", "", row, {"body": "Two.", "key": "x"})
    source = TableSource(path, "jsonl", text="body", title="name", id="key", group="part")
    first, second = source.documents()
    assert (first.id, first.text, first.title, first.parent_title, first.group) == ("7", "One.", "First", "First", "a")
    assert first.location == f"{path}:2"
    assert (second.id, second.title, second.group, second.location) == ("x", "", "", f"{path}:3")
    assert [d.id for d in TableSource(path, "jsonl", text="body").documents()] == ["t.jsonl#2", "t.jsonl#3"]


def test_bad_jsonl_rows_are_skipped_and_each_is_reported_with_its_line(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path / "t.jsonl",
        {"text": "Good.", "id": 1},
        '{"text": "cut off',
        [1],
        {"text": 5, "id": 2},
        {"id": 3},
        {"text": " ", "id": 4},
        {"text": "Again.", "id": 1},
        {"text": "No id."},
        {"text": "Fraction.", "id": 1.5},
        "[" * 100_000,
        '{"text": "Half \\ud800.", "id": 9}',
    )
    with path.open("ab") as file:
        file.write(b'{"text": "caf\xe9", "id": 10}\n')
    source = TableSource(path, "jsonl", id="id")
    assert texts(source) == ["Good.", "Half \ufffd."]
    assert source.report.read == 2
    assert source.report.skipped == {
        "not valid JSON": 2,
        "not a JSON object": 1,
        '"text" is not text (got int)': 1,
        '"text" is missing': 1,
        '"text" is empty': 1,
        "an id that an earlier row has": 1,
        '"id" is missing': 1,
        '"id" is not a string or whole number (got float)': 1,
        "not UTF-8": 1,
    }
    assert source.report.examples[0].startswith(f"{path}:2: not valid JSON (")
    assert source.report.examples[2] == f'{path}:4: "text" is not text (got int)'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("packed", [False, True])
def test_marked_encodings_line_ends_and_gzip(tmp_path: Path, encoding: str, end: str, packed: bool) -> None:
    data = f'{{"text": "Grün."}}{end}{{"text": "日本"}}{end}'.encode(encoding)
    path = tmp_path / "t.jsonl"
    path.write_bytes(gzip.compress(data) if packed else data)
    assert texts(TableSource(path, "jsonl")) == ["Grün.", "日本"]
    data = f'text,n{end}Grün.,1{end}"日{end}本",2{end}'.encode(encoding)
    path.write_bytes(gzip.compress(data) if packed else data)
    assert texts(TableSource(path, "csv")) == ["Grün.", f"日{end}本"]


def test_a_damaged_file_is_an_error_with_the_line(tmp_path: Path) -> None:
    rows = b"".join(json.dumps({"text": f"Row {i} {hash(i * 7919)}"}).encode() + b"\n" for i in range(5000))
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(gzip.compress(rows)[:-2000])
    with pytest.raises(DataError, match=r"cut\.jsonl\.gz:\d+: the compressed file is damaged"):
        texts(TableSource(cut, "jsonl"))
    half = tmp_path / "half.jsonl"
    half.write_bytes('{"text": "a"}\n'.encode("utf-16") + b"\x00")
    with pytest.raises(DataError, match=r"half\.jsonl:2: not valid UTF-16"):
        texts(TableSource(half, "jsonl"))


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_a_table_that_gives_nothing_is_an_error(tmp_path: Path, kind: TableKind) -> None:
    with pytest.raises(DataError, match="does not exist"):
        texts(TableSource(tmp_path / "none", kind))
    with pytest.raises(DataError, match="is not a file"):
        texts(TableSource(tmp_path, kind))
    empty = tmp_path / "empty"
    empty.touch()
    with pytest.raises(DataError, match="holds no rows" if kind != "parquet" else "not a sound Parquet file"):
        texts(TableSource(empty, kind))
    (tmp_path / "binary").write_bytes(bytes(range(256)) * 50)
    with pytest.raises(DataError, match="binary"):
        texts(TableSource(tmp_path / "binary", kind))


def test_a_missing_column_is_named_with_its_nearest(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "t.jsonl", {"texts": "x", "n": 1})
    with pytest.raises(
        DataError, match=r't\.jsonl: there is no column "text"; did you mean "texts"\? The columns are: "texts", "n"\.'
    ):
        texts(TableSource(path, "jsonl"))
    path = tmp_path / "t.csv"
    path.write_text("id;text\n1;x\n")
    with pytest.raises(DataError, match="looks separated by ';'"):
        texts(TableSource(path, "csv"))
    path.write_text("text,text\n1,2\n")
    with pytest.raises(DataError, match="2 times"):
        texts(TableSource(path, "csv"))


def test_a_column_may_be_missing_from_the_first_rows(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "t.jsonl", {"text": "a"}, {"text": "b", "title": "B"})
    assert [d.title for d in TableSource(path, "jsonl", title="title").documents()] == ["", "B"]


def test_csv_rows_that_do_not_fit_the_header_are_reported(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(
        b'id,text\n1,Good.\n2\n3,a,b\n\n4,"two\nlines"\n5,"bad"quote\n6,caf\xe9\n7,Last.\n8,"never closed\n9,x\n'
    )
    source = TableSource(path, "csv")
    found = list(source.documents())
    assert [(d.text, d.location) for d in found] == [
        ("Good.", f"{path}:2"),
        ("two\nlines", f"{path}:6"),
        ("Last.", f"{path}:10"),
    ]
    assert source.report.skipped == {"another number of fields than the header": 2, "not valid CSV": 2, "not UTF-8": 1}
    assert f"{path}:3: another number of fields than the header (1 instead of 2)" in source.report.examples
    assert source.report.examples[-1].startswith(f"{path}:11: not valid CSV (lines 11 to 12: ")


def test_csv_fields_over_the_modules_limit_are_read_and_the_limit_is_left_alone(tmp_path: Path) -> None:
    limit = csv.field_size_limit()
    path = tmp_path / "t.csv"
    path.write_text(f"text\n{'word ' * (limit // 2)}\n")
    assert [len(t) for t in texts(TableSource(path, "csv"))] == [len("word ") * (limit // 2)]
    assert csv.field_size_limit() == limit
    path.write_text('text\n"' + ("word " * 200_000 + "\n") * 20)
    with pytest.raises(DataError, match="quote opened here and never closed"):
        texts(TableSource(path, "csv"))
    assert csv.field_size_limit() == limit


def test_old_spreadsheet_line_ends(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"text,n\rOne.,1\rTwo.,2\r")
    assert texts(TableSource(tmp_path / "t.csv", "csv")) == ["One.", "Two."]


def test_pairs_from_every_kind_of_table(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    rows: list[dict[str, Any]] = [
        {"q": "a", "p": ["b", "c"], "n": ["d"], "g": "1"},
        {"q": "e", "p": ["f"], "n": [], "g": "2"},
        {"q": "g", "p": ["h"], "n": None, "g": None},
        {"q": "bad", "p": [], "n": None, "g": None},
        {"q": None, "p": ["x"], "n": None, "g": None},
        {"q": "bad", "p": ["x", None], "n": None, "g": None},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    jsonl(tmp_path / "t.jsonl", *rows)
    for kind in ("jsonl", "parquet"):
        source = TablePairs(tmp_path / f"t.{kind}", kind, "q", "p", "n", "g")  # type: ignore[arg-type]
        assert [(p.query, p.positives, p.negatives, p.group) for p in source.pairs()] == [
            ("a", ("b", "c"), ("d",), "1"),
            ("e", ("f",), (), "2"),
            ("g", ("h",), (), ""),
        ]
        assert source.report.skipped == {'"p" is an empty list': 1, '"q" is missing': 1, '"p" is missing': 1}
    (tmp_path / "t.csv").write_text("q,p,n\na,b,\nc,d,e\n")
    pairs = list(TablePairs(tmp_path / "t.csv", "csv", "q", "p", "n").pairs())
    assert [(p.positives, p.negatives) for p in pairs] == [(("b",), ()), (("d",), ("e",))]


def test_parquet_reads_only_what_is_asked_for_and_says_what_is_wrong(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    bad = pa.StringArray.from_buffers(2, pa.py_buffer(b"\0\0\0\0\3\0\0\0\6\0\0\0"), pa.py_buffer(b"ok.\xff\xfe\xfd"))
    pq.write_table(pa.table({"text": bad, "other": [1, 2]}), tmp_path / "t.parquet")
    source = TableSource(tmp_path / "t.parquet", "parquet")
    assert texts(source) == ["ok."]
    assert source.report.skipped == {"not UTF-8": 1}
    with pytest.raises(DataError, match=r'no column "title".* The columns are: "text", "other"'):
        texts(TableSource(tmp_path / "t.parquet", "parquet", title="title"))
    with pytest.raises(DataError, match=r'"other" is not text \(got int\)'):
        texts(TableSource(tmp_path / "t.parquet", "parquet", text="other"))
    whole = (tmp_path / "t.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="not a sound Parquet file"):
        texts(TableSource(tmp_path / "cut.parquet", "parquet"))


def test_a_line_too_long_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(b"short\n" + b"x" * 1000 + b"\n" + b"y" * 10 + b"\nend")
    assert list(read_lines(tmp_path / "t", max_chars=11)) == [
        (1, "short\n"),
        (2, None),
        (3, "y" * 10 + "\n"),
        (4, "end"),
    ]


def peak_of(rows: Iterator[object]) -> int:
    tracemalloc.start()
    try:
        for _ in rows:
            pass
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_memory_does_not_grow_with_the_table(tmp_path: Path, kind: TableKind) -> None:
    def table(rows: int) -> Path:
        path = tmp_path / f"{rows}.{kind}"
        with path.open("w") as file:
            file.write("text,n\n" if kind == "csv" else "")
            for i in range(rows):
                text = f"Row {i} " + "word " * 100
                file.write(f"{text},{i}\n" if kind == "csv" else json.dumps({"text": text, "n": i}) + "\n")
                file.write("broken,row,here\n" if kind == "csv" else "{broken\n")
        return path

    small, large = (peak_of(TableSource(table(n), kind).documents()) for n in (1_000, 20_000))
    assert large < small + 50_000  # the larger table is 10 MB


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.jsonl", "jsonl"),
        ("a.JSONL.gz", "jsonl"),
        ("a.csv", "csv"),
        ("a.parquet", "parquet"),
        ("a.json", None),
        ("jsonl", None),
    ],
)
def test_the_kind_is_in_the_name(name: str, kind: str | None) -> None:
    assert kind_of(Path(name)) == kind


@settings(max_examples=100, deadline=None)
@given(
    st.binary(max_size=300),
    st.sampled_from(["jsonl", "csv", "parquet"]),
    st.sampled_from([b"", b"text\n", b'{"text": "a"}\n']),
)
def test_any_bytes_give_documents_or_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, kind: TableKind, start: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(start + data)
    source = TableSource(path, kind)
    try:
        found = list(source.documents())
    except DataError:
        return
    assert len(found) == source.report.read > 0
    assert all(d.text.strip() and d.text.encode() for d in found)


CELL = st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)


@settings(max_examples=50, deadline=None)
@given(st.lists(CELL, min_size=1, max_size=5))
def test_what_the_csv_and_json_modules_write_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, cells: list[str]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    with (folder / "t.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([["text"], *([cell] for cell in cells)])
    assert texts(TableSource(folder / "t.csv", "csv")) == cells
    jsonl(folder / "t.jsonl", *({"text": cell} for cell in cells))
    assert texts(TableSource(folder / "t.jsonl", "jsonl")) == cells
    assert [number for number, _ in read_rows(folder / "t.jsonl", "jsonl", ["text"], ReadReport())] == list(
        range(1, len(cells) + 1)
    )


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_columns_beside_the_text_are_kept_as_metadata(tmp_path: Path, kind: TableKind) -> None:
    rows = [
        {"text": "A.", "id": 1, "part": "x", "day": "2020-01-02", "tags": ["a", "b"], "deep": {"x": 1}},
        {"text": "B.", "id": 2, "part": "y", "day": "", "tags": [], "deep": None},
    ]
    path = tmp_path / f"t.{kind}"
    if kind == "jsonl":
        jsonl(path, *rows)
    else:
        pa = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(pa.Table.from_pylist(rows), path)
    some = TableSource(path, kind, id="id", metadata=["day", "tags"])
    assert [d.metadata for d in some.documents()] == [{"day": "2020-01-02", "tags": ("a", "b")}, {}]
    every = TableSource(path, kind, id="id", group="part", metadata="all")
    assert [d.metadata for d in every.documents()] == [
        {"part": "x", "day": "2020-01-02", "tags": ("a", "b")},
        {"part": "y"},
    ]
    with pytest.raises(DataError, match='no column "dey"; did you mean "day"'):
        list(TableSource(path, kind, metadata=["dey"]).documents())
