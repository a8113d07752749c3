"""What a text file is cut into: sections at its headings, and passages where a section is long."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

MAX_PASSAGE_WORDS = 1000
MAX_HEADING_CHARS = 300
"""What is longer is no heading, whatever it looks like."""

_WORD = re.compile(r"\S+")


@dataclass(frozen=True, slots=True)
class Section:
    """The text under one heading.

    Attributes:
        heading: the heading as plain text; empty for what stands before the first one.
        body: the text up to the next heading; may be blank.
        line: the line of the file, from 1, that `body` starts at.
        verbatim: whether the lines of `body` are lines of the file, so that places inside it can be counted from `line`.
    """

    heading: str
    body: str
    line: int
    verbatim: bool = True


@dataclass(frozen=True, slots=True)
class Parsed:
    """A text file, taken apart.

    Attributes:
        title: the title of the file; empty where it names none.
        sections: in the order of the file.
    """

    title: str
    sections: list[Section]


def cut_at(lines: list[str], headings: list[tuple[int, int, str]], first: int = 0) -> list[Section]:
    """Cut the lines of a file into sections.

    Args:
        lines: the file, without line ends.
        headings: of each heading the index of its first line, the index after its last line, and its text; in order.
        first: the index of the first line that belongs to the text.
    """
    starts = [(first, "")] + [(after, heading) for _, after, heading in headings]
    ends = [begin for begin, _, _ in headings] + [len(lines)]
    return [
        Section(heading, "\n".join(lines[start:end]), start + 1)
        for (start, heading), end in zip(starts, ends, strict=True)
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
    for paragraph_begin, paragraph_end in _paragraphs(body):
        begin, count, last = paragraph_begin, 0, paragraph_begin
        for word in _WORD.finditer(body, paragraph_begin, paragraph_end):
            if count == max_words:
                yield begin, last, count
                begin, count = word.start(), 0
            count += 1
            last = word.end()
        if count:
            yield begin, last, count


def _paragraphs(body: str) -> Iterator[tuple[int, int]]:
    """Yield begin and end of each run of lines that are not blank."""
    begin: int | None = None
    position = 0
    for line in body.split("\n"):
        if not line or line.isspace():
            if begin is not None:
                yield begin, position
            begin = None
        elif begin is None:
            begin = position
        position += len(line) + 1
    if begin is not None:
        yield begin, len(body)
