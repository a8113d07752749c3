"""Headings of reStructuredText: a line underlined, and perhaps overlined, with one punctuation character."""

from __future__ import annotations

import re

from nearfar.sources.sections import MAX_HEADING_CHARS, Heading, Parsed, cut_at

_ADORNMENT = re.compile(r"([!-/:-@\[-`{-~])\1*$")
_ROLE = re.compile(r":[\w:+.-]+:`([^`<]*?)\s*(?:<[^`>]*>)?`")
_SHORT = 4  # docutils takes an underline shorter than its title (with a warning) from this length on


def parse_restructured(text: str) -> Parsed:
    """Cut reStructuredText at its section titles; the first one is the title of the file."""
    lines = text.split("\n")
    headings: list[Heading] = []
    styles: list[str] = []  # a level is whatever style of underline comes at that depth
    i = 0
    while i < len(lines):
        length = _heading_lines(lines, i)
        if length:
            style = lines[i + length - 1][0] * (length - 1)
            if style not in styles:
                styles.append(style)
            headings.append(Heading(i, i + length, _plain(lines[i + length - 2]), styles.index(style) + 1))
        i += length or 1
    return Parsed(next((heading.text for heading in headings if heading.text), ""), cut_at(lines, headings))


def _heading_lines(lines: list[str], i: int) -> int:
    """Return how many lines the heading that begins at line `i` has (2, or 3 with an overline); 0 if none begins there."""
    if not _ends_a_block(lines, i):
        return 0
    line = lines[i].rstrip()
    if i + 2 < len(lines) and _is_adornment(line) and lines[i + 2].rstrip() == line:
        title = lines[i + 1].strip()
        if title and not _is_adornment(title) and _covers(line, title):
            return 3
    if i + 1 < len(lines) and line and not line[0].isspace() and not line.startswith(".. ") and not _is_adornment(line):
        underline = lines[i + 1].rstrip()
        if _is_adornment(underline) and _covers(underline, line):
            return 2
    return 0


def _ends_a_block(lines: list[str], i: int) -> bool:
    """Whether a heading may begin at line `i`: at the top, behind a blank line, or right behind another underline."""
    return (
        i == 0
        or not lines[i - 1].strip()
        or (i > 1 and _is_adornment(lines[i - 1].rstrip()) and bool(lines[i - 2].strip()))
    )


def _is_adornment(line: str) -> bool:
    return bool(_ADORNMENT.match(line))


def _covers(adornment: str, title: str) -> bool:
    """Whether `adornment` is long enough to make `title` a heading."""
    return len(adornment) >= min(len(title), _SHORT) and len(title) <= MAX_HEADING_CHARS


def _plain(heading: str) -> str:
    """Return a title without roles and inline marks."""
    return " ".join(_ROLE.sub(r"\1", heading).replace("``", "").replace("`", "").replace("**", "").split())
