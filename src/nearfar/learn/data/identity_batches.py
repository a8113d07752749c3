"""Which samples of which identities share a batch: a pure function of seed and step."""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from nearfar.errors import DataError
from nearfar.learn.data.split import TRAIN

Ints = npt.NDArray[np.int64]


class Labelled(Protocol):
    """A corpus of anything that has labels."""

    @property
    def labels(self) -> Ints:
        """(n,) of each item; -1 where unknown."""
        ...

    def numbers_of(self, side: int) -> Ints:
        """The items of a side, ascending."""
        ...


def trained_identities(corpus: Labelled) -> Ints:
    """The labels that training items have, ascending; a method numbers them from 0."""
    found: Ints = np.unique(corpus.labels[corpus.numbers_of(TRAIN)])
    return found[found >= 0]


class IdentityBatches:
    """Draws batches of P identities with K samples each (Hermans et al., arXiv:1703.07737, section 2).

    Identities come in a random order, without repetition until all were there; then in another. What a step holds depends on the
    seed and its number alone, so that a resumed run and every rank draw the same.

    Args:
        labels: (n,) identity of each sample; those below 0 are never drawn.
        sessions: (n,) in what each was taken; below 0 for one of its own.
        samples: K, at least 1.
        session: `other` takes the samples of an identity from as many sessions as it has; `any` as they come.
        seed: of the recipe.
        single: whether identities of one sample take part: they repeat it, which only teaches where its views differ.

    Attributes:
        identities: how many take part.
        singles: how many identities have one sample only, whether they take part or not.

    Raises:
        DataError: fewer than two identities take part.
    """

    def __init__(
        self,
        labels: Ints,
        sessions: Ints,
        *,
        samples: int,
        session: Literal["any", "other"],
        seed: int,
        single: bool = True,
    ) -> None:
        self._sessions, self._samples, self._spread, self._seed = sessions, samples, session == "other", seed
        order = np.argsort(labels, kind="stable")
        order = order[labels[order] >= 0]
        starts = np.flatnonzero(np.diff(labels[order])) + 1
        parts = np.split(order, starts) if len(order) else []
        self._of = [part for part in parts if single or len(part) > 1]
        self.identities, self.singles = len(self._of), sum(len(part) == 1 for part in parts)
        if self.identities < 2:
            alone = f" ({self.singles} have one sample only, which the views do not change)" if not single else ""
            raise DataError(
                f"{self.identities} identities to train on{alone}: at least 2 are needed to tell anyone apart. Add some, look at "
                "data.source.labels or columns.label, or lower data.split"
            )

    def numbers(self, step: int, size: int) -> Ints:
        """The samples of a step.

        Args:
            step: of the run.
            size: samples in the batch of all ranks, at least 2.

        Returns:
            (size,) places in `labels`, those of an identity side by side. There are `size // samples` identities, or as many as there
            are; what is left over is shared out among them, so that none has fewer than `samples` where `size` allows.
        """
        count = min(max(2, size // self._samples), self.identities)
        each, more = divmod(size, count)
        wanted: dict[int, int] = {}
        for place, identity in enumerate(self._drawn_identities(step * count, count)):
            # At the seam of two orders an identity may come up twice: it then has twice as many samples.
            wanted[identity] = wanted.get(identity, 0) + each + (place < more)
        rng = np.random.default_rng([self._seed, 11, step])
        return np.concatenate([self._drawn(identity, number, rng) for identity, number in wanted.items()])

    def _drawn_identities(self, first: int, count: int) -> list[int]:
        """Those at some places of all orders in a row."""
        turn, start = divmod(first, self.identities)
        orders = [np.random.default_rng([self._seed, 10, turn + i]).permutation(self.identities) for i in range(2)]
        found: list[int] = np.concatenate(orders)[start : start + count].tolist()
        return found

    def _drawn(self, identity: int, number: int, rng: np.random.Generator) -> Ints:
        """So many samples of an identity; where it has fewer, all come up before one comes up again."""
        own = self._of[identity]
        rounds = [self._shuffled(own, rng) for _ in range(-(-number // len(own)))]
        return np.concatenate(rounds)[:number]

    def _shuffled(self, own: Ints, rng: np.random.Generator) -> Ints:
        """In a random order; where sessions are to differ, one of each before a second of any."""
        shuffled = rng.permutation(own)
        if not self._spread:
            return shuffled
        sessions = self._sessions[shuffled]
        sessions = np.where(sessions < 0, -1 - np.arange(len(sessions)), sessions)
        earlier = (sessions[:, None] == sessions) & np.tri(len(sessions), k=-1, dtype=bool)
        return shuffled[np.argsort(earlier.sum(axis=1), kind="stable")]
