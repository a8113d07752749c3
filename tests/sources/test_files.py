from __future__ import annotations

import gzip
import os
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.errors import DataError, MissingExtraError
from nearfar.sources import Cutting, Document, FilesSource, Unchanged, hypertext, open_documents
from nearfar.sources.formats import parse_plain
from nearfar.sources.hypertext import parse_hypertext
from nearfar.sources.markdown import parse_markdown
from nearfar.sources.plain import UnreadableError
from nearfar.sources.python_code import parse_python
from nearfar.sources.restructured import parse_restructured
from nearfar.sources.sections import Parsed, Section
from nearfar.sources.whole import assemble

GUIDE = """\
---
title: The guide
author: Ada
tags: [one, 2, {no: no}]
when: 2020-01-02
nested: {a: 1}
---
Before.

# The guide

## Part

### Inner

First line.

Second [link](x).

## Other
End.
"""


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def read(source: FilesSource) -> list[Document]:
    return [document for document in source.documents() if isinstance(document, Document)]


def texts(document: Document) -> list[str]:
    return [document.text[p.begin : p.end] for p in document.passages]


def test_a_file_is_a_document_with_passages_under_their_headings(tmp_path: Path) -> None:
    path = write(tmp_path, {"docs/guide.md": GUIDE}) / "docs" / "guide.md"
    os.utime(path, (86_400, 86_400))
    (document,) = read(FilesSource(tmp_path))
    assert (document.id, document.title, document.group) == ("docs/guide.md", "The guide", "docs/guide.md")
    assert document.location == str(path)
    assert document.metadata == {
        "title": "The guide",
        "author": "Ada",
        "tags": ("one", 2),
        "when": "2020-01-02",
        "path": "docs/guide.md",
        "folder": "docs",
        "suffix": "md",
        "bytes": len(GUIDE),
        "modified": "1970-01-02",
    }
    assert texts(document) == [
        "Before.",
        "The guide\n\nPart\n\nInner\n\nFirst line.\n\nSecond [link](x).",
        "Other\nEnd.",
    ]
    assert [p.heading for p in document.passages] == ["", "Part > Inner", "Other"]
    lines = GUIDE.split("\n")
    places = [lines[int(p.location.removeprefix(f"{path}:")) - 1] for p in document.passages]
    assert places[0] == "Before."
    assert places[2] == "## Other"
    assert document.text == "\n\n".join(texts(document))


def test_a_passage_inside_a_section_has_its_own_line(tmp_path: Path) -> None:
    body = "\n\n".join(f"Line {i} has some words." for i in range(20))
    (document,) = read(FilesSource(write(tmp_path, {"a.md": f"# T\n\n{body}\n"}), cutting=Cutting(12, 5)))
    lines = (tmp_path / "a.md").read_text().split("\n")
    for text, passage in zip(texts(document)[1:], document.passages[1:], strict=True):
        assert lines[int(passage.location.rpartition(":")[2]) - 1] == text.split("\n")[0]
    assert len(document.passages) > 5


def test_what_is_unchanged_is_not_opened(tmp_path: Path) -> None:
    write(tmp_path, {"a.md": "A.", "b.md": "B."})
    stamps = {d.id: d.stamp for d in read(FilesSource(tmp_path))}
    source = FilesSource(tmp_path, unchanged=lambda id, stamp: stamps.get(id) == stamp)
    status = (tmp_path / "a.md").stat()
    (tmp_path / "a.md").write_bytes(b"\xff.")  # it could not be read; only its time and size say that it need not be
    os.utime(tmp_path / "a.md", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert list(source.documents()) == [Unchanged("a.md"), Unchanged("b.md")]
    (tmp_path / "b.md").write_text("Other.")
    assert [type(d) for d in source.documents()] == [Unchanged, Document]
    finer = FilesSource(tmp_path / "b.md", cutting=Cutting(10, 2), unchanged=lambda id, stamp: stamps[id] == stamp)
    assert [type(d) for d in finer.documents()] == [Document]  # other passages are another document


def test_hidden_generated_and_excluded_folders_are_left_out(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "a.py": "x = 1",
            ".b.py": "x = 1",
            ".git/c.py": "x = 1",
            "node_modules/d.js": "x",
            "index/bundle/card.md": "x",
            "e.bin": "x",
        },
    )
    assert [d.id for d in read(FilesSource(tmp_path, exclude=[tmp_path / "index", tmp_path / "gone"]))] == ["a.py"]


