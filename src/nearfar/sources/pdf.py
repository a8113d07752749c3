"""The text of PDF files, page by page, with the headings of their outline."""

from __future__ import annotations

import io
import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from nearfar.errors import MissingExtraError
from nearfar.sources.document import Scalar
from nearfar.sources.metadata import plain_values
from nearfar.sources.plain import UnreadableError, storable
from nearfar.sources.sections import MAX_HEADING_CHARS, Parsed, Section

if TYPE_CHECKING:
    from pypdf import PageObject, PdfReader

MAX_PAGES = 5_000
MAX_SECONDS = 120.0
"""Of computing for one file."""
MAX_STREAM_BYTES = 20_000_000
"""Of the drawing instructions of a page, unpacked: text has a few kilobytes, maps and plots have the rest."""
MAX_FORMS = 1_000
"""Drawings that a page puts together; each may hold others."""
_MAX_CHARS = 50_000_000
_MAX_HEADINGS = 5_000

_Mark = tuple[int, str, int]
"""Page index, heading, level."""

_HYPHENATED = re.compile(r"(?<=[^\W\d_])[-\u00ad]\n(?=[a-zà-öø-ÿ])")


def parse_pdf(data: bytes) -> Parsed:
    """Take a PDF apart: a section a page, more where the outline has headings on it.

    Files that need a password are refused; those that only restrict printing and the like are read. Pages that cannot be
    read are named in `lost`.

    Raises:
        MissingExtraError: without pypdf.
        UnreadableError: damaged, locked, without text, or beyond the limits of this module.
    """
    try:
        from pypdf import PdfReader, apply_configuration
    except ImportError as error:
        raise MissingExtraError("documents", "reading PDF files") from error
    limits = apply_configuration(
        zlib_maximum_output_length=MAX_STREAM_BYTES,
        lzw_maximum_output_length=MAX_STREAM_BYTES,
        run_length_maximum_output_length=MAX_STREAM_BYTES,
        array_based_stream_maximum_output_length=MAX_STREAM_BYTES,
        xform_maximum_invocations_per_extraction=MAX_FORMS,
    )
    with _quiet(), limits:
        try:
            reader = PdfReader(io.BytesIO(data))
            if reader.is_encrypted and not reader.decrypt(""):
                raise UnreadableError("PDF locked with a password")
            count = len(reader.pages)
        except UnreadableError:
            raise
        # Damaged files surface as almost any exception of pypdf and of Python.
        except Exception as error:
            if type(error).__name__ == "DependencyError":
                raise UnreadableError("PDF locked with a password") from None
            raise UnreadableError("damaged PDF", _said(error)) from None
        if count > MAX_PAGES:
            raise UnreadableError(f"PDF of more than {MAX_PAGES:,} pages")
        texts, lost = _texts(reader, count)
        if not any(text.strip() for text in texts):
            if lost:
                raise UnreadableError("PDF whose pages cannot be read", ", ".join(lost[:3]))
            raise UnreadableError("PDF without text", "pictures of pages need text recognition (OCR) first")
        known = _properties(reader)
        title = known.pop("title", "")
        return Parsed(str(title), list(_sections(texts, _outline(reader))), {**known, "pages": count}, lost)


def _texts(reader: PdfReader, count: int) -> tuple[list[str], tuple[str, ...]]:
    """Return the text of each page, and the names of the pages that cannot be read."""
    texts: list[str] = []
    lost: list[str] = []
    deadline, room = time.thread_time() + MAX_SECONDS, _MAX_CHARS
    for index in range(count):
        try:
            text = _page_text(reader.pages[index], deadline)
        except Exception:  # as above
            text = ""
            lost.append(f"page {index + 1}")
        texts.append(text)
        room -= len(text)
        if time.thread_time() > deadline or room < 0:
            if index + 1 < count:
                lost.append(f"pages {index + 2} to {count} (too long to read)")
            break
    return texts, tuple(lost)


def _page_text(page: PageObject, deadline: float) -> str:
    def look_at_the_time(*_: object) -> None:
        if time.thread_time() > deadline:
            raise TimeoutError

    text = page.extract_text(visitor_operand_before=look_at_the_time)
    text = storable(text).replace("\0", "").replace("\r\n", "\n").replace("\r", "\n")
    return _HYPHENATED.sub("", text)


def _outline(reader: PdfReader) -> list[_Mark]:
    """Return the headings of the outline in the order of the pages; none where it is damaged."""
    marks: list[_Mark] = []
    try:
        waiting: list[tuple[Any, int]] = [(entry, 1) for entry in reversed(reader.outline)]
        while waiting and len(marks) < _MAX_HEADINGS:
            entry, level = waiting.pop()
            if isinstance(entry, list):
                waiting.extend((child, level + 1) for child in reversed(entry))
                continue
            page = reader.get_destination_page_number(entry)
            heading = " ".join(storable(entry.title or "").split())
            if page is not None and page >= 0 and 0 < len(heading) <= MAX_HEADING_CHARS:
                marks.append((page, heading, level))
    except Exception:  # an outline is a help, not the text
        return []
    return sorted(marks, key=lambda mark: mark[0])  # stable: those of one page stay in their order


def _sections(texts: list[str], marks: list[_Mark]) -> Iterator[Section]:
    """Yield the text of each page, cut where the headings of its outline stand; the last heading goes on over the pages."""
    heading, level, next_mark = "", 1, 0
    for index, text in enumerate(texts):
        begin = 0
        while next_mark < len(marks) and marks[next_mark][0] <= index:
            _, title, title_level = marks[next_mark]
            # A heading that is not found word for word begins where the one before it did.
            at = _place(text, title, begin) if marks[next_mark][0] == index else begin
            if text[begin:at].strip():
                yield Section(heading, text[begin:at], 0, False, level, index + 1, named_in_body=True)
            if at == begin and title_level > level and heading:
                # Two headings in a row: the outer one has no text of its own, but the inner one stands under it.
                yield Section(heading, "", 0, False, level, index + 1, named_in_body=True)
            begin, heading, level = at, title, title_level
            next_mark += 1
        if text[begin:].strip():
            yield Section(heading, text[begin:], 0, False, level, index + 1, named_in_body=True)


def _place(text: str, title: str, begin: int) -> int:
    """Return where the words of a heading stand in the text of its page, or `begin`."""
    found = re.compile(r"\s*".join(map(re.escape, title.split())), re.IGNORECASE).search(text, begin)
    return found.start() if found else begin


def _properties(reader: PdfReader) -> dict[str, Scalar | tuple[Scalar, ...]]:
    try:
        info = reader.metadata
        if info is None:
            return {}
        created = info.creation_date
        return plain_values(
            {
                "title": info.title,
                "author": info.author,
                "subject": info.subject,
                "keywords": [word.strip() for word in (info.keywords or "").replace(";", ",").split(",")],
                "created": created.date() if created else None,
            }
        )
    except Exception:  # properties are a help, not the text
        return {}


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep pypdf from writing about every flaw that it got past."""
    logger = logging.getLogger("pypdf")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)
