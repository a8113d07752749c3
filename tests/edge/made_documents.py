"""Documents made of a few hundred invented words; the same arguments give the same documents."""

from __future__ import annotations

import random
from collections.abc import Iterator

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


QUERIES = tuple(" ".join(random.Random(-seed).choices(WORDS, k=4)) for seed in range(1, 9))


def answers(index, k: int = 20) -> list:
    """What an index says to all queries in all modes: equal for indexes that hold the same."""
    return [
        [(hit.id, hit.title, hit.text, hit.location, round(hit.score, 5)) for hit in index.search(query, k, mode)]
        for query in QUERIES
        for mode in ("dense", "keyword", "hybrid")
    ]
