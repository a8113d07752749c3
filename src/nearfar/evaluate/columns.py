"""The columns of a row as they are, as an embedding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nearfar.embedder import Side
from nearfar.evaluate.knn import Vectors
from nearfar.evaluate.pixels import at_unit_length

Features = Callable[[Sequence[Any]], tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]]


class ColumnEmbedder:
    """The baseline that any encoder of rows has to beat: one number for each category, and the scaled numbers, at unit length.

    Args:
        features: rows -> values float32 (n, F) and codes int64 (n, F), as the encoder's own frontend makes them.
        widths: F numbers, how many codes each feature has.
    """

    def __init__(self, features: Features, widths: Sequence[int]) -> None:
        self._features, self._widths = features, tuple(widths)
        self._first = np.cumsum([0, *self._widths[:-1]])

    @property
    def dim(self) -> int:
        """Values and codes together."""
        return len(self._widths) + sum(self._widths)

    def embed(self, items: Sequence[Any], side: Side = "document") -> Vectors:
        """(n, dim) float32, rows of unit length."""
        del side
        values, codes = self._features(items)
        return at_unit_length(self.plain(values, codes))

    def plain(self, values: npt.NDArray[np.float32], codes: npt.NDArray[np.int64]) -> Vectors:
        """(n, dim) float32 of features, not brought to unit length: what a linear model is fitted on."""
        one_hot = np.zeros((len(codes), sum(self._widths)), np.float32)
        np.put_along_axis(one_hot, codes + self._first, 1.0, axis=1)
        return np.concatenate([values, one_hot], axis=1)
