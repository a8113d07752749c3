"""PDF and Word files: made here, and broken by hand."""

from __future__ import annotations

import io
import random
import zipfile
from contextlib import suppress
from pathlib import Path

import docx
import pypdf
import pytest
from docx.document import Document as WordDocument
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

from nearfar.sources import Cutting, Document, FilesSource, FolderSource, pdf, word
from nearfar.sources.pdf import parse_pdf
from nearfar.sources.plain import UnreadableError
from nearfar.sources.whole import assemble
from nearfar.sources.word import parse_word


def made_pdf(pages: list[str], outline: list[tuple[str, int]] = [], **properties: str) -> pypdf.PdfWriter:  # noqa: B006
    writer = pypdf.PdfWriter()
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
        }
    )
    for text in pages:
        page = writer.add_blank_page(300, 300)
        page[NameObject("/Resources")] = DictionaryObject(
            {NameObject("/Font"): DictionaryObject({NameObject("/F1"): font})}
        )
        stream = DecodedStreamObject()
        lines = "".join(f"({line}) Tj 0 -14 Td " for line in text.split("\n"))
        stream.set_data(f"BT /F1 12 Tf 20 280 Td {lines} ET".encode("latin-1") if text else b"")
        page[NameObject("/Contents")] = writer._add_object(stream)
    parent = None
    for title, page_number in outline:
        found = writer.add_outline_item(title, page_number, parent=parent)
        parent = parent or found
    writer.add_metadata({f"/{name}": value for name, value in properties.items()})
    return writer


def data_of(made: pypdf.PdfWriter | WordDocument) -> bytes:
    file = io.BytesIO()
    if isinstance(made, pypdf.PdfWriter):
        made.write(file)
    else:
        made.save(file)
    return file.getvalue()


def test_a_pdf_is_read_page_by_page_under_the_headings_of_its_outline(tmp_path: Path) -> None:
    made = made_pdf(
        ["Cover of the book", "Chapter One\nIt begins with exam-\nples.\nPart A\nIt goes on.", "", "Still part a."],
        [("Chapter One", 1), ("Part  A", 1)],
        Title="The book",
        Author="Ada",
        Keywords="x; y",
        CreationDate="D:20200102030405",
    )
    (tmp_path / "book.pdf").write_bytes(data_of(made))
    (document,) = FilesSource(tmp_path).documents()
    assert isinstance(document, Document)
    assert document.title == "The book"
    assert {name: document.metadata[name] for name in ("author", "keywords", "created", "pages")} == {
        "author": "Ada",
        "keywords": ("x", "y"),
        "created": "2020-01-02",
        "pages": 4,
    }
    assert [(p.page, p.heading, document.text[p.begin : p.end]) for p in document.passages] == [
        (1, "", "Cover of the book"),
        (2, "Chapter One", "Chapter One\nIt begins with examples."),
        (2, "Chapter One > Part A", "Part A\nIt goes on."),
        (4, "Chapter One > Part A", "Still part a."),
    ]
    sections = list(FolderSource(tmp_path, [".pdf"]).documents())
    assert [(d.title, d.location) for d in sections][2:] == [
        ("Part A", f"{tmp_path}/book.pdf#page=2"),
        ("Part A", f"{tmp_path}/book.pdf#page=4"),
    ]


