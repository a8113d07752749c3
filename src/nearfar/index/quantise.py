"""Vectors as one signed byte a component, with one scale a vector."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_BLOCK_ROWS = 4096


def quantise_int8(vectors: npt.ArrayLike) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Round every vector to int8, using the whole range -127 to 127 for its largest component.

    One scale a vector (not one for all, and not x127 of a unit vector, which would use a fraction of the range) keeps
    the error below half a step of the vector's own largest component.

    Args:
        vectors: (n, d), finite.

    Returns:
        Codes int8 (n, d) and scales float32 (n,), such that `codes * scales[:, None]` is close to `vectors`.
        A vector of zeros gets scale 0.

    Raises:
        ValueError: not two-dimensional, or a component is not finite.
    """
    values = np.asarray(vectors, dtype=np.float32)
    if values.ndim != 2:
        raise ValueError(f"vectors must be (n, d), got an array of shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("vectors hold NaN or infinity; they cannot be quantised")
    largest = np.abs(values).max(axis=1, initial=0.0)
    steps = np.divide(127.0, largest, out=np.zeros_like(largest), where=largest > np.finfo(np.float32).tiny)
    codes = np.rint(values * steps[:, None]).astype(np.int8)
    return codes, np.where(steps > 0, largest / np.float32(127.0), np.float32(0.0)).astype(np.float32)


def dequantise(codes: npt.NDArray[np.int8], scales: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Undo `quantise_int8`: codes int8 (n, d) and scales (n,) to float32 (n, d)."""
    return codes.astype(np.float32) * scales[:, None]


def int8_scores(
    query: npt.NDArray[np.float32], codes: npt.NDArray[np.int8], scales: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Inner products of one float query with quantised vectors, block by block.

    The codes are widened to float32 in blocks that stay in the processor's cache, so that 40,000 x 256 codes never
    become 40 MB of floats.

    Args:
        query: float32 (d,).
        codes: int8 (n, d).
        scales: float32 (n,).

    Returns:
        float32 (n,).
    """
    scores = np.empty(len(codes), dtype=np.float32)
    for start in range(0, len(codes), _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        np.matmul(codes[block].astype(np.float32), query, out=scores[block])
    scores *= scales
    return scores
