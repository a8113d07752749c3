"""What was measured so far, in a folder, so that one table can come out of several runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class State:
    """Measured values by a path of names; each is a small file, and the last one written counts.

    Args:
        folder: where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, kind: str, key: str, values: Floats | float, *, group: str = "all") -> None:
        """Note the values of a key.

        Args:
            kind: what they are, such as `ndcg` or `mb`.
            key: of what, most often a system.
            values: one a query, or a single one.
            group: most often a collection.
        """
        path = self._folder / kind / group / f"{key}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(np.atleast_1d(np.asarray(values, dtype=np.float64)).tolist()), encoding="utf-8")

    def groups(self, kind: str) -> list[str]:
        """Groups that have values of a kind, in the order of their names."""
        return sorted(path.name for path in (self._folder / kind).glob("*") if path.is_dir())

    def of(self, kind: str, group: str = "all") -> dict[str, Floats]:
        """Key -> values of a kind in a group."""
        files = sorted((self._folder / kind / group).glob("*.json"))
        return {path.stem: np.array(json.loads(path.read_text("utf-8")), dtype=np.float64) for path in files}

    def value(self, kind: str, key: str, group: str = "all") -> float | None:
        """The single value of a key, where it was measured."""
        found = self.of(kind, group).get(key)
        return None if found is None else float(found[0])
