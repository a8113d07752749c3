"""What pictures share a batch, and how their views are drawn: a pure function of seed and step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from nearfar.errors import DataError
from nearfar.learn.data.batches import Share
from nearfar.learn.data.pictures import Ints, PictureCorpus
from nearfar.learn.data.split import TRAIN
from nearfar.learn.views import Draws, Views, plain


class PictureBatch(NamedTuple):
    """Pictures as they are stored, with what is to be done to them; the views are made where the encoder is.

    Attributes:
        pixels: (n, c, S, S).
        draws: the random parameters of their views.
        items: (n,) int64, the number of each in the corpus.
        labels: (n,) int64; -1 where unknown, or not to be learned from.
    """

    pixels: Tensor
    draws: Draws
    items: Tensor
    labels: Tensor


@dataclass(frozen=True)
class PictureRows(Dataset[PictureBatch]):
    """Training pictures by row; an index is a `Share`, the item is that share as a batch.

    Views are drawn for the whole batch, so that all ranks together hold what one would.
    """

    corpus: PictureCorpus
    views: Views
    numbers: Ints
    labels: Ints
    seed: int

    @classmethod
    def of(
        cls, corpus: PictureCorpus, views: Views, *, seed: int, labels_per_class: int | None, labelled_only: bool
    ) -> PictureRows:
        """The training rows of a corpus.

        Args:
            corpus: the pictures.
            views: how views are drawn.
            seed: of the recipe.
            labels_per_class: learn from so many labels a class, drawn at random; None from all.
            labelled_only: leave out the pictures whose label is not learned from.

        Raises:
            DataError: where fewer than two pictures are left to train on.
        """
        numbers = corpus.numbers_of(TRAIN)
        labels = corpus.labels.copy()
        if labels_per_class is not None:
            labels[_surplus(labels, numbers, labels_per_class, seed)] = -1
        if labelled_only:
            numbers = numbers[labels[numbers] >= 0]
        if len(numbers) < 2:
            c = corpus.counts
            raise DataError(
                f"only {len(numbers)} {'labelled ' if labelled_only else ''}training pictures (of {c.pictures}, {c.labelled} with a "
                f"label; {c.validation} held out for validation, {c.test} for test): training needs at least 2. Add pictures, "
                + ("set data.source.labels or columns.label, " if labelled_only else "")
                + "or lower data.split."
            )
        return cls(corpus, views, numbers, labels, seed)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: Share) -> PictureBatch:
        step, rows, rank, world = index
        numbers = self.numbers[rows]
        draws = self.views.draw(self.corpus.aspects[numbers], np.random.default_rng([self.seed, 1, step]))
        own = numbers[rank::world]
        return PictureBatch(
            stored(self.corpus, own),
            draws if world == 1 else draws.rows(slice(rank, None, world)),
            torch.from_numpy(own),
            torch.from_numpy(self.labels[own]),
        )


def stored(corpus: PictureCorpus, numbers: Sequence[int] | npt.NDArray[np.int64]) -> Tensor:
    """Some pictures as they lie on disk, (n, c, S, S)."""
    return torch.from_numpy(np.ascontiguousarray(corpus.pixels[np.asarray(numbers)]))


def as_on_device(corpus: PictureCorpus, numbers: Ints, size: int, fit: Literal["crop", "squash"]) -> Tensor:
    """Some pictures as the device sees them, without chance: (n, c, size, size) float32 in [0, 1].

    Args:
        corpus: the pictures.
        numbers: which.
        size: height and width.
        fit: what becomes of a picture that is not square, `frontend.fit`.
    """
    aspects = corpus.aspects[numbers]
    return plain(stored(corpus, numbers), aspects if fit == "crop" else np.ones_like(aspects), size)


def _surplus(labels: Ints, numbers: Ints, per_class: int, seed: int) -> Ints:
    """The training pictures whose label is not learned from."""
    shuffled = np.random.default_rng([seed, 6]).permutation(numbers)
    left = [shuffled[labels[shuffled] == label][per_class:] for label in np.unique(labels[numbers]) if label >= 0]
    return np.concatenate(left) if left else np.zeros(0, np.int64)
