from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.errors import DataError
from nearfar.sources import DocstringsSource, FolderSource, TableSource, open_documents
from nearfar.sources.formats import parse_plain
from nearfar.sources.hypertext import parse_hypertext
from nearfar.sources.markdown import parse_markdown
from nearfar.sources.plain import UnreadableError
from nearfar.sources.restructured import parse_restructured
from nearfar.sources.sections import Parsed, passages

Parser = Callable[[str], Parsed]

MARKDOWN = """\
---
title: "The guide"
tags: [a, b]
---
Before any heading.

# First *part* with [a link](https://example.org) #

Text one.

```python
# not a heading
```

~~~
# nor this
```
~~~

Setext title
over two lines
---

Text two.

- item
---

| a | b |
|---|---|

##
Under an empty heading. #tag
#no-heading
"""

RST = """\
=========
The guide
=========

Intro.

Part :ref:`one <label>`
-----------------------

Text one::

    Not a heading
    -------------

=====  =====
A      B
=====  =====

Sub
~~~
Text two.
Still a paragraph
-----------------
"""

HTML = """<!DOCTYPE html><html><head><title>The
 guide</title><style>p { color: red }</style><script>var x = "<h1>no</h1>";</script></head><body>
<p>Before &amp; <b>any</b>   heading.</p><p>Next.</p>
<h1>First <em>part</em></h1><ul><li>one<li>two</ul><svg><text>drawn</text></svg>
<pre>kept
   as is</pre>
<h2>Second</h2>Unclosed <p>tail
"""


def cut(parser: Parser, text: str) -> list[tuple[str, str]]:
    return [(s.heading, s.body.strip()) for s in parser(text).sections]


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def test_markdown_is_cut_at_its_headings() -> None:
    parsed = parse_markdown(MARKDOWN)
    assert parsed.title == "The guide"
    assert [s.heading for s in parsed.sections] == ["", "First part with a link", "Setext title over two lines", ""]
    assert "# not a heading" in parsed.sections[1].body
    assert "# nor this" in parsed.sections[1].body
    assert "- item\n---" in parsed.sections[2].body
    assert "#no-heading" in parsed.sections[3].body
    lines = MARKDOWN.split("\n")
    for section in parsed.sections:
        assert lines[section.line - 1] == section.body.split("\n")[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\n===\nb", [("", ""), ("a", "b")]),
        ("---\na\n---\nb", [("", "a\n---\nb")]),
        ("text\n\n---\na\n---\nb", [("", "text\n\n---"), ("a", "b")]),
        ("# a\n# b\nc", [("", ""), ("a", ""), ("b", "c")]),
        ("    # code", [("", "# code")]),
        ("# C# #\nx", [("", ""), ("C#", "x")]),
        ("# C#\nx", [("", ""), ("C#", "x")]),
        ("> quote\n---\nx", [("", "> quote\n---\nx")]),
        ("```\n# never closed", [("", "```\n# never closed")]),
        ("``` a`b\n# h", [("", "``` a`b"), ("h", "")]),
        ("# " + "x" * 400, [("", "# " + "x" * 400)]),
    ],
)
def test_markdown_corners(text: str, expected: list[tuple[str, str]]) -> None:
    if text.startswith("---"):  # what looks like front matter is taken for it
        expected = [("", "b")]
    assert cut(parse_markdown, text) == expected


def test_restructured_text_is_cut_at_its_headings() -> None:
    parsed = parse_restructured(RST)
    assert parsed.title == "The guide"
    assert [s.heading for s in parsed.sections] == ["", "The guide", "Part one", "Sub"]
    assert "Not a heading" in parsed.sections[2].body
    assert parsed.sections[3].body.startswith("Text two.\nStill a paragraph")
    lines = RST.split("\n")
    for section in parsed.sections[1:]:
        assert lines[section.line - 1] == section.body.split("\n")[0]


def test_html_is_cut_at_its_headings_without_scripts() -> None:
    parsed = parse_hypertext(HTML)
    assert parsed.title == "The guide"
    assert [(s.heading, s.body) for s in parsed.sections] == [
        ("", "Before & any heading.\n\nNext."),
        ("First part", "one\ntwo\n\nkept\n   as is"),
        ("Second", "Unclosed\n\ntail"),
    ]
    assert parsed.sections[1].line == 4


def test_a_short_first_line_is_the_title_of_a_plain_text() -> None:
    assert parse_plain("\nTitle\n\nBody.").title == "Title"
    assert parse_plain("\nTitle\nBody.").sections[0].line == 3
    assert parse_plain("only line").title == ""
    assert parse_plain("long " * 50 + "\nrest").sections[0].body.startswith("long")


