"""Who votes on whom while training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nearfar.learn.data.split import TRAIN, VALIDATION
from nearfar.learn.trainer.neighbours import Neighbours

Ints = npt.NDArray[np.int64]


@dataclass
class Corpus:
    """Labels and sides, and nothing else."""

    labels: Ints
    side: Ints

    def numbers_of(self, side: int) -> Ints:
        return np.flatnonzero(self.side == side)


def drawn(labels: list[int], trained: int, *, strangers: bool = False, most: int = 100) -> Neighbours:
    """The first `trained` items are trained on, the others validate."""
    side = np.where(np.arange(len(labels)) < trained, TRAIN, VALIDATION)
    corpus = Corpus(np.array(labels), side)
    rng = np.random.default_rng(0)
    validation = rng.permutation(corpus.numbers_of(VALIDATION))
    return Neighbours.drawn(corpus, validation, rng, classes=max(labels) + 1, k=3, most=most, strangers=strangers)


def unit(angles: list[float]) -> npt.NDArray[np.float32]:
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_only_labels_that_can_be_told_are_asked_for() -> None:
    found = drawn([0, 0, 1, -1, 0, 1, 2, -1], trained=4)
    assert found.bank.tolist() == [0, 1, 2]
    assert found.queries.tolist() == [4, 5]
    assert found.possible
    assert not drawn([0, 1, 2, 3], trained=2).possible
    assert not drawn([-1, -1, 0, 0], trained=2).possible


def test_the_nearest_vote() -> None:
    found = drawn([0, 0, 0, 1, 1, 1, 0, 1, 1], trained=6)
    vectors = unit([0.0, 0.1, 0.2, 1.5, 1.4, 1.3, 0.05, 1.45, 0.1])  # the last lies among those of the other label
    assert found.accuracy(lambda numbers: vectors[numbers]) == np.float64(2 / 3)


def test_one_half_of_strangers_names_the_other_by_the_nearest_alone() -> None:
    found = drawn([0, 0, *[1] * 10, *[2] * 10], trained=2, strangers=True)
    assert found.k == 1
    assert set(found.bank) | set(found.queries) == set(range(2, 22))
    assert len(found.bank) == len(found.queries) == 10


def test_a_bank_holds_no_more_than_it_may() -> None:
    assert len(drawn([0] * 30, trained=20, most=7).bank) == 7
