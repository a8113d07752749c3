"""Pictures squashed to squares of one size, one after the other in one file, and what is measured of them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from nearfar.frontend.image import resize
from nearfar.recipe.images import ImageFrontendSettings

Ints = npt.NDArray[np.int64]
Pixels = npt.NDArray[Any]
"""(h, w, c), uint8, uint16 or float32."""

LOOKED_AT = 64
"""Pictures that say how large all of them are prepared, and in which number format."""

_ROOM_FOR_CROPS = 1.5  # a crop of less than half of the area still has a pixel for each of the view's
_MEASURED = 10_000  # pictures that mean and deviation are taken over


class StoredPictures(Protocol):
    """Pictures by number, as they lie on disk."""

    @property
    def pixels(self) -> npt.NDArray[Any]:
        """(n, c, S, S), squashed to squares; in [0, 1] as fractions of the largest number of their format."""
        ...

    @property
    def aspects(self) -> npt.NDArray[np.float32]:
        """(n,) width / height that each picture had."""
        ...


def wanted_size(frontend: ImageFrontendSettings) -> int:
    """Height and width that pictures are stored with if they are as large."""
    return frontend.store_size or round(_ROOM_FOR_CROPS * frontend.size)


def store_format(first: Sequence[Pixels], frontend: ImageFrontendSettings) -> tuple[int, np.dtype[Any]]:
    """Height and width that pictures are stored with, and their number format, by the first few of them."""
    wanted = wanted_size(frontend)
    size = frontend.store_size or min(wanted, max((min(p.shape[:2]) for p in first), default=wanted))
    return size, np.result_type(*(p.dtype for p in first)) if first else np.dtype(np.uint8)


def square(pixels: Pixels, size: int, dtype: np.dtype[Any]) -> Pixels:
    """A picture squashed to (c, size, size)."""
    return np.ascontiguousarray(resize(_as(pixels, dtype), size, size).transpose(2, 0, 1))


def aspect_of(pixels: Pixels) -> float:
    """Width / height of a picture (h, w, c)."""
    return float(pixels.shape[1] / pixels.shape[0])


class PictureWriter(AbstractContextManager["PictureWriter"]):
    """Appends pictures to a file. Their size and number format are settled by the first `LOOKED_AT`, or by all where there are fewer.

    Args:
        path: the file; an unfinished earlier one is overwritten.
        frontend: how large pictures are.

    Attributes:
        size: height and width of each in the file; settled when the writer is left.
        dtype: of their numbers, likewise.
        aspects: width / height that each had.
    """

    def __init__(self, path: Path, frontend: ImageFrontendSettings) -> None:
        self._file, self._frontend = path.open("wb"), frontend
        self._waiting: list[Pixels] = []
        self._settled = False
        self.size, self.dtype = store_format((), frontend)
        self.aspects: list[float] = []

    def add(self, pixels: Pixels) -> None:
        """Store one picture (h, w, c)."""
        self.aspects.append(aspect_of(pixels))
        self._waiting.append(pixels)
        if self._settled or len(self._waiting) == LOOKED_AT:
            self._write()

    def _write(self) -> None:
        if not self._settled:
            (self.size, self.dtype), self._settled = store_format(self._waiting, self._frontend), True
        for pixels in self._waiting:
            self._file.write(square(pixels, self.size, self.dtype).tobytes())
        self._waiting = []

    def close(self) -> None:
        """Write what waits."""
        if not self._file.closed:
            self._write()
            self._file.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        self._file.close()


def open_pixels(path: Path, shape: tuple[int, int, int, int], dtype: str | np.dtype[Any]) -> npt.NDArray[Any]:
    """The pictures (n, c, S, S) of a file, memory-mapped."""
    if shape[0] == 0:  # an empty file cannot be mapped
        return np.zeros(shape, dtype)
    return np.memmap(path, dtype=dtype, mode="r", shape=shape)


def moments(pixels: npt.NDArray[Any], numbers: Ints, seed: int) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel over (a sample of) some pictures, in [0, 1].

    Args:
        pixels: (n, c, S, S).
        numbers: which of them.
        seed: of the sample.
    """
    if len(numbers) > _MEASURED:
        numbers = np.sort(np.random.default_rng([seed, 5]).permutation(numbers)[:_MEASURED])
    scale = np.iinfo(pixels.dtype).max if np.issubdtype(pixels.dtype, np.integer) else 1.0
    count, total, squares = 0, np.zeros(pixels.shape[1]), np.zeros(pixels.shape[1])
    for first in range(0, len(numbers), 256):
        block = pixels[numbers[first : first + 256]].astype(np.float64) / scale
        count += block.shape[0] * block.shape[2] * block.shape[3]
        total += block.sum(axis=(0, 2, 3))
        squares += np.square(block).sum(axis=(0, 2, 3))
    mean = total / max(1, count)
    std = np.sqrt(np.maximum(squares / max(1, count) - np.square(mean), 0.0))
    return mean.tolist(), std.tolist()


def _as(pixels: Pixels, dtype: np.dtype[Any]) -> Pixels:
    """The same picture in another number format: a fraction of the largest number stays that fraction."""
    if pixels.dtype == dtype:
        return pixels
    largest = {np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65535.0}
    fractions = pixels.astype(np.float32) / largest.get(pixels.dtype, 1.0)
    if dtype not in largest:
        return fractions
    scaled: Pixels = np.rint(fractions.clip(0, 1) * largest[dtype]).astype(dtype)
    return scaled
