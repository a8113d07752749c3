"""Documents made of a few hundred invented words; the same arguments give the same documents."""

from __future__ import annotations

import random
from collections.abc import Iterator

from nearfar.sources.cut import Cutting
from nearfar.sources.document import Document

_SYLLABLES = ("ka", "lo", "mi", "ne", "ru", "sa", "ti", "vo", "zu", "pe")
WORDS = tuple(a + b + c for a in _SYLLABLES for b in _SYLLABLES for c in _SYLLABLES[:4])


def made_documents(count: int, *, start: int = 0, words: int = 12) -> Iterator[Document]:
    """Documents `doc-<n>` from `start` on."""
    for number in range(start, start + count):
        rng = random.Random(number)
        text = " ".join(rng.choices(WORDS, k=words))
        yield Document(
            id=f"doc-{number}", title=f"{rng.choice(WORDS)} {number}", text=text, location=f"made.txt:{number}"
        )


PARAGRAPHS = Cutting(words=13, overlap=0)
"""Cuts `made_long_documents` at their paragraphs."""


def made_long_documents(count: int, *, start: int = 0, paragraphs: int = 3) -> Iterator[Document]:
    """Documents `long-<n>` of several paragraphs of 10 words, with metadata: number, kind (one of three), tags, draft."""
    for number in range(start, start + count):
        rng = random.Random(f"long {number}")
        yield Document(
            id=f"long-{number}",
            title=f"{rng.choice(WORDS)} {number}",
            text="\n\n".join(" ".join(rng.choices(WORDS, k=10)) for _ in range(paragraphs)),
            location=f"long-{number}.txt",
            metadata={
                "number": number,
                "kind": ("red", "green", "blue")[number % 3],
                "tags": (f"t{number % 5}", f"t{number % 7}"),
                "draft": number % 2 == 0,
            },
            stamp=f"s{number}",
        )


QUERIES = tuple(" ".join(random.Random(-seed).choices(WORDS, k=4)) for seed in range(1, 9))


def answers(index, k: int = 20) -> list:
    """What an index says to all queries in all modes: equal for indexes that hold the same."""
    return [
        [
            (hit.id, hit.title, hit.text, hit.location, hit.passage, round(hit.score, 5))
            for hit in index.search(query, k, mode)
        ]
        for query in QUERIES
        for mode in ("dense", "keyword", "hybrid")
    ]
