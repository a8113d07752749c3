"""Passages as sources that can be cited: neighbours joined, numbered, with the place where each stands."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from nearfar.sources.document import Metadata

_LINE = re.compile(r"(.+):([0-9]+)")
_LINES = re.compile(r"(.+):([0-9]+)-[0-9]+")
_LINES_DIFFER = {".csv", ".docx", ".htm", ".html", ".jsonl", ".parquet", ".pdf", ".tsv"}
"""Files in which a line of the text is not a line of the file."""


class Passage(Protocol):
    """A passage as the store keeps it: `text` is `document.text[begin:end]`, and `number` counts within the document."""

    @property
    def id(self) -> str: ...  # noqa: D102
    @property
    def number(self) -> int: ...  # noqa: D102
    @property
    def title(self) -> str: ...  # noqa: D102
    @property
    def heading(self) -> str: ...  # noqa: D102
    @property
    def text(self) -> str: ...  # noqa: D102
    @property
    def location(self) -> str: ...  # noqa: D102
    @property
    def page(self) -> int | None: ...  # noqa: D102
    @property
    def begin(self) -> int: ...  # noqa: D102
    @property
    def end(self) -> int: ...  # noqa: D102
    @property
    def metadata(self) -> Metadata: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Citation:
    """One source: a stretch of a document.

    Attributes:
        number: what an answer refers to it by, from 1.
        id: of the document.
        title: of the document; may be empty.
        heading: that it begins under; may be empty.
        location: where a person finds it, as `path:first-last` where lines are known.
        page: that it begins on, from 1, where the document has pages.
        last_page: that it ends on.
        begin: where it starts in the text of the document, in characters.
        end: where it ends.
        score: of the best passage in it.
        text: of the document from `begin` to `end`; where two passages do not touch, line breaks stand for the blanks
            between them.
        shortened: it was cut at the end to fit.
        metadata: of the document.
    """

    number: int
    id: str
    title: str
    heading: str
    location: str
    page: int | None
    last_page: int | None
    begin: int
    end: int
    score: float
    text: str
    shortened: bool
    metadata: Metadata

    @classmethod
    def of(cls, passages: Sequence[Passage], score: float, number: int = 0) -> Self:
        """Join passages of one document that follow each other; what two of them share appears once.

        Args:
            passages: one or more, in the order of the document.
            score: of the best of them.
            number: what to refer to it by.
        """
        first, last = passages[0], passages[-1]
        text, end = first.text, first.end
        for passage in passages[1:]:
            if passage.end <= end:
                continue
            gap = passage.begin - end
            text += "\n" * min(gap, 2) + passage.text if gap > 0 else passage.text[-gap:]
            end = passage.end
        return cls(
            number=number,
            id=first.id,
            title=first.title,
            heading=first.heading,
            location=_lines(first.location, last.location, last.text),
            page=first.page,
            last_page=last.page,
            begin=first.begin,
            end=end,
            score=score,
            text=text,
            shortened=False,
            metadata=first.metadata,
        )

    def cut_to(self, length: int) -> Self:
        """The same with only the first so many characters of its text."""
        text = self.text[:length]
        lines = _LINES.fullmatch(self.location)
        first = f"{lines[1]}:{lines[2]}" if lines else self.location
        location = _lines(first, first, text)
        return replace(self, text=text, end=self.begin + length, location=location, last_page=self.page, shortened=True)

    def as_prompt(self) -> str:
        """Number, names and place on one line, the text below it."""
        return f"[{self.number}] {' > '.join(self.names)} ({self.place})\n{self.text}{' …' if self.shortened else ''}"

    @property
    def names(self) -> tuple[str, ...]:
        """The title, or else the id, and the heading where that says more."""
        title = self.title or self.id
        return (title, self.heading) if self.heading and self.heading != title else (title,)

    @property
    def place(self) -> str:
        """Location and pages on one line."""
        if self.page is None:
            return self.location or self.id
        pages = f"p. {self.page}" if self.last_page in {None, self.page} else f"pp. {self.page}–{self.last_page}"
        return f"{self.location or self.id}, {pages}"


def runs(passages: Iterable[Passage]) -> list[list[Passage]]:
    """Put passages of one document together that can be read as one.

    Those that touch or overlap can, and so can neighbours under one heading, which only blanks part.

    Args:
        passages: of one document, in any order, each once.

    Returns:
        The groups, each in the order of the document, as they are.
    """
    found: list[list[Passage]] = []
    end = 0
    for passage in sorted(passages, key=lambda each: each.number):
        last = found[-1][-1] if found else None
        if last is not None and (
            passage.begin <= end or (passage.number == last.number + 1 and passage.heading == last.heading)
        ):
            found[-1].append(passage)
            end = max(end, passage.end)
        else:
            found.append([passage])
            end = passage.end
    return found


def _lines(first: str, last: str, text: str) -> str:
    """`path:first-last` for a text that begins at `first`, and whose last passage is `text` and begins at `last`."""
    begin, end = _LINE.fullmatch(first), _LINE.fullmatch(last)
    if not begin or not end or begin[1] != end[1] or PurePath(begin[1]).suffix.lower() in _LINES_DIFFER:
        return first
    bottom = int(end[2]) + text.count("\n")
    return first if bottom <= int(begin[2]) else f"{first}-{bottom}"
