"""Attribute inference: what else embeddings tell of people than who they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nearfar.errors import DataError
from nearfar.evaluate.bootstrap import Interval, ratio_interval
from nearfar.evaluate.probe import linear_probe

Ints = npt.NDArray[np.int64]

_FOLDS = 5


@dataclass(frozen=True, slots=True)
class AttributeLeak:
    """How well an attribute can be read from embeddings of people that the reader has not seen.

    Attributes:
        accuracy: of a linear probe, with its interval over identities.
        base: of always saying the most frequent value among the people that the probe has seen.
        values: of the attribute.
    """

    accuracy: Interval
    base: float
    values: tuple[str, ...]


def attribute_leak(
    vectors: npt.NDArray[np.float32],
    identities: Ints,
    attributes: Sequence[str],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> AttributeLeak:
    """Fit a linear probe of an attribute on some people and ask it about others, five times.

    Args:
        vectors: (n, d) embeddings.
        identities: (n,) int64; all samples of one are on one side.
        attributes: of each sample; empty for none, which is left out.
        resamples: of the interval.
        seed: which people are asked about.

    Raises:
        DataError: fewer than two values with five identities each.
        MissingExtraError: scikit-learn is not installed.
    """
    names = np.asarray(attributes, dtype=np.str_)
    known = np.flatnonzero(names != "")
    values, labels = np.unique(names[known], return_inverse=True)
    numbers, people = np.unique(identities[known], return_inverse=True)
    of_people = np.array([labels[np.argmax(people == person)] for person in range(len(numbers))], np.int64)
    if len(values) < 2 or np.bincount(of_people).min() < _FOLDS:
        raise DataError(
            f"an attribute is read from embeddings of people of at least two values with {_FOLDS} identities each; there are "
            f"{', '.join(f'{name} ({count})' for name, count in zip(values, np.bincount(of_people), strict=True)) or 'none'}"
        )
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(numbers))
    folds = np.empty(len(numbers), np.int64)
    # Every fold has people of every value.
    folds[shuffled[np.argsort(of_people[shuffled], kind="stable")]] = np.arange(len(numbers)) % _FOLDS
    right, base = np.zeros(len(known)), np.zeros(len(known))
    for fold in range(_FOLDS):
        asked = folds[people] == fold
        bank = vectors[known[~asked]]
        right[asked] = linear_probe(bank, labels[~asked], vectors[known[asked]], labels[asked], seed=seed).correct
        base[asked] = labels[asked] == np.bincount(labels[~asked]).argmax()
    of_each = np.bincount(people, weights=right, minlength=len(numbers)).astype(np.float64)
    counts = np.bincount(people, minlength=len(numbers)).astype(np.float64)
    accuracy = ratio_interval(of_each, counts, resamples=resamples, seed=seed)
    return AttributeLeak(accuracy, float(base.mean()), tuple(str(value) for value in values))
