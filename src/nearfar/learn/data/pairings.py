"""What is positive: each rule turns documents into pairs.

The spans rule draws its pairs anew at every training step (see `batches.py`); `span_and_rest` makes the fixed pairs that
held-out documents are measured with.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice

import numpy as np

from nearfar.recipe.data import HeadingSectionPairing, LeadBodyPairing, SpansPairing, TitleBodyPairing
from nearfar.sources import Document, Pair

FixedPairing = LeadBodyPairing | TitleBodyPairing | HeadingSectionPairing

_MOST_SECTIONS = 1_000
_BLANK_LINE = re.compile(r"\n\s*\n")


def files(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """The documents of one file at a time; a source yields the sections of a file one after the other.

    A file of very many sections (or a table whose rows all have one title) comes in several lists: what they share, the
    title, becomes one query again when equal texts are joined.
    """
    for _, sections in groupby(
        documents, key=lambda d: ("file", d.group, d.parent_title) if d.parent_title else ("document", d.id, "")
    ):
        while held := list(islice(sections, _MOST_SECTIONS)):
            yield held


def fixed_pairs(sections: Sequence[Document], pairing: FixedPairing) -> Iterator[tuple[Pair, Document | None]]:
    """All pairs that one rule finds in the sections of one file.

    Yields:
        Each pair, with the document that its texts are parts of; None where its positives are whole documents.
    """
    if isinstance(pairing, TitleBodyPairing):
        for pair in _title_and_bodies(sections):
            yield pair, None
        return
    for section in sections:
        if isinstance(pairing, LeadBodyPairing):
            found = _lead_and_body(section, pairing.min_words)
        else:
            found = _heading_and_section(section)
        if found is not None:
            yield found, section if isinstance(pairing, LeadBodyPairing) else None


def _lead_and_body(document: Document, min_words: int) -> Pair | None:
    parts = _BLANK_LINE.split(document.text.strip(), maxsplit=1)
    if len(parts) < 2:
        return None
    lead, body = " ".join(parts[0].split()), parts[1].strip()
    if len(lead.split()) < min_words or len(body.split()) < min_words:
        return None
    return Pair(lead, (body,), location=document.location, group=document.group)


def _heading_and_section(document: Document) -> Pair | None:
    if not document.title.strip() or not document.text.strip():
        return None
    return Pair(document.title, (document.text,), location=document.location, group=document.group)


def _title_and_bodies(sections: Sequence[Document]) -> Iterator[Pair]:
    first = sections[0]
    title = (first.parent_title or first.title).strip()
    texts = tuple(s.text for s in sections if s.text.strip())
    if title and texts:
        yield Pair(title, texts, location=first.location, group=first.group)


def span_and_rest(text: str, settings: SpansPairing, seed: int) -> tuple[str, str] | None:
    """A run of words of `text`, and the text without it (or whole, as often as `settings.keep` says).

    The same seed and text give the same run. None for texts too short to give a span and leave as much again.
    """
    words = text.split()
    if len(words) < 2 * settings.min_tokens:
        return None
    rng = np.random.default_rng([seed, len(words), *text.encode("utf-8", "surrogatepass")[:64]])
    length = int(rng.integers(settings.min_tokens, min(settings.max_tokens, len(words) // 2) + 1))
    start = int(rng.integers(0, len(words) - length + 1))
    rest = words if rng.random() < settings.keep else [*words[:start], *words[start + length :]]
    return " ".join(words[start : start + length]), " ".join(rest)
