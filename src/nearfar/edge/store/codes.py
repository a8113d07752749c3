"""Vectors as the store keeps them: an int8 a component behind one scale, in one value of a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nearfar.errors import StoreError
from nearfar.index.quantise import dequantise, int8_scores, quantise_int8

_SCALE = np.dtype("<f4")


class Codes(NamedTuple):
    """Some vectors of the store.

    Attributes:
        rows: int64 (n,).
        codes: int8 (n, d).
        scales: float32 (n,).
    """

    rows: npt.NDArray[np.int64]
    codes: npt.NDArray[np.int8]
    scales: npt.NDArray[np.float32]

    @classmethod
    def none(cls, dim: int) -> Codes:
        """No vectors."""
        return cls(np.empty(0, dtype=np.int64), np.empty((0, dim), dtype=np.int8), np.empty(0, dtype=np.float32))

    def vectors(self) -> npt.NDArray[np.float32]:
        """Float32 (n, d)."""
        return dequantise(self.codes, self.scales)

    def scores(self, query: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Inner products with a query (d,), float32 (n,)."""
        return int8_scores(query, self.codes, self.scales)

    def among(self, allowed: npt.NDArray[np.int64]) -> Codes:
        """Those whose row is one of `allowed`."""
        kept = np.isin(self.rows, allowed)
        return Codes(self.rows[kept], self.codes[kept], self.scales[kept])

    def and_then(self, later: Codes) -> Codes:
        """These and later ones."""
        if not len(self.rows):
            return later
        if not len(later.rows):
            return self
        return Codes(
            np.concatenate([self.rows, later.rows]),
            np.concatenate([self.codes, later.codes]),
            np.concatenate([self.scales, later.scales]),
        )


def packed(vectors: npt.NDArray[np.float32]) -> list[bytes]:
    """Vectors (n, d) as the values of the column `code`."""
    codes, scales = quantise_int8(vectors)
    rows = np.empty((len(codes), _SCALE.itemsize + codes.shape[1]), dtype=np.uint8)
    rows[:, : _SCALE.itemsize] = scales.astype(_SCALE)[:, None].view(np.uint8)
    rows[:, _SCALE.itemsize :] = codes.view(np.uint8)
    return [row.tobytes() for row in rows]


def unpacked(rows: Sequence[tuple[int, bytes]], dim: int) -> Codes:
    """The columns `row` and `code` of the table `vectors` as arrays.

    Raises:
        StoreError: a vector has another length.
    """
    width = _SCALE.itemsize + dim
    joined = b"".join([row[1] for row in rows])
    if len(joined) != len(rows) * width:
        raise StoreError("the index is damaged (a vector has the wrong length); build it again with --rebuild")
    values = np.frombuffer(joined, dtype=np.uint8).reshape(len(rows), width)
    scales = np.ascontiguousarray(values[:, : _SCALE.itemsize]).view(_SCALE)[:, 0]
    return Codes(np.array([row[0] for row in rows], dtype=np.int64), values[:, _SCALE.itemsize :].view(np.int8), scales)
