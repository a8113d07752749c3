"""Vectors of a corpus in a flat file of half precision, written block by block: what a killed run has embedded is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

Halves = npt.NDArray[np.float16]

_ROWS_AT_A_TIME = 256


def write_vectors(path: Path, rows: int, dim: int, embed: Callable[[slice], npt.NDArray[np.float32]]) -> None:
    """Write the vectors of `rows` texts; what an earlier attempt has written is not embedded again.

    Args:
        path: the file; while it is not whole it is called `<path>.part`.
        rows: how many.
        dim: components of a vector.
        embed: gives the vectors (b, dim) of a slice of the texts.
    """
    if path.is_file():
        return
    part = path.with_name(path.name + ".part")
    width = dim * np.dtype(np.float16).itemsize
    with part.open("ab") as file:
        done = min(rows, file.tell() // width)
        # Of a block that was cut off when the run was killed nothing stays: what an encoder makes of a text may depend, in the last
        # bits, on the texts beside it, and a run that goes on is to have the same blocks as one that was not broken off.
        done -= done % _ROWS_AT_A_TIME if done < rows else 0
        file.truncate(done * width)
        for start in range(done, rows, _ROWS_AT_A_TIME):
            block = embed(slice(start, min(rows, start + _ROWS_AT_A_TIME)))
            file.write(np.ascontiguousarray(block, dtype="<f2").tobytes())
            file.flush()
    part.replace(path)


def open_vectors(path: Path, dim: int) -> Halves:
    """The vectors (rows, dim) float16 of a file that `write_vectors` has finished, memory-mapped."""
    if path.stat().st_size == 0:  # an empty file cannot be mapped
        return np.zeros((0, dim), np.float16)
    return np.memmap(path, dtype="<f2", mode="r").reshape(-1, dim)
