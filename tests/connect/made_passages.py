"""Passages in memory, as an index gives them to a push."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np

from nearfar.edge.store.codes import Codes
from nearfar.edge.store.reader import StoredPassage
from nearfar.index.quantise import quantise_int8
from nearfar.sources.document import Metadata


class MadePassages:
    """Some passages with random unit vectors; the same words and metadata for the same number."""

    def __init__(self, count: int, *, dim: int = 16, bundle: str = "b" * 64, metadata: Sequence[Metadata] = ()) -> None:
        self.dim = dim
        self.bundle_digest = bundle
        self.stored = [_made(number, metadata) for number in range(count)]
        vectors = np.random.default_rng(0).standard_normal((count, dim)).astype(np.float32)
        self.codes, self.scales = quantise_int8(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))

    def passages_after(self, row: int, limit: int) -> list[StoredPassage]:
        return [passage for passage in self.stored if passage.row > row][:limit]

    def codes_of(self, rows: Sequence[int]) -> Codes:
        places = np.array(rows, dtype=np.int64) - 1
        return Codes(places + 1, self.codes[places], self.scales[places])


def _made(number: int, metadata: Sequence[Metadata]) -> StoredPassage:
    rng = random.Random(number)
    text = " ".join(rng.choices(("alpha", "beta", "gamma", "delta", "o'clock", "back\\slash", "ünï", "_x_"), k=8))
    return StoredPassage(
        row=number + 1,
        id=f"doc-{number // 2}",
        number=number % 2 + 1,
        title=f"Title {number // 2}",
        heading=f"Part {number % 2}",
        text=text,
        location=f"made.txt:{number}",
        page=number if number % 3 else None,
        begin=0,
        end=len(text),
        metadata=metadata[number % len(metadata)] if metadata else {},
    )