def test_long_sections_are_cut_between_paragraphs() -> None:
    body = "\n\n" + "\n\n".join(f"p{i} " + "word " * 99 for i in range(25)) + "\n\n" + "long " * 2500 + "\n"
    found = list(passages(body, 10))
    assert [len(text.split()) for text, _ in found] == [1000, 1000, 500, 1000, 1000, 500]
    assert [text.split()[0] for text, _ in found] == ["p0", "p10", "p20", "long", "long", "long"]
    assert [line for _, line in found] == [12, 32, 52, 62, 62, 62]
    assert " ".join(text for text, _ in found).split() == body.split()
    assert list(passages(" \n\n ", 1)) == []


def test_a_section_is_a_document_and_a_long_one_several(tmp_path: Path) -> None:
    long = "\n\n".join("word " * 600 for _ in range(2))
    write(
        tmp_path, {"b.md": f"# Top\nIntro.\n\n## Part\n{long}\n", "a/c.TXT": "One line.", "a/plain.txt": "T\n\nBody."}
    )
    found = list(FolderSource(tmp_path).documents())
    assert [(d.id, d.title, d.parent_title, d.group) for d in found] == [
        ("a/c.TXT#1", "c", "c", "a/c.TXT"),
        ("a/plain.txt#1", "T", "T", "a/plain.txt"),
        ("b.md#1", "Top", "Top", "b.md"),
        ("b.md#2", "Part", "Top", "b.md"),
        ("b.md#3", "Part", "Top", "b.md"),
    ]
    assert [d.location for d in found[2:]] == [f"{tmp_path}/b.md:{line}" for line in (2, 5, 7)]


def test_files_without_usable_text_are_reported(tmp_path: Path) -> None:
    source = FolderSource(
        write(
            tmp_path,
            {
                "bom.md": b"\xef\xbb\xbf# Marked\r\n\r\nText.\r\n",
                "utf16.txt": "Grün".encode("utf-16"),
                "empty.md": b"",
                "blank.md": b" \n",
                "binary.md": b"\x89PNG\0\0",
                "latin.txt": b"caf\xe9",
                "half.txt": b"\xff\xfea",
                "large.txt": b"x" * 1001,
                "headings.md": "# Only\n# Headings\n",
                "other.bin": b"",
                ".git/x.md": "Hidden.",
                ".hidden.md": "A hidden file is a file that was asked for.",
            },
        ),
        max_file_mb=0.001,
    )
    found = list(source.documents())
    assert [(d.id, d.text) for d in found if not d.id.startswith(".")] == [
        ("bom.md#1", "Text."),
        ("utf16.txt#1", "Grün"),
    ]
    assert found[0].id == ".hidden.md#1"
    assert source.report.read == 3
    assert source.report.skipped == {
        "empty file": 2,
        "binary (NUL bytes)": 1,
        "no text under its headings": 1,
        "not UTF-8": 1,
        "not UTF-16": 1,
        "larger than 0.001 MB": 1,
    }
    (tmp_path / "blank.md").unlink()
    assert len(list(source.documents())) == 3  # a second call starts again, and so does its report
    assert source.report.skipped["empty file"] == 1
    assert FolderSource(tmp_path, [".txt"]).suffixes == FolderSource(tmp_path, ["TXT"]).suffixes


def test_a_bad_byte_is_named_with_its_offset(tmp_path: Path) -> None:
    source = FolderSource(write(tmp_path, {"a.md": "fine", "b.md": b"\xef\xbb\xbfab\xe9c"}))
    list(source.documents())
    assert source.report.examples == [f"{tmp_path}/b.md: not UTF-8 (first bad byte 0xe9 at offset 5)"]


def test_links_end_and_nothing_is_read_twice(tmp_path: Path) -> None:
    folder, outside = tmp_path / "folder", tmp_path / "outside"
    write(folder, {"a/x.md": "Inside.", "b.md": "Top."})
    write(outside, {"o.md": "Outside."})
    (folder / "a" / "up").symlink_to(folder, target_is_directory=True)
    (folder / "again.md").symlink_to(folder / "b.md")
    (folder / "itself.md").symlink_to(folder / "itself.md")
    (folder / "gone.md").symlink_to(tmp_path / "gone")
    (folder / "out").symlink_to(outside, target_is_directory=True)
    (outside / "back").symlink_to(folder, target_is_directory=True)
    (outside / "round").symlink_to(outside, target_is_directory=True)
    os.mkfifo(folder / "pipe.md")
    source = FolderSource(folder)
    assert [d.id for d in source.documents()] == ["a/x.md#1", "b.md#1", "out/o.md#1"]
    assert source.report.skipped == {"not a regular file, or a broken link": 2}  # the pipe and the link to nowhere


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_the_system_refuses_is_reported(tmp_path: Path) -> None:
    write(tmp_path, {"a.md": "Fine.", "b.md": "Secret.", "c/d.md": "Secret."})
    (tmp_path / "b.md").chmod(0)
    (tmp_path / "c").chmod(0)
    source = FolderSource(tmp_path)
    try:
        assert [d.id for d in source.documents()] == ["a.md#1"]
    finally:
        (tmp_path / "c").chmod(0o755)
    assert source.report.skipped == {"cannot be read": 2}


