"""What every tower offers to preparation, training and export, so that these know nothing of texts or pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from nearfar.frontend.settings import AudioSettings, ImageSettings, SeriesSettings, TableSettings, TextSettings

Ints = npt.NDArray[np.int64]

Inputs = tuple[Tensor, ...]
"""What an encoder of a tower takes of n items: one tensor or several, the first axis of each counts items."""

TowerFrontend = TextSettings | ImageSettings | AudioSettings | SeriesSettings | TableSettings


class RefusedItem(Exception):  # noqa: N818 - caught and counted, it is no failure
    """An item that cannot be used: one half of a pair is missing then.

    Args:
        reason: one of few, as reasons are counted.
        detail: what differs from item to item.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason} ({detail})" if detail else reason)
        self.reason, self.detail = reason, detail


class ItemWriter(Protocol):
    """Takes the items of a tower while the tables are read."""

    def add(self, content: Any, location: str) -> int:
        """Keep one item, if it is not there yet.

        Args:
            content: a text; a path, bytes or an array of a picture or a recording; the path of a file of samples; a mapping of columns
                to cells.
            location: where it stands, as `path:line`.

        Returns:
            Its number: items of equal content have the same.

        Raises:
            RefusedItem: it is damaged, empty or none of what the tower takes.
        """
        ...

    def finish(self, training: Ints) -> None:
        """Fit what is learned of the items themselves (vocabulary, mean and deviation, scales), and write all to disk.

        Args:
            training: the numbers of the items that are trained on, ascending.

        Raises:
            DataError: there is nothing to fit to.
            RunError: a pretrained model or bundle is not there, or does not fit.
        """
        ...


class Items(Protocol):
    """The items of one tower on disk, as `ItemWriter.finish` left them."""

    def __len__(self) -> int: ...

    @property
    def keys(self) -> Ints:
        """(n,) a number of 64 bits for each item, equal only for equal content."""
        ...

    @property
    def frontend(self) -> TowerFrontend:
        """What the manifest says of how items are prepared."""
        ...

    @property
    def files(self) -> Mapping[str, bytes]:
        """The files that the frontend needs in a bundle, by the names that `frontend` has for them."""
        ...

    @property
    def counts(self) -> Mapping[str, int]:
        """What there is, for the manifest."""
        ...

    def inputs(self, numbers: Ints, rng: np.random.Generator) -> Inputs:
        """What the encoder takes of some items in training, all in one.

        Args:
            numbers: (n,) which; one may come up several times.
            rng: draws how each is changed, by the tower's views.

        Returns:
            Tensors on the CPU. What is drawn of an item depends on its place in `numbers`.
        """
        ...

    def seen(self, numbers: Ints, at_a_time: int) -> Iterator[tuple[Ints, Inputs]]:
        """Some items as the device sees them, without chance, in parts of like length.

        Args:
            numbers: (n,) which.
            at_a_time: most items of a part.

        Yields:
            Places in `numbers`, and what the encoder takes of these items; every place comes once.
        """
        ...

    def raw(self, numbers: Ints) -> list[Any]:
        """Some items as `nearfar.edge.Encoder.embed` takes them: what figures of the bundle are measured with."""
        ...


class Embeds(Protocol):
    """The encoder of a tower, an `nn.Module`."""

    dim: int

    def __call__(self, inputs: Inputs) -> Tensor:
        """Embed n items; returns (n, dim), not of unit length."""
        ...


class Tower(Protocol):
    """One tower of a recipe. It holds settings alone; items and encoder are made by it."""

    name: str

    def check(self) -> None:
        """Meet what cannot be before an hour of reading: a model, a bundle or a run to start from that is not there or does not fit.

        Raises:
            RunError: which of these.
            MissingExtraError: a package is missing.
        """
        ...

    def writer(self, folder: Path, *, seed: int) -> ItemWriter:
        """Begin to keep items in `folder`, which must not exist or be of an unfinished attempt."""
        ...

    def open(self, folder: Path) -> Items:
        """Open what `ItemWriter.finish` left."""
        ...

    def encoder(self, items: Any, *, dim: int, started: bool = True) -> nn.Module:
        """The encoder with fresh weights from torch's own generator; an `Embeds`.

        Args:
            items: those that `open` gave, for what was fitted (vocabulary, mean and deviation).
            dim: of the common space, for encoders that go there without a projection.
            started: with the weights that the settings say to start from. A checkpoint is loaded without.

        Raises:
            RunError: those weights cannot be had, or do not fit.
        """
        ...

    def graph(self, encoder: nn.Module, items: Any, *, quantise: str, calibration: Ints) -> bytes:
        """The ONNX model of a trained encoder: inputs as the frontend gives them, output `embedding`, float32 (n, encoder.dim),
        whose direction counts and whose length does not.

        Args:
            encoder: of this tower; stays as it is.
            items: those that `open` gave.
            quantise: `int8` or `none`.
            calibration: numbers of some training items, for quantisers that look at activations.
        """
        ...


def rows_of(inputs: Inputs, places: Tensor | Sequence[int]) -> Inputs:
    """Some of the items of one tower's inputs."""
    return tuple(part[places] for part in inputs)
