"""Labelled pictures in memory: the public sets as they lie in the data folder, or made ones where there is none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nearfar.errors import DataError


@dataclass(frozen=True)
class LabelledPictures:
    """Pictures of one size with their labels.

    Attributes:
        train: (m, h, w, c) uint8.
        train_labels: (m,) int64, 0 to classes - 1.
        test: (n, h, w, c) uint8.
        test_labels: (n,) int64.
        classes: how many labels there are.
    """

    train: npt.NDArray[np.uint8]
    train_labels: npt.NDArray[np.int64]
    test: npt.NDArray[np.uint8]
    test_labels: npt.NDArray[np.int64]
    classes: int = 10


def load(folder: Path, *, channels: int, train: int | None = None, test: int | None = None) -> LabelledPictures:
    """Decode `train.parquet` and `test.parquet` with columns `image` (encoded bytes) and `label`.

    Args:
        folder: such as `DATA/cifar10` or `DATA/mnist`.
        channels: 1 or 3.
        train: only the first so many training pictures; they are in no order of label.
        test: only the first so many test pictures.

    Raises:
        DataError: a file is not there.
    """
    parts = [_part(folder / f"{name}.parquet", channels, count) for name, count in (("train", train), ("test", test))]
    (pictures, labels), (others, their_labels) = parts
    return LabelledPictures(pictures, labels, others, their_labels, int(max(labels.max(), their_labels.max())) + 1)


def made(count: int, *, size: int = 32, channels: int = 3, classes: int = 10, seed: int = 0) -> LabelledPictures:
    """Pictures of soft spots whose places and colours tell the label: enough to see that a program runs."""
    rng = np.random.default_rng(seed)
    places, colours = rng.uniform(0.2, 0.8, (classes, 3, 2)), rng.uniform(0, 255, (classes, 3, channels))
    grid = np.stack(np.meshgrid(*[np.linspace(0, 1, size)] * 2, indexing="ij"), axis=-1)

    def some(n: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        labels = rng.integers(classes, size=n)
        moved = places[labels] + rng.normal(0, 0.05, (n, 3, 2))
        spots = np.exp(-np.square(grid[None, :, :, None] - moved[:, None, None]).sum(axis=-1) / 0.02)
        pixels = np.einsum("nhws,nsc->nhwc", spots, colours[labels]) + rng.normal(0, 20, (n, size, size, channels))
        return pixels.clip(0, 255).astype(np.uint8), labels

    return LabelledPictures(*some(count), *some(max(1, count // 5)), classes)


def _part(path: Path, channels: int, count: int | None) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    import pyarrow.parquet as pq

    from nearfar.frontend.decoding import decode

    if not path.exists():
        raise DataError(f"{path} does not exist; --data names the folder that has {path.parent.name}/{path.name}")
    table = pq.read_table(path, columns=["image", "label"])
    table = table.slice(0, count if count is not None else table.num_rows)
    pictures = np.stack([decode(encoded.as_py(), channels) for encoded in table["image"]])
    return pictures.astype(np.uint8, copy=False), np.asarray(table["label"].to_numpy(), dtype=np.int64)
