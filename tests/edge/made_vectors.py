"""Unit vectors that lie together in groups, as embeddings of text do."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def mixture(count: int, seed: int, *, dim: int = 48) -> npt.NDArray[np.float32]:
    """Vectors (count, dim) of 50 groups; every seed draws others of the same groups."""
    shared, rng = np.random.default_rng(99), np.random.default_rng(seed)
    centres, basis = shared.standard_normal((50, dim)), shared.standard_normal((24, dim))
    vectors = centres[rng.integers(0, 50, count)] + 0.5 * rng.standard_normal((count, 24)) @ basis
    vectors += 0.3  # embeddings are seldom centred on nothing
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def recall(found: npt.NDArray[np.int64], expected: npt.NDArray[np.int64]) -> float:
    """Mean share of each row of `expected` (q, k) that is in the same row of `found`."""
    return float(
        np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found.tolist(), expected.tolist(), strict=True)])
    )
