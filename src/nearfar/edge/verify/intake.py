"""A sample on its way in: read once, looked at, embedded, and forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nearfar.edge.encoder import Encoder
from nearfar.edge.verify.quality import check_quality
from nearfar.embedder import Item
from nearfar.errors import DataError

Vectors = npt.NDArray[np.float32]


class Intake:
    """Embeds samples that are good enough.

    Args:
        encoder: of the vault's bundle.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder

    def one(self, sample: Item) -> tuple[Vectors | None, str]:
        """The embedding of a sample, (d,); or None and what is wrong with it."""
        item = _read(sample)
        problem = check_quality(self.encoder.bundle.manifest.frontend, item)
        return (None, str(problem)) if problem else (self.encoder.embed([item])[0], "")

    def all(self, samples: Sequence[Item]) -> tuple[Vectors, list[str], list[str]]:
        """Embeddings of the good samples, (k, d), their names, and what is wrong with the others."""
        vectors = np.empty((len(samples), self.encoder.bundle.manifest.dim), dtype=np.float32)
        names: list[str] = []
        refused: list[str] = []
        for number, sample in enumerate(samples, start=1):
            name = str(sample) if isinstance(sample, (str, Path)) else f"sample {number}"
            vector, problem = self.one(sample)
            if vector is None:
                refused.append(f"{name}: {problem}")
            else:
                vectors[len(names)] = vector
                vector.fill(0)
                names.append(name)
        return vectors[: len(names)], names, refused


def _read(sample: Item) -> Any:
    """The bytes of a file, so that what was found good is what is embedded; anything else as it is."""
    if not isinstance(sample, (str, Path)):
        return sample
    try:
        return Path(sample).read_bytes()
    except OSError as error:
        raise DataError(f"{sample}: cannot be read: {error.strerror or error}; give a file") from error
