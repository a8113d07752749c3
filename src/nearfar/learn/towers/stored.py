"""Vectors of items that no training changes: computed once, and read from then on."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nearfar.errors import RunError
from nearfar.learn.towers.tower import Inputs, Ints

Vectors = npt.NDArray[np.float32]


class StoredVectors:
    """Unit vectors of the items of a tower in a file of half precision.

    Args:
        path: the file (.npy). It may come to be later, by `keep`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def there(self) -> bool:
        """Whether they have been computed."""
        return self.path.is_file()

    def keep(self, items: int, dim: int, parts: Iterable[tuple[Ints, Vectors]]) -> None:
        """Write the vectors; several processes may do so at once.

        Args:
            items: how many.
            dim: components of each.
            parts: places and their vectors (b, dim), of any length; every place comes once.
        """
        part = self.path.with_name(f"{self.path.name}.{os.getpid()}.part")
        file = np.lib.format.open_memmap(part, mode="w+", dtype=np.float16, shape=(items, dim))
        for places, vectors in parts:
            norms = np.linalg.norm(vectors, axis=1, keepdims=True)
            file[places] = vectors / np.maximum(norms, np.finfo(np.float32).tiny)
        file.flush()
        del file
        part.replace(self.path)

    def of(self, numbers: Ints) -> Tensor:
        """Those of some items, (n, dim) float32.

        Raises:
            RunError: they have not been computed, or are gone.
        """
        try:
            found: npt.NDArray[np.float16] = np.load(self.path, mmap_mode="r")
        except OSError as error:
            raise RunError(f"{self.path}: the vectors of a frozen tower are not there: train the run again") from error
        return torch.from_numpy(np.asarray(found[numbers], np.float32))

    def seen(self, numbers: Ints, at_a_time: int) -> Iterator[tuple[Ints, Inputs]]:
        """The same in parts; see `Items.seen`."""
        for first in range(0, len(numbers), at_a_time):
            places = np.arange(first, min(first + at_a_time, len(numbers)))
            yield places, (self.of(numbers[places]),)
