"""Made vectors of any number: a normalised mixture with about 32 intrinsic dimensions, as embeddings have."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nearfar.index.exact import exact_search

INTRINSIC = 32
_ROWS = 50_000
_OF_A_CLUSTER = 200
_SPREAD, _NOISE = 0.7, 0.15

Vectors = npt.NDArray[np.float32]


class Mixture(NamedTuple):
    """Vectors to search among, and queries from the same mixture that are none of them.

    Attributes:
        vectors: float32 (n, d), rows of unit length, mapped from a file.
        queries: float32 (q, d), rows of unit length.
        nearest: rows of the ten nearest vectors of each query, by exact float32 inner products, int64 (q, 10).
    """

    vectors: Vectors
    queries: Vectors
    nearest: npt.NDArray[np.int64]


def mixture(folder: Path, count: int, dim: int, queries: int, *, seed: int = 0) -> Mixture:
    """Draw the vectors into `folder`, or find them there; the same numbers give the same vectors."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{name}-{count}-{dim}-{queries}.npy" for name in ("vectors", "queries", "nearest")]
    if not files[-1].exists():
        rng = np.random.default_rng(seed)
        spread = rng.standard_normal((INTRINSIC, dim)).astype(np.float32) / np.float32(np.sqrt(INTRINSIC))
        centres = rng.standard_normal((max(100, count // _OF_A_CLUSTER), INTRINSIC)).astype(np.float32)
        vectors = np.lib.format.open_memmap(files[0], mode="w+", dtype=np.float32, shape=(count, dim))
        for start in range(0, count, _ROWS):
            part = vectors[start : start + _ROWS]
            part[:] = _drawn(rng, centres, spread, len(part))
        asked = _drawn(rng, centres, spread, queries)
        np.save(files[1], asked)
        np.save(files[2], exact_search(asked, vectors, 10)[1])
    return Mixture(np.load(files[0], mmap_mode="r"), np.load(files[1]), np.load(files[2]))


def _drawn(rng: np.random.Generator, centres: Vectors, spread: Vectors, count: int) -> Vectors:
    inner = centres[rng.integers(len(centres), size=count)]
    inner = inner + np.float32(_SPREAD) * rng.standard_normal(inner.shape).astype(np.float32)
    noise = np.float32(_NOISE) * rng.standard_normal((count, spread.shape[1])).astype(np.float32)
    vectors = inner @ spread + noise
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
