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
    """Where a section lies in the text that is put together: its headings from `begin`, its body from `body`."""

    section: Section
    heading: str
    begin: int
    body: int
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
        line, counted_to = part.line, part.body
        for begin, end in spans(text, part.begin, part.end, cutting):
            location = ""
            if part.section.line:
                if part.section.verbatim and begin > counted_to:
                    line += text.count("\n", counted_to, begin)
                    counted_to = begin
                # A passage that opens with its heading is found there, right above the body.
                above = part.section.verbatim and begin < part.body
                location = f"{place}:{max(1, line - 1) if above else line}"
            passages.append(Passage(begin, end, part.heading, location, part.section.page))
    return text, tuple(passages)


def _lay_out(parsed: Parsed, texts: list[str]) -> Iterator[_Part]:
    """Write the sections into `texts`, and yield where each lies."""
    position = 0
    outer: list[tuple[int, str]] = []  # level and text of the headings that are open
    waiting: int | None = None  # where headings without a body begin
    last: Section | None = None

    def write(piece: str) -> int:
        nonlocal position
        if texts:
            texts.append("\n\n")
            position += 2
        begin = position
        texts.append(piece)
        position += len(piece)
        return begin

    for section in parsed.sections:
        outer = [(level, heading) for level, heading in outer if level < section.level]
        if section.heading:
            outer.append((section.level, section.heading))
        begin = waiting
        body = section.body.strip("\n").rstrip()
        alone = section.named_in_body and bool(body) and body == section.heading  # a heading at the foot of a page
        if alone:
            body = ""
        if section.heading.strip() and (alone or not section.named_in_body):
            at = write(section.heading)
            begin = at if begin is None else begin
        if not body.strip():
            waiting, last = begin, section
            continue
        at = write(body)
        skipped = len(section.body) - len(section.body.lstrip("\n"))
        line = section.line + (skipped if section.verbatim else 0)
        yield _Part(section, _path(outer, parsed.title), at if begin is None else begin, at, position, line)
        waiting = None
    if waiting is not None and last is not None:
        yield _Part(last, _path(outer, parsed.title), waiting, position, position, last.line)


def _path(outer: list[tuple[int, str]], title: str) -> str:
    """Return the open headings from the outermost in, without the one that only repeats the title of the file."""
    headings = [heading for _, heading in outer]
    return BETWEEN_HEADINGS.join(headings[1:] if headings[:1] == [title] else headings)
