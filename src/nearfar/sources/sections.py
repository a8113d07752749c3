"""What a text file is cut into: sections at its headings, and passages where a section is long."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from nearfar.sources.document import Scalar

MAX_PASSAGE_WORDS = 1000
MAX_HEADING_CHARS = 300
"""What is longer is no heading, whatever it looks like."""

_WORD = re.compile(r"\S+")


class Heading(NamedTuple):
    """A heading in the lines of a file.

    Attributes:
        begin: the index of its first line.
        end: the index after its last line.
        text: what it says.
        level: 1 for the topmost headings.
    """

    begin: int
    end: int
    text: str
    level: int = 1


@dataclass(frozen=True, slots=True)
class Section:
    """The text under one heading.

    Attributes:
        heading: the heading as plain text; empty for what stands before the first one.
        body: the text up to the next heading; may be blank.
        line: the line of the file, from 1, that `body` starts at; 0 where the file has no lines.
        verbatim: whether the lines of `body` are lines of the file, so that places inside it can be counted from `line`.
        level: 1 for the topmost headings; a heading stands under the last one before it with a lower level.
        page: the page, from 1, where the file has pages.
        heading_line: the line of the file that the heading stands on; 0 where that is not known.
        named_in_body: whether `body` itself says what `heading` says (the first line of a function).
    """

    heading: str
    body: str
    line: int
    verbatim: bool = True
    level: int = 1
    page: int | None = None
    named_in_body: bool = False
    heading_line: int = 0


@dataclass(frozen=True, slots=True)
class Parsed:
    """A file, taken apart.

    Attributes:
        title: the title of the file; empty where it names none.
        sections: in the order of the file.
        metadata: what else the file says of itself (author, language).
        lost: the parts that could not be read, such as `page 3`.
    """

    title: str
    sections: list[Section]
    metadata: Mapping[str, Scalar | tuple[Scalar, ...]] = field(default_factory=dict)
    lost: tuple[str, ...] = ()


def cut_at(lines: list[str], headings: list[Heading], first: int = 0) -> list[Section]:
    """Cut the lines of a file into sections.

    Args:
        lines: the file, without line ends.
        headings: in order.
        first: the index of the first line that belongs to the text.
    """
    opening = Heading(first, first, "")
    ends = [heading.begin for heading in headings] + [len(lines)]
    return [
        Section(
            heading.text,
            "\n".join(lines[heading.end : end]),
            heading.end + 1,
            level=heading.level,
            heading_line=heading.begin + 1 if heading.text else 0,
        )
        for heading, end in zip([opening, *headings], ends, strict=True)
    ]


def passages(body: str, line: int, max_words: int = MAX_PASSAGE_WORDS) -> Iterator[tuple[str, int]]:
    """Yield the passages of a section and the line each starts at; none for a blank section.

    Whole paragraphs are put together while they have at most `max_words` words; a single paragraph with more is cut
    between words.
    """
    begin, end, count = 0, 0, 0
    counted, counted_to = line, 0

    def passage() -> tuple[str, int]:
        nonlocal counted, counted_to
        counted += body.count("\n", counted_to, begin)
        counted_to = begin
        return body[begin:end].strip("\n").rstrip(), counted

    for piece_begin, piece_end, words in _pieces(body, max_words):
        if count and count + words > max_words:
            yield passage()
            count = 0
        if not count:
            begin = piece_begin
        end = piece_end
        count += words
    if count:
        yield passage()


def _pieces(body: str, max_words: int) -> Iterator[tuple[int, int, int]]:
    """Yield begin, end and number of words of each paragraph, or of its parts where it is longer than `max_words`."""
    for paragraph_begin, paragraph_end in paragraphs(body, 0, len(body)):
        begin, count, last = paragraph_begin, 0, paragraph_begin
        for word in _WORD.finditer(body, paragraph_begin, paragraph_end):
            if count == max_words:
                yield begin, last, count
                begin, count = word.start(), 0
            count += 1
            last = word.end()
        if count:
            yield begin, last, count


def paragraphs(text: str, begin: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield begin and end of each run of lines of `text[begin:end]` that are not blank."""
    first: int | None = None
    position = begin
    while position < end:
        line_end = text.find("\n", position, end)
        if line_end < 0:
            line_end = end
        if text[position:line_end].strip():
            if first is None:
                first = position
        elif first is not None:
            yield first, position - 1
            first = None
        position = line_end + 1
    if first is not None:
        yield first, end
