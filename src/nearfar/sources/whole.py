"""From the sections of a file to one text with passages, each with its heading path and its place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nearfar.sources.cut import Cutting, spans
from nearfar.sources.document import Passage
from nearfar.sources.sections import Parsed, Section

BETWEEN_HEADINGS = " > "


@dataclass(frozen=True, slots=True)
class _Part:
    """Where a section lies in the text that is put together, its headings included, and the line of the file it begins on."""

    section: Section
    heading: str
    begin: int
    end: int
    line: int


def assemble(parsed: Parsed, place: str, cutting: Cutting) -> tuple[str, tuple[Passage, ...]]:
    """Return the readable text of a file, headings included, and its passages; both empty for a file without text.

    Passages are cut inside sections. Headings without text of their own go with the section below them.

    Args:
        parsed: the file.
        place: where a person finds it; a passage whose line is known has `place:line`.
        cutting: how long the passages are.
    """
    texts: list[str] = []
    parts = list(_lay_out(parsed, texts))
    text = "".join(texts)
    passages: list[Passage] = []
    for part in parts:
        line, counted_to = part.line, part.begin
        for begin, end in spans(text, part.begin, part.end, cutting):
            if part.section.verbatim:
                line += text.count("\n", counted_to, begin)
                counted_to = begin
            location = f"{place}:{line}" if part.line else ""
            passages.append(Passage(begin, end, part.heading, location, part.section.page))
    return text, tuple(passages)


def _lay_out(parsed: Parsed, texts: list[str]) -> Iterator[_Part]:
    """Write the sections into `texts`, and yield where each lies.

    As many lines lie between two pieces as in the file, where that is known, so that lines can be counted.
    """
    position = reached = 0  # in the text, and the line of the file where the last piece ends
    outer: list[tuple[int, str]] = []  # level and text of the headings that are open
    waiting: tuple[int, int] | None = None  # where headings without a body begin, and on which line
    last: Section | None = None

    def write(piece: str, line: int) -> int:
        nonlocal position, reached
        if texts:
            between = "\n" * (line - reached if line and 0 < reached < line else 2)
            texts.append(between)
            position += len(between)
        begin = position
        texts.append(piece)
        position += len(piece)
        reached = line + piece.count("\n") if line else 0
        return begin

    for section in parsed.sections:
        outer = [(level, heading) for level, heading in outer if level < section.level]
        if section.heading:
            outer.append((section.level, section.heading))
        begins = waiting
        body = section.body.strip("\n").rstrip()
        alone = section.named_in_body and bool(body) and body == section.heading  # a heading at the foot of a page
        if alone:
            body = ""
        if section.heading.strip() and (alone or not section.named_in_body):
            at = write(section.heading, section.heading_line)
            begins = begins or (at, section.heading_line or section.line)
        if not body.strip():
            waiting, last = begins, section
            continue
        skipped = len(section.body) - len(section.body.lstrip("\n"))
        line = section.line + skipped if section.verbatim and section.line else 0
        begin, first = write(body, line), line or section.line
        yield _Part(
            section,
            _path(outer, parsed.title),
            *((begin, position, first) if begins is None else (begins[0], position, begins[1])),
        )
        waiting = None
    if waiting is not None and last is not None:
        yield _Part(last, _path(outer, parsed.title), waiting[0], position, waiting[1])


def _path(outer: list[tuple[int, str]], title: str) -> str:
    """Return the open headings from the outermost in, without the one that only repeats the title of the file."""
    headings = [heading for _, heading in outer]
    return BETWEEN_HEADINGS.join(headings[1:] if headings[:1] == [title] else headings)
