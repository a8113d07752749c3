"""Cutting a text into passages by its structure: paragraphs, then sentences, then lines, then words; neighbours overlap."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

from nearfar.errors import DataError
from nearfar.sources.document import Document, Passage
from nearfar.sources.sections import paragraphs

Span = tuple[int, int]

# Scripts that are written without spaces, where two characters stand for about one word.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
# At most 64 characters each: what is longer (a minified script, base64) is no word, and has to be cut somewhere too.
_WORD = re.compile(rf"[{_UNSPACED}]{{1,2}}|[^\s{_UNSPACED}]{{1,64}}")
# Bounded, so that a file of nothing but dots is searched in linear time too.
_SENTENCE_END = re.compile(r"[.!?…][\"')\]»”’]{0,3}\s+|[。！？][」』”’]{0,3}\s*")
_LINE_END = re.compile(r"\n\s*")
_SMALL_SHARE = 4  # fewer words than a quarter of a passage are a small one


@dataclass(frozen=True, slots=True)
class Cutting:
    """How texts are cut.

    Attributes:
        words: the most words of a passage (in scripts without spaces two characters count as one).
        overlap: the most words that a passage repeats of the one before it.
    """

    words: int = 220
    overlap: int = 40

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if self.words < 1:
            raise DataError(f"passages of {self.words} words: they need at least one word; 220 suits most encoders")
        if not 0 <= self.overlap < self.words:
            raise DataError(
                f"an overlap of {self.overlap} words in passages of {self.words}: it must be 0 or more and less than "
                "the passage"
            )


def cut(document: Document, cutting: Cutting) -> Document:
    """Return the document with its passages; as it is where somebody has cut it already, or where its text is blank."""
    if document.passages:
        return document
    passages = (Passage(begin, end) for begin, end in spans(document.text, 0, len(document.text), cutting))
    return replace(document, passages=tuple(passages))


def spans(text: str, begin: int, end: int, cutting: Cutting) -> Iterator[Span]:
    """Yield where the passages of `text[begin:end]` begin and end, in order, none blank and none with blank ends.

    Whole paragraphs are put together while they fit; one that is too long is cut at its sentences, those at their
    lines, and those between words. Every character that is not blank is in at least one passage. A passage begins with
    the last whole pieces of the one before, as far as `cutting.overlap` and the room beside its own text allow. The
    time is linear in the length.
    """
    taken: deque[_Piece] = deque()
    count = fresh = 0
    for pieces in _groups(text, begin, end, cutting):
        size = sum(piece.words for piece in pieces)
        # Rather than leave a few words (a heading, the line above a list) alone, begin the next paragraph with them.
        small = 0 < fresh * _SMALL_SHARE < cutting.words
        together = count + size <= cutting.words or not small
        for group in [pieces] if together else [[piece] for piece in pieces]:
            size = sum(piece.words for piece in group)
            if fresh and count + size > cutting.words:
                yield taken[0].begin, taken[-1].end
                count, fresh = _keep(taken, cutting.overlap), 0
            while taken and count + size > cutting.words:
                count -= taken.popleft().words
            taken.extend(group)
            count += size
            fresh += size
    if fresh:
        yield taken[0].begin, taken[-1].end


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part of the text that is never cut."""

    begin: int
    end: int
    words: int


def _keep(taken: deque[_Piece], overlap: int) -> int:
    """Drop pieces from the front until at most `overlap` words are left, and at least one piece fewer; return how many."""
    count = sum(piece.words for piece in taken) - taken.popleft().words
    while count > overlap:
        count -= taken.popleft().words
    return count


def _groups(text: str, begin: int, end: int, cutting: Cutting) -> Iterator[list[_Piece]]:
    """Yield the pieces of each paragraph; those of one that is longer than a passage come one by one."""
    for paragraph_begin, paragraph_end in paragraphs(text, begin, end):
        group: list[_Piece] = []
        count = 0
        for piece in _pieces(text, paragraph_begin, paragraph_end, cutting):
            group.append(piece)
            count += piece.words
            if count > cutting.words:
                yield from ([piece] for piece in group)
                group.clear()
        if group and count > cutting.words:
            yield from ([piece] for piece in group)
        elif group:
            yield group


def _pieces(text: str, begin: int, end: int, cutting: Cutting) -> Iterator[_Piece]:
    """Yield the sentences of a paragraph; of one that is longer than a passage its lines, or else runs of its words."""
    for sentence_begin, sentence_end in _split(text, begin, end, _SENTENCE_END):
        words = _count(text, sentence_begin, sentence_end)
        if words <= cutting.words:
            if words:
                yield _Piece(sentence_begin, sentence_end, words)
            continue
        for line_begin, line_end in _split(text, sentence_begin, sentence_end, _LINE_END):
            words = _count(text, line_begin, line_end)
            if words <= cutting.words:
                if words:
                    yield _Piece(line_begin, line_end, words)
            else:
                # Short runs, so that there is something to overlap by.
                yield from _runs(text, line_begin, line_end, cutting.overlap or cutting.words)


def _split(text: str, begin: int, end: int, at: re.Pattern[str]) -> Iterator[Span]:
    """Yield the parts between the matches; what the match has that is not blank belongs to the part before it."""
    position = begin
    for match in at.finditer(text, begin, end):
        yield _trimmed(text, position, match.end())
        position = match.end()
    yield _trimmed(text, position, end)


def _trimmed(text: str, begin: int, end: int) -> Span:
    while begin < end and text[begin].isspace():
        begin += 1
    while begin < end and text[end - 1].isspace():
        end -= 1
    return begin, end


def _count(text: str, begin: int, end: int) -> int:
    return sum(1 for _ in _WORD.finditer(text, begin, end))


def _runs(text: str, begin: int, end: int, words: int) -> Iterator[_Piece]:
    count, first, last = 0, begin, begin
    for word in _WORD.finditer(text, begin, end):
        if count == words:
            yield _Piece(first, last, count)
            count = 0
        if not count:
            first = word.start()
        count += 1
        last = word.end()
    if count:
        yield _Piece(first, last, count)