def test_rows_of_tables_are_documents(tmp_path: Path) -> None:
    long = "word " * 300
    write(
        tmp_path,
        {
            "t.csv": f'Name,year,code,about\nFirst,2020,007,"Two\nlines"\n,,,\nLong,-1.5,x,{long}\n',
            "u.jsonl": '{"title": "T", "n": 1, "ok": true, "tags": ["a", "b"], "deep": {"x": 1}, "none": null}\nbroken\n[1]\n{"n": 1}\n',
            "v.csv.gz": gzip.compress(b"a\nzipped\n"),
            "w.csv": 'a\n"never closed',
            "x.csv": "",
            "y.csv.gz": gzip.compress(b"a\nb\n" * 1000)[:-12],
        },
    )
    source = FilesSource(tmp_path)
    found = {d.id: d for d in read(source) if not d.id.startswith("y")}
    assert list(found) == ["t.csv#2", "t.csv#5", "u.jsonl#1", "v.csv.gz#2"]
    first = found["t.csv#2"]
    assert (first.title, first.text) == ("First", "Name: First\ncode: 007\nabout: Two\nlines")
    assert first.metadata == {
        "path": "t.csv",
        "folder": ".",
        "suffix": "csv",
        "Name": "First",
        "year": 2020,
        "code": "007",
    }
    assert (first.location, first.group, first.stamp) == (f"{tmp_path}/t.csv:2", "t.csv", "")
    assert found["t.csv#5"].metadata["year"] == -1.5
    assert len(found["t.csv#5"].passages) == 2
    assert found["u.jsonl#1"].text == "title: T\ntags: a, b"
    assert found["u.jsonl#1"].metadata["tags"] == ("a", "b")
    assert found["u.jsonl#1"].metadata["ok"] is True
    assert found["v.csv.gz#2"].metadata["suffix"] == "csv"
    assert source.report.skipped["a row without text"] == 2
    assert source.report.skipped["not valid JSON"] == 1
    assert source.report.skipped["not valid CSV"] == 1
    assert source.report.skipped["not a sound table"] == 1
    assert source.report.skipped["a table without rows"] == 1


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    source = FilesSource(
        write(tmp_path, {"a.md": "Good.", "b.py": b"\xff", "c.txt": " ", "d.md": b"x" * 2000}), max_file_mb=0.001
    )
    assert [d.id for d in read(source)] == ["a.md"]
    assert source.report.skipped == {"not UTF-8": 1, "empty file": 1, "larger than 0.001 MB": 1}
    with pytest.raises(DataError, match=r"b\.py: not UTF-8"):
        list(FilesSource(tmp_path / "b.py").documents())
    with pytest.raises(DataError, match="does not exist"):
        list(FilesSource(tmp_path / "gone").documents())


def test_missing_packages_cost_only_their_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pypdf", None)
    monkeypatch.setitem(sys.modules, "docx", None)
    source = FilesSource(write(tmp_path, {"a.pdf": "%PDF-1.4", "b.docx": "PK", "c.md": "C."}))
    assert [d.id for d in read(source)] == ["c.md"]
    assert all('pip install "nearfar[documents]"' in reason for reason in source.report.skipped)
    with pytest.raises(MissingExtraError, match=r"reading PDF files needs packages"):
        list(FilesSource(tmp_path / "a.pdf").documents())


def test_the_word_whole_asks_for_documents_to_search(tmp_path: Path) -> None:
    write(tmp_path, {"a/x.md": "X.", "t.csv": "text,year,note\nRow one.,2020,n\n", "a/y.py": "y = 1"})
    found = open_documents(tmp_path / "a", whole=True)
    assert [d.id for d in found.documents()] == ["x.md", "y.py"]
    table = open_documents(tmp_path / "t.csv", whole=True, metadata=["year"], cutting=Cutting(1, 0))
    (row,) = table.documents()
    assert isinstance(row, Document)
    assert (row.metadata, texts(row), table.report.read) == ({"year": 2020}, ["Row", "one."], 1)
    (row,) = open_documents(tmp_path / "t.csv", metadata="all").documents()
    assert (row.metadata, row.passages) == ({"year": 2020, "note": "n"}, ())
    with pytest.raises(DataError, match='no column "yeer"; did you mean "year"'):
        list(open_documents(tmp_path / "t.csv", metadata=["yeer"]).documents())


