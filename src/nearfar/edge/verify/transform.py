"""A rotation by a key: what makes a template useless with another key, and renewable.

Three times over: random signs, a random order, and two Walsh-Hadamard transforms, one over the first 2^k coordinates and one over
the last 2^k, where 2^k is the largest power of two that fits. Each of these steps is orthogonal, so the whole is, for any number of
coordinates, and no matrix is kept. All randomness is SHAKE256 of the seed, and all arithmetic adds and multiplies one by one in
float64: the same seed gives the same rotation on every platform and with every version of numpy.

Source: Ailon and Chazelle, The fast Johnson-Lindenstrauss transform, 2009; Teoh et al., BioHashing, 2004, for the use of it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]

_ROUNDS = 3
_LABEL = b"nearfar keyed transform 1"
_WORD = 8  # bytes: a word a coordinate gives its sign by the lowest bit and its place by the others


class KeyedTransform:
    """An orthogonal transform that the seed alone decides, of which the first components are kept.

    Args:
        seed: random bytes; 32 of them where it is to be a secret.
        dim: of the vectors.
        components: to keep, at most `dim`.

    Raises:
        ValueError: `components` is out of range.
    """

    def __init__(self, seed: bytes, dim: int, components: int) -> None:
        _check(dim, components)
        self.dim, self.components = dim, components
        self._signs, self._places = _draw([seed], dim)

    def apply(self, vectors: Vectors) -> Vectors:
        """Rotate vectors and keep the first components.

        Args:
            vectors: (n, d).

        Returns:
            float32 (n, L). With L = d inner products are kept; with fewer they are estimated.
        """
        return _rotate(np.asarray(vectors), self._signs, self._places)[:, : self.components].astype(np.float32)


def apply_each(seeds: Sequence[bytes], vector: Vectors, components: int) -> Vectors:
    """Rotate one vector by many keys at once, as `KeyedTransform(seed, d, components).apply` does one by one.

    Args:
        seeds: N of them.
        vector: (d,).
        components: to keep, at most d.

    Returns:
        float32 (N, L).

    Raises:
        ValueError: `components` is out of range.
    """
    _check(len(vector), components)
    signs, places = _draw(seeds, len(vector))
    return _rotate(np.asarray(vector)[None], signs, places)[:, :components].astype(np.float32)


def _check(dim: int, components: int) -> None:
    if not 1 <= components <= dim:
        raise ValueError(f"components must be from 1 to the {dim} of a vector, not {components}")


def _draw(seeds: Sequence[bytes], dim: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Signs, float64 (N, rounds, d), and orders, int64 (N, rounds, d)."""
    size = _ROUNDS * dim * _WORD
    drawn = b"".join(hashlib.shake_256(_LABEL + dim.to_bytes(4, "big") + seed).digest(size) for seed in seeds)
    words = np.frombuffer(drawn, dtype="<u8").reshape(len(seeds), _ROUNDS, dim)
    signs = 1.0 - 2.0 * (words & np.uint64(1)).astype(np.float64)
    # Words that are alike are not to be expected; a stable sort settles them in the same way everywhere.
    return signs, np.argsort(words >> np.uint64(1), axis=-1, kind="stable").astype(np.int64)


def _rotate(
    vectors: npt.NDArray[np.floating], signs: npt.NDArray[np.float64], places: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Rotate (n, d) by (1, rounds, d), or (1, d) by (n, rounds, d)."""
    dim = vectors.shape[1]
    width = 1 << (dim.bit_length() - 1)
    scale = 1.0 / math.sqrt(width)
    rotated = vectors.astype(np.float64)
    for number in range(_ROUNDS):
        rotated = rotated * signs[:, number]
        order = np.broadcast_to(places[:, number], rotated.shape)
        rotated = np.take_along_axis(rotated, order, axis=1)
        rotated[:, :width] = _walsh_hadamard(rotated[:, :width]) * scale
        if width < dim:
            rotated[:, dim - width :] = _walsh_hadamard(rotated[:, dim - width :]) * scale
    return rotated


def _walsh_hadamard(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The transform of each row, (n, 2^k), not scaled."""
    count, width = rows.shape
    half = 1
    while half < width:
        pairs = rows.reshape(count, width // (2 * half), 2, half)
        first, second = pairs[:, :, 0], pairs[:, :, 1]
        rows = np.stack([first + second, first - second], axis=2).reshape(count, width)
        half *= 2
    return rows
