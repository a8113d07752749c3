"""Raw pixels as embeddings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nearfar.embedder import Side
from nearfar.evaluate.knn import Vectors


class PixelEmbedder:
    """The baseline that any encoder has to beat: the pixels themselves, each picture less its own mean, at unit length.

    On CIFAR-10 and MNIST this finds better neighbours than pixels as they are, or standardised over the data.

    Args:
        pixels: items -> their pixels, an array (n, ...); what the encoder's own frontend makes of them will do.
        dim: number of pixels times channels.
    """

    def __init__(self, pixels: Callable[[Sequence[Any]], npt.NDArray[Any]], dim: int) -> None:
        self._pixels, self._dim = pixels, dim

    @property
    def dim(self) -> int:
        """Number of pixels times channels."""
        return self._dim

    def embed(self, items: Sequence[Any], side: Side = "document") -> Vectors:
        """(n, dim) float32, rows of unit length; 0 where a picture is of one colour."""
        del side
        if not len(items):
            return np.empty((0, self._dim), dtype=np.float32)
        flat = np.asarray(self._pixels(items), dtype=np.float32).reshape(len(items), -1)
        return at_unit_length(flat - flat.mean(axis=1, keepdims=True))


def at_unit_length(vectors: Vectors) -> Vectors:
    """The same directions (n, d) with length 1; a vector of length 0 stays."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0), dtype=np.float32)
