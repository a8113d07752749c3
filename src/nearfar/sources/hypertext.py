"""The readable text of HTML, with its headings; scripts and styles are left out."""

from __future__ import annotations

import re
import time
from html.parser import HTMLParser

from nearfar.sources.document import Scalar
from nearfar.sources.metadata import MAX_VALUE_CHARS
from nearfar.sources.plain import UnreadableError
from nearfar.sources.sections import Parsed, Section

MAX_SECONDS = 30.0
"""Of computing for one page: unclosed tags by the thousand take the square of their number."""
_HEADINGS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
_UNSEEN = frozenset({"script", "style", "template", "svg"})
_BLOCKS = _HEADINGS | frozenset(
    {"address", "article", "aside", "blockquote", "body", "dd", "details", "div", "dl", "dt", "fieldset", "figcaption"}
    | {"figure", "footer", "form", "header", "hr", "html", "li", "main", "nav", "ol", "p", "pre", "section", "summary"}
    | {"table", "tbody", "td", "tfoot", "th", "thead", "tr", "ul"}
)
_META = {
    "author": "author",
    "article:author": "author",
    "description": "description",
    "og:description": "description",
    "keywords": "keywords",
    "date": "date",
    "dcterms.date": "date",
    "article:published_time": "date",
}
_LIST_PARTS = frozenset({"li", "tr", "dt", "dd", "td", "th"})
_BLANK_LINES = re.compile(r"\n{3,}")
_SPACES = re.compile(r"[ \t\n\f\r]+")


def parse_hypertext(text: str) -> Parsed:
    """Cut HTML at its headings (h1 to h6); block elements become paragraphs, list items and table rows lines.

    The title of the file is its `<title>`, else its first heading.

    Raises:
        UnreadableError: a declaration that `html.parser` cannot get past, or tags it would take minutes over.
    """
    reader = _Reader()
    try:
        reader.feed(text)
        reader.close()
    except AssertionError as error:
        raise UnreadableError("malformed HTML", f"line {reader.getpos()[0]}: {error}") from None
    reader.end_section()
    first = next((section.heading for section in reader.sections if section.heading), "")
    return Parsed(" ".join("".join(reader.title).split()) or first, reader.sections, reader.known)


class _Reader(HTMLParser):
    """Collects text into sections while the parser runs over the tags."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.sections: list[Section] = []
        self.title: list[str] = []
        self.known: dict[str, Scalar | tuple[Scalar, ...]] = {}
        self._heading = ""
        self._level = 1
        self._line = 1
        self._body: list[str] = []
        self._heading_parts: list[str] | None = None  # while inside h1 to h6
        self._unseen = 0
        self._preformatted = 0
        self._in_title = False
        self._deadline = time.thread_time() + MAX_SECONDS

    def updatepos(self, i: int, j: int) -> int:
        """Count lines, as the parser does at every step, which is the one place to stop it at."""
        if time.thread_time() > self._deadline:
            raise UnreadableError("HTML that takes too long to read", f"after line {self.getpos()[0]}")
        return super().updatepos(i, j)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _UNSEEN:
            self._unseen += 1
        elif tag == "title":
            self._in_title = not self._unseen
        elif tag == "meta":
            self._learn(dict(attrs))
        elif tag == "br":
            self._body.append("\n")
        elif tag in _BLOCKS:
            self._in_title = False
            self._break(tag)
            if tag == "html" and (language := dict(attrs).get("lang")):
                self.known.setdefault("language", language.strip()[:MAX_VALUE_CHARS])
            if tag == "pre":
                self._preformatted += 1
            if tag in _HEADINGS and not self._unseen:
                self._close_heading()
                self.end_section()
                self._level = int(tag[1])
                self._heading_parts = []

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _UNSEEN:  # <svg/> opens nothing
            self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if tag in _UNSEEN:
            self._unseen = max(0, self._unseen - 1)
        elif tag == "title":
            self._in_title = False
        elif tag in _BLOCKS:
            if tag in _HEADINGS:
                self._close_heading()
            if tag == "pre":
                self._preformatted = max(0, self._preformatted - 1)
            self._break(tag)

    def handle_data(self, data: str) -> None:
        if self._unseen:
            return
        if self._in_title:
            self.title.append(data)
        elif self._heading_parts is not None:
            self._heading_parts.append(data)
        else:
            self._body.append(data if self._preformatted else self._folded(data))

    def end_section(self) -> None:
        """Put what was collected since the last heading into a section."""
        self._close_heading()
        lines = [line.rstrip() for line in "".join(self._body).split("\n")]
        body = _BLANK_LINES.sub("\n\n", "\n".join(lines)).strip()
        self.sections.append(Section(self._heading, body, self._line, verbatim=False, level=self._level))
        self._heading, self._body, self._line = "", [], self.getpos()[0]

    def _learn(self, attributes: dict[str, str | None]) -> None:
        """Keep what a `<meta>` says of the page, where it is of a kind that people search by."""
        name = _META.get((attributes.get("name") or attributes.get("property") or "").strip().lower())
        content = " ".join((attributes.get("content") or "").split())[:MAX_VALUE_CHARS]
        if not name or not content:
            return
        words = tuple(word for part in content.split(",") if (word := part.strip()))
        self.known.setdefault(name, words if name == "keywords" else content)

    def _folded(self, data: str) -> str:
        """Return running text with its white space as single spaces, and none at the start of a line."""
        data = _SPACES.sub(" ", data)
        return data.lstrip(" ") if not self._body or self._body[-1].endswith(("\n", " ")) else data

    def _close_heading(self) -> None:
        if self._heading_parts is not None:
            self._heading = " ".join("".join(self._heading_parts).split())
            self._heading_parts = None

    def _break(self, tag: str) -> None:
        """End the line or, at most once in a row, the paragraph."""
        if self._heading_parts is not None:
            self._heading_parts.append(" ")
        elif self._body and not self._unseen:
            self._body.append("\n" if tag in _LIST_PARTS else "\n\n")
