"""Cells of text to numbers, whole columns at once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

MISSING = ("", "nan", "null", "none", "na", "n/a", "#n/a", "-", "?")
"""What a cell may hold instead of a value, in any case."""

_SWITCHES = {"true": 1.0, "false": 0.0}


def is_missing(cell: str) -> bool:
    """Whether a cell says that there is no value."""
    return cell.strip().lower() in MISSING


def number_of(cell: str, decimal: str) -> float:
    """The number that a cell holds, with `decimal` before its fraction; true and false are 1 and 0; NaN for all else."""
    text = cell.strip()
    if text.lower() in _SWITCHES:
        return _SWITCHES[text.lower()]
    if decimal != ".":
        if "." in text:
            return math.nan
        text = text.replace(decimal, ".")
    if "_" in text or not text.isascii():  # both would be fine in Python's own source
        return math.nan
    try:
        return float(text)
    except ValueError:
        return math.nan


def numbers_of(cells: Sequence[str], decimal: str) -> tuple[npt.NDArray[np.float64], Iterator[int]]:
    """Read a column.

    Args:
        cells: n of them.
        decimal: the sign before the fraction.

    Returns:
        float64 (n,), NaN where a value is missing or cannot be read; and the rows of those that cannot be read.
    """
    together = "\n".join(cells)
    if decimal == "." and together.isascii() and "_" not in together:
        try:
            return np.fromiter(map(float, cells), np.float64, len(cells)), iter(())
        except ValueError:
            pass
    values = np.fromiter((number_of(cell, decimal) for cell in cells), np.float64, len(cells))
    return values, (row for row in np.flatnonzero(np.isnan(values)).tolist() if not is_missing(cells[row]))
