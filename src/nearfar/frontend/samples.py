"""Samples of sound as they come: kinds of numbers, channels, and parts of a recording by seconds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from nearfar.errors import DataError
from nearfar.frontend.item_error import ItemError

Samples = npt.NDArray[np.float32]

MOST_SECONDS = 600.0
"""Longest recording, or part of one, that is decoded."""
MOST_CHANNELS = 64

_LOWEST_RATE, _HIGHEST_RATE = 1000, 768_000


class AudioError(ItemError):
    """One recording cannot be used; who reads many may count by `reason` and go on."""


def check_part(start: float | None, end: float | None) -> None:
    """Refuse seconds that bound no part of any recording.

    Raises:
        AudioError: they do not.
    """
    begin = 0.0 if start is None else start
    if not (math.isfinite(begin) and begin >= 0):
        raise AudioError("start is no second of a recording", f"{begin:g}")
    if end is not None and not (math.isfinite(end) and end > begin):
        raise AudioError("end is not after start", f"from {begin:g} to {end:g} s")


def checked_rate(rate: Any) -> float:
    """A number of samples a second that can be read.

    Raises:
        AudioError: it is out of range.
        DataError: it is no number.
    """
    if isinstance(rate, bool) or not isinstance(rate, (int, float, np.integer, np.floating)):
        raise DataError(f"the rate of an array is {type(rate).__name__}: pass (samples, samples a second)")
    if not _LOWEST_RATE <= rate <= _HIGHEST_RATE:
        raise AudioError("a rate that is not read", f"{rate:g} samples a second; {_LOWEST_RATE} to {_HIGHEST_RATE} are")
    return float(rate)


def mono(array: npt.NDArray[Any]) -> Samples:
    """Mix an array to one channel, and bring whole numbers to [-1, 1).

    Args:
        array: (t,) or (t, channels) of floats, int16, int32 or uint8.

    Returns:
        float32 (t,).

    Raises:
        AudioError: it is of another shape or kind.
    """
    if array.ndim not in (1, 2) or (array.ndim == 2 and not 1 <= array.shape[1] <= MOST_CHANNELS):
        raise AudioError(
            "no array of (t,) or (t, channels)", f"its shape is {array.shape}; at most {MOST_CHANNELS} channels"
        )
    if array.dtype.kind == "f":
        floats = array
    elif array.dtype == np.uint8:
        floats = (array.astype(np.float32) - 128) / np.float32(128)
    elif array.dtype.kind == "i" and array.dtype.itemsize in (2, 4):
        floats = array / np.float64(2.0 ** (8 * array.dtype.itemsize - 1))
    else:
        raise AudioError("samples of a kind that is not read", f"{array.dtype}: use float32, int16, int32 or uint8")
    mixed = floats if floats.ndim == 1 else floats.mean(axis=1, dtype=np.float64)
    return mixed.astype(np.float32, copy=False)


def part(samples: Samples, rate: float, start: float | None, end: float | None) -> Samples:
    """The samples (t,) of a part; see `part_bounds`."""
    first, last = part_bounds(len(samples), rate, start, end)
    return samples[first:last]


def part_bounds(length: int, rate: float, start: float | None, end: float | None) -> tuple[int, int]:
    """The samples of a part: from and to.

    Args:
        length: samples of the whole recording.
        rate: samples a second.
        start: in seconds; None is the beginning.
        end: in seconds, None the end. It may lie beyond that of the recording, as rounded times do.

    Raises:
        AudioError: the recording is empty, the part begins after its end, or is longer than `MOST_SECONDS`.
    """
    first = 0 if start is None else round(start * rate)
    last = length if end is None else min(length, max(round(end * rate), first + 1))
    if not length:
        raise AudioError("holds no samples")
    if first >= length:
        raise AudioError("the part begins after the end", f"at {start:g} s of {length / rate:.3g} s")
    if last - first > MOST_SECONDS * rate:
        raise AudioError(
            "too long",
            f"{(last - first) / rate:,.0f} s; at most {MOST_SECONDS:g} s are decoded: "
            "cut it, or name parts by start and end",
        )
    return first, last
