"""What the store knows about the files that are derived from it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal

Derived = Literal["signs", "graph", "postings"]
"""What a file holds: one bit a component of every vector, a graph over the vectors, or the words of every passage."""


@dataclass(frozen=True, slots=True)
class DerivedRecord:
    """Which file belongs to a state of the store.

    Attributes:
        kind: what it holds.
        file: its name in the folder of the index.
        bytes: its size; a file of another size is not used.
        sha256: its digest, which `nearfar doctor` compares.
        last_row: it covers every row up to this one that was there when it was made.
        rows: how many those were.
    """

    kind: Derived
    file: str
    bytes: int
    sha256: str
    last_row: int
    rows: int

    @classmethod
    def parse(cls, text: str) -> DerivedRecord:
        """Read what `dump` wrote."""
        return cls(**json.loads(text))

    def dump(self) -> str:
        """As one line of JSON."""
        return json.dumps(asdict(self))