def test_headings_nest_by_their_levels() -> None:
    def paths(parsed: Parsed) -> list[str]:
        return [p.heading for p in assemble(parsed, "p", Cutting())[1]]

    assert paths(parse_markdown("# A\na\n\nB\n---\nb\n# C\nc\n### D\nd\n## E\ne")) == [
        "",
        "B",
        "C",
        "C > D",
        "C > E",
    ]
    assert paths(parse_restructured("=\nA\n=\n\na\n\nB\n-\n\nb\n\nC\n~\n\nc\n\nD\n-\n\nd")) == ["", "B", "B > C", "D"]
    assert paths(parse_hypertext("<title>T</title><h1>A</h1>a<h3>B</h3>b<h2>C</h2>c")) == ["A", "A > B", "A > C"]
    assert paths(parse_plain("Title\n\nBody.")) == [""]
    assert paths(parse_python("def f():\n    pass\n\nx = 1\n")) == ["f", ""]


def test_html_says_who_wrote_it_in_which_language() -> None:
    html = '<html lang="de"><meta name="Author" content=" A  B "><meta name=keywords content="x, y,"><meta name=z content=1><p>t'
    assert parse_hypertext(html).metadata == {"language": "de", "author": "A B", "keywords": ("x", "y")}


@pytest.mark.parametrize(
    "matter",
    [
        "a: &a [1]\nb: *a",
        "a: [",
        "- 1\n- 2",
        "[" * 3000,
        "? [a]\n: b",
        "a: !!python/object:os.system x",
        "n: " + "9" * 10_000,
    ],
)
def test_strange_front_matter_costs_only_itself(matter: str) -> None:
    parsed = parse_markdown(f"---\n{matter}\n---\nText.")
    assert [s.body for s in parsed.sections] == ["Text."]
    assert not {"b", "a"} & set(parsed.metadata)


def test_front_matter_that_cannot_be_read_is_told_and_a_bad_date_is_text(tmp_path: Path) -> None:
    source = FilesSource(
        write(tmp_path, {"a.md": "---\nyear: 2020-13-45\nlang: en\n---\nText.", "b.md": "---\na: [\n---\nText."})
    )
    first, second = read(source)
    assert (first.metadata["year"], first.metadata["lang"]) == ("2020-13-45", "en")
    assert "a" not in second.metadata
    assert source.report.examples == [
        f"{tmp_path}/b.md: a part of the file that cannot be read (its front matter, which is not YAML)"
    ]


def test_lines_are_those_of_the_file_however_far_headings_stand_from_their_text(tmp_path: Path) -> None:
    text = "# T\nright under\n\n## S\n\n\n\nfar below\n\nUnderlined\n==========\n\nbody\n\n## Empty\n### Deep\nend\n"
    path = write(tmp_path, {"a.md": text}) / "a.md"
    (document,) = read(FilesSource(tmp_path))
    lines = text.split("\n")
    for passage in document.passages:
        first = int(passage.location.removeprefix(f"{path}:"))
        for away, line in enumerate(document.text[passage.begin : passage.end].split("\n")):
            assert line in lines[first + away - 1]


SECTIONS = st.lists(
    st.builds(
        Section,
        heading=st.sampled_from(["", "A", "A b"]),
        body=st.lists(st.sampled_from(["word", "End.", " ", "\n", "\n\n"]), max_size=12).map("".join),
        line=st.integers(1, 9),
        verbatim=st.booleans(),
        level=st.integers(1, 4),
        named_in_body=st.booleans(),
    ),
    max_size=6,
)


@settings(max_examples=300, deadline=None)
@given(SECTIONS)
def test_passages_cover_the_whole_text_of_any_sections(sections: list[Section]) -> None:
    text, passages = assemble(Parsed("A", sections), "p", Cutting(4, 2))
    covered = 0
    for passage in passages:
        assert text[passage.begin : passage.end].strip() == text[passage.begin : passage.end] != ""
        assert not text[covered : passage.begin].strip()
        assert covered <= passage.end
        covered = passage.end
    assert not text[covered:].strip()
    assert text.split() == [
        word for s in sections for word in ([] if s.named_in_body else s.heading.split()) + s.body.split()
    ]


def test_html_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hypertext, "MAX_SECONDS", 0.05)
    with pytest.raises(UnreadableError, match="HTML that takes too long to read"):
        parse_hypertext("<!" * 200_000)
