"""Headings of Markdown (ATX and setext, CommonMark 0.31 sections 4.2 and 4.3) and the title in YAML front matter."""

from __future__ import annotations

import re

from nearfar.sources.document import Scalar
from nearfar.sources.sections import MAX_HEADING_CHARS, Heading, Parsed, cut_at

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
_ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*))?$")
_UNDERLINE = re.compile(r" {0,3}(?:=+|-+)[ \t]*$")
_RULE = re.compile(r" {0,3}([-*_])(?:[ \t]*\1){2,}[ \t]*$")
_OTHER_BLOCK = re.compile(r" {4}|\t| {0,3}(?:[>|]|[-*+][ \t]|\d{1,9}[.)][ \t])")
_LINK = re.compile(r"!?\[([^\[\]]*)\](?:\([^()]*\)|\[[^\[\]]*\])")
_ANCHOR = re.compile(r"\{[#.][^{}]*\}$")


def parse_markdown(text: str) -> Parsed:
    """Cut Markdown at its headings; lines in fenced code are none.

    The title of the file is the `title` of its front matter, else its first heading.
    """
    lines = text.split("\n")
    title, first = _front_matter(lines)
    known = _metadata("\n".join(lines[1 : first - 1])) if first else {}
    lost = ("its front matter, which is not YAML",) if known is None else ()
    headings: list[Heading] = []
    fence = ""
    paragraph: int | None = None  # where the paragraph begins that the line before belongs to
    other = False  # whether the line before belongs to a list item, a quote, a table or indented code
    for i in range(first, len(lines)):
        line = lines[i]
        fenced = _FENCE.match(line)
        if fence:
            if fenced and fenced[1].startswith(fence) and not fenced[2].strip():
                fence = ""
        elif fenced and not (fenced[1][0] == "`" and "`" in fenced[2]):
            fence, paragraph, other = fenced[1], None, False
        elif len(line) <= MAX_HEADING_CHARS and (atx := _ATX.match(line)):
            headings.append(Heading(i, i + 1, _plain(_without_closing(atx[2] or "")), len(atx[1])))
            paragraph, other = None, False
        elif paragraph is not None and _UNDERLINE.match(line):
            heading = " ".join(lines[paragraph:i])
            if len(heading) <= MAX_HEADING_CHARS:
                headings.append(Heading(paragraph, i + 1, _plain(heading), 1 if "=" in line else 2))
            paragraph = None
        elif not line.strip() or _RULE.match(line):
            paragraph, other = None, False
        elif _OTHER_BLOCK.match(line):
            paragraph, other = None, True
        elif paragraph is None and not other:
            paragraph = i
    title = title or next((heading.text for heading in headings if heading.text), "")
    return Parsed(title, cut_at(lines, headings, first), known or {}, lost)


def _front_matter(lines: list[str]) -> tuple[str, int]:
    """Return the title in the YAML front matter, if any, and the index of the first line behind it."""
    if lines[0].rstrip() != "---":
        return "", 0
    end = next((i for i in range(1, len(lines)) if lines[i].rstrip() in ("---", "...")), None)
    if end is None:  # a thematic break
        return "", 0
    for line in lines[1:end]:
        key, colon, value = line.partition(":")
        value = value.strip()
        if colon and key == "title" and value[:1] not in (">", "|"):
            quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
            return (value[1:-1] if quoted else value).strip(), end + 1
    return "", end + 1


def _metadata(front_matter: str) -> dict[str, Scalar | tuple[Scalar, ...]] | None:
    from nearfar.sources.front_matter import (
        metadata_of,  # here, as loading PyYAML costs a search its first milliseconds
    )

    return metadata_of(front_matter)


def _without_closing(heading: str) -> str:
    """Return an ATX heading without its closing sequence of `#`."""
    heading = heading.strip()
    bare = heading.rstrip("#")
    return bare.rstrip() if not bare or bare[-1] in " \t" else heading


def _plain(heading: str) -> str:
    """Return a heading without links, emphasis, code marks and a trailing `{#anchor}`."""
    heading = _LINK.sub(r"\1", _ANCHOR.sub("", heading.strip()))
    return " ".join(heading.replace("`", "").replace("**", "").replace("*", "").split())
