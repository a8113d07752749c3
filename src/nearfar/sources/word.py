"""The text of Word files (.docx): headings by their styles, lists and tables as lines."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from typing import Any

from nearfar.errors import MissingExtraError
from nearfar.sources.document import Scalar
from nearfar.sources.metadata import plain_values
from nearfar.sources.plain import UnreadableError, storable
from nearfar.sources.sections import MAX_HEADING_CHARS, Parsed, Section

MAX_UNPACKED_BYTES = 300_000_000
MAX_XML_BYTES = 50_000_000
"""Of one part, unpacked: a novel has about 5 MB. A parsed part takes some twenty times as much memory."""
_MAX_PARTS = 20_000

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
# What stands around blocks without being one: content controls, insertions under review, custom XML.
_AROUND = frozenset({f"{_W}sdt", f"{_W}sdtContent", f"{_W}ins", f"{_W}customXml", f"{_W}smartTag", f"{_W}moveTo"})
# Text boxes are written twice, the second time for older programs; what was deleted under review is not read.
_UNSEEN = frozenset(
    {"{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback", f"{_W}del", f"{_W}moveFrom", f"{_W}pPr"}
)
_HEADING_STYLE = re.compile(r"heading (\d)$", re.IGNORECASE)


def parse_word(data: bytes) -> Parsed:
    """Cut a .docx file at the paragraphs whose style is a heading; the title is its property, else the style Title.

    Headers, footers, notes and comments are not read.

    Raises:
        MissingExtraError: without python-docx.
        UnreadableError: damaged, locked, without text, or one that unpacks to more than `MAX_UNPACKED_BYTES`.
    """
    try:
        import docx
    except ImportError as error:
        raise MissingExtraError("documents", "reading Word files") from error
    _check_size(data)
    try:
        document = docx.Document(io.BytesIO(data))
        styles = {style.style_id: style.name or "" for style in document.styles}
        known = _properties(document.core_properties)
        title, sections = _sections(document.element.body, styles)
    # Damaged files surface as almost any exception of python-docx, lxml and Python.
    except Exception as error:
        detail = " ".join(str(error).split())[:200]
        raise UnreadableError("damaged Word file", detail or type(error).__name__) from None
    if not any(section.heading or section.body.strip() for section in sections):
        raise UnreadableError("Word file without text")
    named = str(known.pop("title", "")) or title
    return Parsed(named or next((s.heading for s in sections if s.heading), ""), sections, known)


def _check_size(data: bytes) -> None:
    """Refuse what would unpack to too much; a part never unpacks to more than its entry says (zipfile stops there)."""
    if data.startswith(b"\xd0\xcf\x11\xe0"):  # the old container, in which Word also puts what it encrypts
        raise UnreadableError("Word file locked with a password, or of the old format")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as error:
        raise UnreadableError("damaged Word file", str(error)) from None
    xml = max((part.file_size for part in parts if part.filename.endswith((".xml", ".rels"))), default=0)
    if len(parts) > _MAX_PARTS or sum(part.file_size for part in parts) > MAX_UNPACKED_BYTES or xml > MAX_XML_BYTES:
        raise UnreadableError(f"Word file that unpacks to more than {MAX_UNPACKED_BYTES // 1_000_000} MB")


def _sections(body: Any, styles: dict[str, str]) -> tuple[str, list[Section]]:
    """Return the text in the style Title, and the sections."""
    title = ""
    sections: list[Section] = []
    heading, level, lines = "", 1, list[str]()

    def end_section() -> None:
        if heading or lines:
            sections.append(Section(heading, "\n".join(lines).strip("\n"), 0, verbatim=False, level=level))

    for block in _blocks(body):
        if block.tag == f"{_W}tbl":
            lines.extend(["", *_rows(block), ""])
            continue
        text = _text(block).strip()
        style = styles.get(_style_of(block), "")
        found = _HEADING_STYLE.match(style)
        if not text:
            lines.append("")
        elif found and len(text) <= MAX_HEADING_CHARS:
            end_section()
            heading, level, lines = " ".join(text.split()), int(found[1]) or 1, []
        elif style.lower() == "title" and not title and not sections and not any(lines):
            title = " ".join(text.split())
        elif style.lower().startswith("list") or block.find(f"{_W}pPr/{_W}numPr") is not None:
            lines.append(f"- {text}")
        else:
            lines.extend(["", text, ""])
    end_section()
    return title, sections


def _blocks(container: Any) -> Iterator[Any]:
    """Yield paragraphs and tables in order. A stack, not recursion: files may nest deeper than Python recurses."""
    waiting = [container]
    while waiting:
        element = waiting.pop()
        if element.tag in (f"{_W}p", f"{_W}tbl"):
            yield element
        elif element is container or element.tag in _AROUND:
            waiting.extend(reversed(element))


def _rows(table: Any) -> Iterator[str]:
    """Yield the rows of a table as `a | b`; cells are taken as they are written, however far they claim to span."""
    for row in table.iter(f"{_W}tr"):
        cells = [" ".join(_text(cell).split()) for cell in row.iterchildren(f"{_W}tc")]
        if any(cells):
            yield " | ".join(cells)


def _text(element: Any) -> str:
    parts: list[str] = []
    waiting = [element]
    while waiting:
        node = waiting.pop()
        if node is None:
            parts.append("\n")  # behind a paragraph
        elif node.tag == f"{_W}t":
            parts.append(node.text or "")
        elif node.tag == f"{_W}tab":
            parts.append("\t")
        elif node.tag in (f"{_W}br", f"{_W}cr"):
            parts.append("\n")
        elif node.tag == f"{_W}noBreakHyphen":
            parts.append("-")
        elif node.tag not in _UNSEEN and not (node.tag == f"{_W}tbl" and node is not element):
            if node.tag == f"{_W}p":
                waiting.append(None)
            waiting.extend(reversed(node))
    return storable("".join(parts))


def _style_of(paragraph: Any) -> str:
    style = paragraph.find(f"{_W}pPr/{_W}pStyle")
    return "" if style is None else style.get(f"{_W}val", "")


def _properties(core: Any) -> dict[str, Scalar | tuple[Scalar, ...]]:
    created = core.created
    return plain_values(
        {
            "title": core.title,
            "author": core.author,
            "subject": core.subject,
            "category": core.category,
            "language": core.language,
            "keywords": [word.strip() for word in (core.keywords or "").replace(";", ",").split(",")],
            "created": created.date() if created else None,
        }
    )
