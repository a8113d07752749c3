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
from nearfar.learn.data.identity_batches import IdentityBatches, trained_identities
from nearfar.learn.data.picture_store import StoredPictures
from nearfar.learn.data.pictures import Ints, PictureCorpus
from nearfar.learn.data.split import TRAIN
from nearfar.learn.views import Draws, Views, plain
from nearfar.recipe.identity import IdentityPairing

_EIGHTHS = {1: 0, 2: 1, 4: 2, 8: 1}
"""How far apart the copies are in `turned_by`, by how many there are: mirrored, quarter turns, or both."""


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

    Views are drawn for the whole batch, so that all ranks together hold what one would. Where identities are learned, the rows of a
    share say only how many there are: which, is drawn by identity. With turned copies row r is picture r // turned, turned by r % turned.

    Attributes:
        corpus: the pictures.
        views: how views are drawn.
        numbers: (n,) the pictures to train on.
        labels: of all pictures of the corpus, as they are learned; -1 for none.
        seed: of the recipe.
        identities: what draws batches by identity, over n * turned rows; None where they are not learned.
        turned: how many copies there are of each picture, itself among them.
    """

    corpus: PictureCorpus
    views: Views
    numbers: Ints
    labels: Ints
    seed: int
    identities: IdentityBatches | None = None
    turned: int = 1

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

    @classmethod
    def by_identity(cls, corpus: PictureCorpus, views: Views, pairing: IdentityPairing, *, seed: int) -> PictureRows:
        """The training rows of a corpus whose labels are identities; those are numbered anew, by those that are trained on.

        Args:
            corpus: the pictures.
            views: how views are drawn.
            pairing: how identities share a batch.
            seed: of the recipe.

        Raises:
            DataError: where fewer than two identities are left to train on.
        """
        numbers, turned = corpus.numbers_of(TRAIN), pairing.turned
        numbers = numbers[corpus.labels[numbers] >= 0]
        labels = np.full(len(corpus.labels), -1, np.int64)
        labels[numbers] = np.searchsorted(trained_identities(corpus), corpus.labels[numbers])
        batches = IdentityBatches(
            (labels[numbers, None] * turned + np.arange(turned)).ravel(),
            np.repeat(corpus.sessions[numbers], turned),
            samples=pairing.samples,
            session=pairing.session,
            seed=seed,
            single=_differ(views),
        )
        return cls(corpus, views, numbers, labels, seed, batches, turned)

    def __len__(self) -> int:
        return len(self.numbers) * self.turned

    def __getitem__(self, index: Share) -> PictureBatch:
        step, rows, rank, world = index
        if self.identities is not None:
            rows = self.identities.numbers(step, len(rows))
        places, turns = np.divmod(rows, self.turned)
        numbers, eighths = self.numbers[places], turns * _EIGHTHS[self.turned]
        aspects = self.corpus.aspects[numbers]
        aspects = np.where(eighths // 2 % 2 == 1, 1 / aspects, aspects)
        draws = self.views.draw(aspects, np.random.default_rng([self.seed, 1, step]))
        own, labels = numbers[rank::world], self.labels[numbers]
        labels = np.where(labels >= 0, labels * self.turned + turns, -1)[rank::world]
        pixels = stored(self.corpus, own)
        return PictureBatch(
            pixels if self.turned == 1 else turned_by(pixels, eighths[rank::world]),
            draws if world == 1 else draws.rows(slice(rank, None, world)),
            torch.from_numpy(own),
            torch.from_numpy(labels),
        )


def turned_by(pixels: Tensor, eighths: Ints) -> Tensor:
    """Square pictures turned and mirrored.

    Args:
        pixels: (n, c, S, S).
        eighths: (n,) which of the eight: half of it, rounded down, is how many quarter turns to the left; odd ones are mirrored before.

    Returns:
        (n, c, S, S).
    """
    made = pixels.clone()
    for eighth in np.unique(eighths[eighths > 0]):
        some = torch.from_numpy(eighths == eighth)
        mirrored = pixels[some].flip(-1) if eighth % 2 else pixels[some]
        made[some] = torch.rot90(mirrored, int(eighth) // 2, (-2, -1))
    return made


def stored(corpus: StoredPictures, numbers: Sequence[int] | npt.NDArray[np.int64]) -> Tensor:
    """Some pictures as they lie on disk, (n, c, S, S)."""
    return torch.from_numpy(np.ascontiguousarray(corpus.pixels[np.asarray(numbers)]))


def as_on_device(corpus: StoredPictures, numbers: Ints, size: int, fit: Literal["crop", "squash"]) -> Tensor:
    """Some pictures as the device sees them, without chance: (n, c, size, size) float32 in [0, 1].

    Args:
        corpus: the pictures.
        numbers: which.
        size: height and width.
        fit: what becomes of a picture that is not square, `frontend.fit`.
    """
    aspects = corpus.aspects[numbers]
    return plain(stored(corpus, numbers), aspects if fit == "crop" else np.ones_like(aspects), size)


def _differ(views: Views) -> bool:
    """Whether two views of one picture are not the same."""
    drawn = views.draw(np.ones(2, np.float32), np.random.default_rng(0))
    return any(not torch.equal(field[0], field[1]) for field in drawn)


def _surplus(labels: Ints, numbers: Ints, per_class: int, seed: int) -> Ints:
    """The training pictures whose label is not learned from."""
    shuffled = np.random.default_rng([seed, 6]).permutation(numbers)
    left = [shuffled[labels[shuffled] == label][per_class:] for label in np.unique(labels[numbers]) if label >= 0]
    return np.concatenate(left) if left else np.zeros(0, np.int64)
