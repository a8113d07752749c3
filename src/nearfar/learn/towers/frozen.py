"""A tower whose encoder stays as it starts: without gradients, and where nothing changes its items, without running it twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from nearfar.learn.towers.stored import StoredVectors, Vectors
from nearfar.learn.towers.tower import Inputs, Ints, Items, ItemWriter, Tower, TowerFrontend
from nearfar.recipe.joint import AnyTower, TextTower

_AT_A_TIME = 16  # of a long recording a transformer remembers much


def varies(settings: AnyTower) -> bool:
    """Whether the items of a tower look different from step to step."""
    if isinstance(settings, TextTower):
        return settings.word_dropout > 0
    return getattr(settings, "views", None) is not None


class Frozen(nn.Module):
    """An encoder in eval mode whose weights get no gradient.

    Args:
        encoder: an `Embeds`.
        stored: whether inputs are its vectors already.
    """

    def __init__(self, encoder: Any, *, stored: bool) -> None:
        super().__init__()
        self.encoder, self.dim, self.stored = encoder, int(encoder.dim), stored
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Only this module itself: an encoder that does not learn must not drop anything out or follow the batch either."""
        self.training = mode
        self.encoder.eval()
        return self

    def forward(self, inputs: Inputs) -> Tensor:
        """Embed n items; see `Embeds`."""
        if self.stored:
            return inputs[0]
        with torch.no_grad():
            vectors: Tensor = self.encoder(inputs)
        return vectors


class FrozenSide:
    """A tower whose encoder is frozen; see `Tower`.

    Args:
        tower: the same with an encoder that could learn.
        stored: compute the vectors of all items once. Only where no views or dropped words change them.
    """

    def __init__(self, tower: Tower, *, stored: bool) -> None:
        self.tower, self.stored, self.name = tower, stored, tower.name

    def check(self) -> None:
        """See `Tower.check`."""
        self.tower.check()

    def writer(self, folder: Path, *, seed: int) -> ItemWriter:
        """See `Tower.writer`."""
        return self.tower.writer(folder, seed=seed)

    def open(self, folder: Path) -> Items:
        """Open what the writer left; with vectors where they are stored."""
        items = self.tower.open(folder)
        return StoredItems(items, StoredVectors(folder / "frozen.npy")) if self.stored else items

    def encoder(self, items: Items, *, dim: int, started: bool = True) -> Frozen:
        """The encoder, frozen. Where vectors are stored and not there yet they are computed now; they stay those of the encoder that the run
        began with.
        """
        plain = items.plain if isinstance(items, StoredItems) else items
        inner: Any = self.tower.encoder(plain, dim=dim, started=started)
        frozen = Frozen(inner, stored=self.stored)
        if isinstance(items, StoredItems) and started and not items.vectors.there:
            items.vectors.keep(len(plain), frozen.dim, embedded(inner, plain))
        return frozen

    def graph(self, encoder: nn.Module, items: Items, *, quantise: str, calibration: Ints) -> bytes:
        """See `Tower.graph`."""
        assert isinstance(encoder, Frozen)
        plain = items.plain if isinstance(items, StoredItems) else items
        return self.tower.graph(encoder.encoder, plain, quantise=quantise, calibration=calibration)


class StoredItems:
    """Items whose inputs are vectors; see `Items`.

    Args:
        plain: what they are besides.
        vectors: of all of them.
    """

    def __init__(self, plain: Items, vectors: StoredVectors) -> None:
        self.plain, self.vectors = plain, vectors

    def __len__(self) -> int:
        return len(self.plain)

    @property
    def keys(self) -> Ints:
        """See `Items.keys`."""
        return self.plain.keys

    @property
    def frontend(self) -> TowerFrontend:
        """See `Items.frontend`."""
        return self.plain.frontend

    @property
    def files(self) -> Mapping[str, bytes]:
        """See `Items.files`."""
        return self.plain.files

    @property
    def counts(self) -> Mapping[str, int]:
        """See `Items.counts`."""
        return self.plain.counts

    def inputs(self, numbers: Ints, rng: np.random.Generator) -> Inputs:
        """Their vectors (n, dim), by no chance."""
        return (self.vectors.of(numbers),)

    def seen(self, numbers: Ints, at_a_time: int) -> Iterator[tuple[Ints, Inputs]]:
        """The same in parts."""
        return self.vectors.seen(numbers, at_a_time)

    def raw(self, numbers: Ints) -> list[Any]:
        """See `Items.raw`."""
        return self.plain.raw(numbers)


@torch.no_grad()
def embedded(encoder: nn.Module, items: Items) -> Iterator[tuple[Ints, Vectors]]:
    """Vectors of all items as the device sees them, in parts: their numbers, and float32 (b, dim)."""
    for places, inputs in items.seen(np.arange(len(items)), _AT_A_TIME):
        yield places, encoder(inputs).float().numpy()