def test_locked_damaged_and_pictured_pdfs_are_refused_by_name(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sound = data_of(made_pdf(["Text on a page."]))
    locked = made_pdf(["Secret."])
    locked.encrypt("word", algorithm="RC4-128")
    restricted = made_pdf(["Not to be printed."])
    restricted.encrypt("", "owner", algorithm="RC4-128")
    files = {
        "damaged.pdf": b"%PDF-1.7\nnothing here",
        "empty.pdf": data_of(made_pdf([""])),
        "locked.pdf": data_of(locked),
        "restricted.pdf": data_of(restricted),
        "sound.pdf": sound,
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    source = FilesSource(tmp_path)
    assert [d.id for d in source.documents()] == ["restricted.pdf", "sound.pdf"]
    assert source.report.skipped == {"damaged PDF": 1, "PDF without text": 1, "PDF locked with a password": 1}
    assert capfd.readouterr().err == ""


def test_a_pdf_beyond_the_limits_is_refused_or_read_as_far_as_they_go(monkeypatch: pytest.MonkeyPatch) -> None:
    data = data_of(made_pdf(["One.", "Two.", "Three."]))
    monkeypatch.setattr(pdf, "_MAX_CHARS", 3)
    cut_short = parse_pdf(data)
    assert (len(cut_short.sections), cut_short.lost) == (1, ("pages 2 to 3 (too long to read)",))
    monkeypatch.setattr(pdf, "MAX_SECONDS", -1.0)
    with pytest.raises(UnreadableError, match="PDF whose pages cannot be read"):
        parse_pdf(data)
    monkeypatch.setattr(pdf, "MAX_PAGES", 2)
    with pytest.raises(UnreadableError, match="more than 2 pages"):
        parse_pdf(data)


def test_a_page_that_unpacks_to_too_much_is_lost_and_the_others_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pdf, "MAX_STREAM_BYTES", 2_000)
    made = made_pdf(["Short.", "long " * 1_000])
    for page in made.pages:
        page.compress_content_streams()
    (tmp_path / "a.pdf").write_bytes(data_of(made))
    source = FilesSource(tmp_path)
    (document,) = source.documents()
    assert isinstance(document, Document)
    assert document.text == "Short."
    assert source.report.skipped == {"a part of the file that cannot be read": 1}
    assert source.report.examples[0].endswith("(page 2)")


def made_word() -> WordDocument:
    made = docx.Document()
    made.core_properties.author = "Ada"
    made.core_properties.title = ""
    made.add_paragraph("The report", style="Title")
    made.add_paragraph("Before.")
    made.add_heading("First", 1)
    made.add_paragraph("one", style="List Bullet")
    made.add_paragraph("two", style="List Number")
    made.add_heading("Inner", 2)
    table = made.add_table(2, 2)
    for i, cell in enumerate(cell for row in table.rows for cell in row.cells):
        cell.text = f"cell {i}"
    made.add_paragraph("After the table.")
    return made


def test_a_word_file_is_cut_at_its_heading_styles() -> None:
    parsed = parse_word(data_of(made_word()))
    assert (parsed.title, parsed.metadata["author"]) == ("The report", "Ada")
    assert [(s.heading, s.level, s.body) for s in parsed.sections] == [
        ("", 1, "Before."),
        ("First", 1, "- one\n- two"),
        ("Inner", 2, "cell 0 | cell 1\ncell 2 | cell 3\n\n\nAfter the table."),
    ]
    assert [p.heading for p in assemble(parsed, "p", Cutting())[1]] == ["", "First", "First > Inner"]


def rewritten(data: bytes, part: str, change: bytes | None, extra: dict[str, bytes] | None = None) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            if name != part:
                new.writestr(name, old.read(name))
            elif change is not None:
                new.writestr(name, change)
        for name, content in (extra or {}).items():
            new.writestr(name, content)
    return file.getvalue()


W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def body(xml: str) -> bytes:
    return rewritten(
        data_of(docx.Document()), "word/document.xml", f"<w:document {W}><w:body>{xml}</w:body></w:document>".encode()
    )


def said(text: str) -> str:
    return f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>"


def test_controls_and_insertions_are_read_and_deletions_are_not() -> None:
    xml = (
        f"<w:sdt><w:sdtContent>{said('In a control.')}</w:sdtContent></w:sdt>"
        "<w:p><w:ins><w:r><w:t>New</w:t></w:r></w:ins><w:del><w:r><w:delText>old</w:delText></w:r></w:del>"
        "<w:r><w:tab/><w:t>kept</w:t><w:br/><w:t>line</w:t></w:r></w:p>"
    )
    assert parse_word(body(xml)).sections[0].body == "In a control.\n\n\nNew\tkept\nline"


def test_tables_that_claim_to_be_huge_and_nesting_that_is_deep_cost_nothing() -> None:
    wide = f'<w:tbl><w:tr><w:tc><w:tcPr><w:gridSpan w:val="1000000000"/></w:tcPr>{said("wide")}</w:tc></w:tr></w:tbl>'
    inner = f"<w:tbl><w:tr><w:tc>{said('inner')}</w:tc></w:tr></w:tbl>"
    nested = f"<w:tbl><w:tr><w:tc>{said('outer')}{inner}</w:tc></w:tr></w:tbl>"
    deep = "<w:sdt><w:sdtContent>" * 100 + said("deep") + "</w:sdtContent></w:sdt>" * 100
    assert parse_word(body(wide + nested + deep)).sections[0].body.split() == ["wide", "outer", "inner", "deep"]


def test_entities_are_not_resolved(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    entity = f'<!DOCTYPE d [<!ENTITY x SYSTEM "file://{tmp_path}/secret">]>'
    xml = f"{entity}<w:document {W}><w:body><w:p><w:r><w:t>a &x; b</w:t></w:r></w:p></w:body></w:document>"
    data = rewritten(data_of(docx.Document()), "word/document.xml", xml.encode())
    try:
        parsed = parse_word(data)
    except UnreadableError:
        return
    assert "secret" not in parsed.sections[0].body


def test_word_files_that_cannot_be_used_are_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = data_of(made_word())
    reasons = {
        b"PK\x03\x04 no": "damaged Word file",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "Word file locked with a password, or of the old format",
        sound[: len(sound) // 2]: "damaged Word file",
        rewritten(sound, "word/document.xml", None): "damaged Word file",
        rewritten(sound, "word/document.xml", b"<broken"): "damaged Word file",
        data_of(docx.Document()): "Word file without text",
        rewritten(sound, "", None, {"word/big.xml": b" " * 60_000_000}): "Word file that unpacks to more than 300 MB",
    }
    for data, reason in reasons.items():
        with pytest.raises(UnreadableError) as caught:
            parse_word(data)
        assert caught.value.reason == reason
    monkeypatch.setattr(word, "MAX_UNPACKED_BYTES", 10_000)
    with pytest.raises(UnreadableError, match="unpacks to more"):
        parse_word(sound)


@pytest.mark.parametrize("kind", ["pdf", "docx"])
def test_any_damage_gives_a_document_or_a_reason(kind: str) -> None:
    sound = data_of(made_pdf(["Some text.", "More."], [("Some", 0)])) if kind == "pdf" else data_of(made_word())
    rng = random.Random(0)
    for _ in range(150):
        data = bytearray(sound)
        for _ in range(rng.randint(1, 8)):
            at = rng.randrange(len(data))
            if rng.random() < 0.7:
                data[at] = rng.randrange(256)
            else:
                del data[at : at + rng.randint(1, 40)]
        with suppress(UnreadableError):
            assert (parse_pdf if kind == "pdf" else parse_word)(bytes(data)).sections
