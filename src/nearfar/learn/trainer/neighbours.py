"""Which labelled items vote on which others while training, and how often they are right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nearfar.evaluate.knn import knn_correct
from nearfar.learn.data.identity_batches import Labelled
from nearfar.learn.data.split import TRAIN

Ints = npt.NDArray[np.int64]

_VALIDATED = 1_000


@dataclass(frozen=True)
class Neighbours:
    """Validation items whose label their nearest neighbours are to tell.

    Attributes:
        queries: (q,) numbers of these items, ascending.
        bank: (m,) numbers of those that vote, ascending.
        labels: (n,) of all items.
        classes: how many labels there are.
        k: neighbours that vote.
    """

    queries: Ints
    bank: Ints
    labels: Ints
    classes: int
    k: int

    @classmethod
    def drawn(
        cls,
        corpus: Labelled,
        validation: Ints,
        rng: np.random.Generator,
        *,
        classes: int,
        k: int,
        most: int,
        strangers: bool = False,
    ) -> Neighbours:
        """Draw up to 1,000 queries, and who votes on them.

        Args:
            corpus: labels and sides.
            validation: numbers of its validation items, in any order.
            rng: the source.
            classes: how many labels there are.
            k: neighbours that vote.
            most: items in the bank, at most.
            strangers: whether no validation item is of a label that is trained on; one half of them then names the other, the nearest
                alone.
        """
        labels = corpus.labels
        asked, bank = validation[labels[validation] >= 0], corpus.numbers_of(TRAIN)
        bank = rng.permutation(bank[labels[bank] >= 0])
        if strangers:
            asked, bank = np.split(asked, [len(asked) // 2])
        # Nobody can tell a label that no voter has.
        asked = asked[np.isin(labels[asked], labels[bank])]
        return cls(np.sort(asked[:_VALIDATED]), np.sort(bank[:most]), labels, classes, 1 if strangers else k)

    @property
    def possible(self) -> bool:
        """Whether there is anything to ask, and anybody to vote."""
        return bool(len(self.queries) and len(self.bank))

    def accuracy(self, embedded: Callable[[Ints], npt.NDArray[np.float32]]) -> float:
        """Share of the queries whose label is told.

        Args:
            embedded: numbers in, their unit vectors (n, d) out.
        """
        correct = knn_correct(
            embedded(self.bank),
            self.labels[self.bank],
            embedded(self.queries),
            self.labels[self.queries],
            classes=self.classes,
            k=self.k,
        )
        return float(correct.mean())