def test_deep_folders_and_names_that_are_not_utf8(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["d"] * 700)
    deep.mkdir(parents=True)
    (deep / "x.md").write_text("Deep.")
    with open(os.fsencode(tmp_path) + b"/caf\xe9.md", "w") as file:  # noqa: PTH123
        file.write("Named.")
    found = list(FolderSource(tmp_path).documents())
    assert [d.text for d in found] == ["Named.", "Deep."] or [d.text for d in found] == ["Deep.", "Named."]
    named = next(d for d in found if d.text == "Named.")
    assert (named.id, named.title) == ("caf\\xe9.md#1", "caf\\xe9")
    assert named.location.encode().endswith(b"caf\\xe9.md:1")


def test_a_folder_that_gives_nothing_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere does not exist: name a folder with \.md"):
        list(FolderSource(tmp_path / "nowhere", [".md"]).documents())
    with pytest.raises(DataError, match=r"holds no file to read: looked for \.md, \.txt"):
        list(FolderSource(tmp_path).documents())
    (tmp_path / "empty.md").touch()
    with pytest.raises(DataError, match=r"empty\.md: empty file"):
        list(FolderSource(tmp_path).documents())


def test_memory_does_not_grow_with_the_folder(tmp_path: Path) -> None:
    def peak(files: int) -> int:
        folder = tmp_path / str(files)
        write(folder, {f"{i % 10}/{i:04}.md": f"# Title {i}\n" + "word " * 400 for i in range(files)})
        write(folder, {f"{i % 10}/{i:04}.txt": b"\xff" * (i + 1) for i in range(files // 10)})
        tracemalloc.start()
        try:
            for _ in FolderSource(folder).documents():
                pass
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(10)
    assert peak(600) < peak(60) + 100_000  # the larger folder holds 1.2 MB


def test_the_word_or_the_path_says_which_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(
        tmp_path, {"docstrings/a.md": "A.", "t.csv": "body,id\nB.,1\n", "n.md": "# N\nC.", "x.bin": "y", "l.log": "D."}
    )
    monkeypatch.chdir(tmp_path)
    assert isinstance(open_documents("docstrings"), DocstringsSource)
    assert [d.id for d in open_documents("./docstrings").documents()] == ["a.md#1"]
    table = open_documents("t.csv", text="body", id="id")
    assert isinstance(table, TableSource)
    assert [(d.id, d.text) for d in table.documents()] == [("1", "B.")]
    assert [(d.id, d.title) for d in open_documents(tmp_path / "n.md").documents()] == [("n.md#1", "N")]
    assert [d.text for d in open_documents(".", suffixes=(".log",)).documents()] == ["D."]
    with pytest.raises(DataError, match=r"x\.bin is of a kind that nearfar does not read; it reads a folder"):
        open_documents("x.bin")
    with pytest.raises(DataError, match="nowhere does not exist"):
        open_documents("nowhere")


MARKS = ["#", "##", " ", "\n", "\n\n", "---", "===", "```", "~~~", "~", "|", "- ", "title: x", "word", "ü", "[a](b)"]
TAGS = [
    "<h1>",
    "</h1>",
    "<p>",
    "<pre>",
    "<script>",
    "</script>",
    "<title>",
    "<!",
    "<![",
    "<!--",
    "&#x",
    "&amp;",
    "<",
    ">",
    "</",
]
MARKUP = st.lists(st.sampled_from(MARKS + TAGS) | st.text(max_size=5), max_size=60).map("".join)


@settings(max_examples=300, deadline=None)
@given(MARKUP)
@pytest.mark.parametrize("parser", [parse_markdown, parse_restructured, parse_plain, parse_hypertext])
def test_any_text_can_be_cut_and_no_word_is_read_twice(parser: Parser, text: str) -> None:
    text = text.replace("\r", "")
    try:
        parsed = parser(text)
    except UnreadableError:
        if parser is not parse_hypertext:
            raise
        return
    total = 0
    for section in parsed.sections:
        found = [words for passage, _ in passages(section.body, section.line, 3) for words in passage.split()]
        assert found == section.body.split()
        total += len(found)
        assert 1 <= section.line <= text.count("\n") + 2
    assert total <= len(text.split()) or parser is parse_hypertext


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([".md", ".rst", ".html", ".txt"]))
def test_any_bytes_give_documents_or_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, suffix: str
) -> None:
    path = tmp_path_factory.getbasetemp() / f"any{suffix}"
    path.write_bytes(data)
    source = FolderSource(path)
    try:
        found = list(source.documents())
    except DataError:
        return
    assert len(found) == source.report.read > 0
    assert all(d.text.strip() and d.text.encode() for d in found)
