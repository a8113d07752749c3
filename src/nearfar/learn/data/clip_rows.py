"""What recordings share a batch, and how their views are drawn: a pure function of seed and step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from nearfar.errors import DataError
from nearfar.learn.data.batches import Share
from nearfar.learn.data.clips import ClipCorpus, Ints
from nearfar.learn.data.identity_batches import IdentityBatches, trained_identities
from nearfar.learn.data.split import TRAIN
from nearfar.learn.views.audio import SoundViews
from nearfar.learn.views.audio_draw import SoundDraws
from nearfar.recipe.identity import IdentityPairing


class ClipBatch(NamedTuple):
    """Parts of recordings as they are stored, with what is to be done to them; the views are made where the encoder is.

    Attributes:
        parts: (n, V, t) int16, what each view is made of.
        draws: the random parameters of the views.
        items: (n,) int64, the number of each recording in the corpus.
        labels: (n,) int64; -1 where unknown.
    """

    parts: Tensor
    draws: SoundDraws
    items: Tensor
    labels: Tensor


@dataclass(frozen=True)
class ClipRows(Dataset[ClipBatch]):
    """Training recordings by row; an index is a `Share`, the item is that share as a batch.

    Where identities are learned the rows of a share say only how many there are: which, is drawn by identity. Views are drawn for
    the whole batch, so that all ranks together hold what one would.

    Attributes:
        corpus: the recordings.
        views: how views are drawn.
        numbers: (n,) the recordings to train on.
        labels: of all recordings of the corpus, as they are learned; -1 for none.
        identities: what draws batches by identity; None where they are not learned.
        seed: of the recipe.
    """

    corpus: ClipCorpus
    views: SoundViews
    numbers: Ints
    labels: Ints
    identities: IdentityBatches | None
    seed: int

    @classmethod
    def of(cls, corpus: ClipCorpus, views: SoundViews, *, seed: int, identity: IdentityPairing | None) -> ClipRows:
        """The training rows of a corpus; identities are numbered anew, by those that are trained on.

        Args:
            corpus: the recordings.
            views: how views are drawn.
            seed: of the recipe.
            identity: how identities share a batch; None where they are not learned.

        Raises:
            DataError: where fewer than two recordings, or two identities, are left to train on.
        """
        numbers = corpus.numbers_of(TRAIN)
        if identity is not None:
            numbers = numbers[corpus.labels[numbers] >= 0]
        c = corpus.counts
        held_out = f"{c.validation} held out for validation, {c.test} for test"
        if len(numbers) < 2:
            raise DataError(
                f"only {len(numbers)} training recordings ({c.clips} in all; {held_out}; {c.twins_dropped} dropped as twins of "
                "those): contrastive training needs at least 2. Add data, or lower data.split."
            )
        if identity is None:
            return cls(corpus, views, numbers, corpus.labels, None, seed)
        known = trained_identities(corpus)
        if len(known) < 2:
            raise DataError(
                f"the training recordings are of {len(known)} identity ({len(c.classes)} in all; {held_out}): at least 2 are needed to "
                "tell them apart. Add data, or lower data.split."
            )
        labels = np.full(len(corpus.labels), -1, np.int64)
        labels[numbers] = np.searchsorted(known, corpus.labels[numbers])
        batches = IdentityBatches(
            labels[numbers],
            corpus.sessions[numbers],
            samples=identity.samples,
            session=identity.session,
            seed=seed,
        )
        return cls(corpus, views, numbers, labels, batches, seed)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: Share) -> ClipBatch:
        step, rows, rank, world = index
        if self.identities is not None:
            rows = self.identities.numbers(step, len(rows))
        draws = self.views.draw(len(rows), np.random.default_rng([self.seed, 1, step]))
        own = self.numbers[rows][rank::world]
        drawn = draws if world == 1 else draws.rows(slice(rank, None, world))
        return ClipBatch(
            parts_of(self.corpus, own, self.views, drawn),
            drawn,
            torch.from_numpy(own),
            torch.from_numpy(self.labels[own]),
        )


def parts_of(corpus: ClipCorpus, numbers: Ints, views: SoundViews, draws: SoundDraws) -> Tensor:
    """What the views of some recordings are made of, (n, V, reach) int16.

    Args:
        corpus: the recordings.
        numbers: which.
        views: how views are made.
        draws: those of these recordings.
    """
    starts = draws.start.numpy()
    parts = np.empty((*starts.shape, views.reach), np.int16)
    for row, number in enumerate(numbers):
        samples = corpus.stored(int(number))
        for view, start in enumerate(starts[row]):
            parts[row, view] = views.part(samples, float(start))
    return torch.from_numpy(parts)
