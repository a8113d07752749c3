"""What the store knows about its graph file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class GraphRecord:
    """Which graph file belongs to a state of the store.

    Attributes:
        file: its name in the folder of the index.
        sha256: its digest; a file with another one is not used.
        last_rowid: the graph holds every row up to this one that was there when it was built.
        rows: how many those were.
    """

    file: str
    sha256: str
    last_rowid: int
    rows: int

    @classmethod
    def parse(cls, text: str) -> GraphRecord:
        """Read what `dump` wrote."""
        return cls(**json.loads(text))

    def dump(self) -> str:
        """As one line of JSON."""
        return json.dumps(asdict(self))
