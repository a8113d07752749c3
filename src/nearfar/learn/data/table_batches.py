"""What rows share a batch, and which of their cells are replaced: a pure function of seed and step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from nearfar.errors import DataError
from nearfar.learn.data.batches import Share
from nearfar.learn.data.split import TRAIN
from nearfar.learn.data.table_rows import Ints, RowCorpus
from nearfar.recipe.table import Scarf


class RowBatch(NamedTuple):
    """Two views of each of n rows.

    Attributes:
        values: float32 (n, 2, F), scaled numbers.
        codes: int64 (n, 2, F), which category, or whether a number is there.
    """

    values: Tensor
    codes: Tensor

    def split(self, size: int) -> list[RowBatch]:
        """The batch in parts of at most `size` rows, as even as can be."""
        n = len(self.values)
        count = -(-n // size)
        if count <= 1:
            return [self]
        bounds: Sequence[int] = [n * i // count for i in range(1, count)]
        parts = zip(self.values.tensor_split(bounds), self.codes.tensor_split(bounds), strict=True)
        return [RowBatch(*part) for part in parts]


class Views(NamedTuple):
    """Two views of n rows as features, numpy; see `RowBatch`."""

    values: npt.NDArray[np.float32]
    codes: Ints


@dataclass(frozen=True)
class TrainingRows(Dataset[RowBatch]):
    """Training rows by number; an index is a `Share`, the item is that share as a batch.

    Views are drawn for the whole batch, so that all ranks together hold what one would.
    """

    corpus: RowCorpus
    numbers: Ints
    settings: Scarf
    columns: Ints
    """(F,) the column of each feature: those of one column are replaced together."""
    seed: int

    @classmethod
    def of(cls, corpus: RowCorpus, settings: Scarf, columns: Sequence[int], *, seed: int) -> TrainingRows:
        """The training rows of a corpus.

        Raises:
            DataError: where fewer than two rows or columns are left to train on.
        """
        numbers, counts = corpus.numbers_of(TRAIN), corpus.counts
        if len(numbers) < 2:
            raise DataError(
                f"only {len(numbers)} training rows (of {counts.rows}; {counts.validation} held out for validation, {counts.test} "
                "for test): training needs at least 2. Add rows, or lower data.split."
            )
        if max(columns, default=0) < 1:
            raise DataError(
                "only one column can be learned from: views of a row are made by replacing some of its columns, so it needs two"
            )
        return cls(corpus, numbers, settings, np.array(columns, np.int64), seed)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: Share) -> RowBatch:
        step, rows, rank, world = index
        rng = np.random.default_rng([self.seed, 1, step])
        drawn = views_of(self.corpus, self.numbers[rows], self.numbers, self.columns, self.settings, rng)
        values, codes = (np.ascontiguousarray(part[rank::world]) for part in drawn)
        return RowBatch(torch.from_numpy(values), torch.from_numpy(codes))


def views_of(
    corpus: RowCorpus,
    numbers: Ints,
    others: Ints,
    columns: Ints,
    settings: Scarf,
    rng: np.random.Generator,
) -> Views:
    """Two views of rows, as SCARF makes them: arXiv:2106.15147, algorithm 1.

    Of each row the same number of columns is replaced. A replaced column has the cell of another row, drawn for each column on its
    own: a draw from the empirical marginal distribution, whatever its type; that the cell is missing is a value like any other.

    Args:
        corpus: the rows.
        numbers: (n,) which of them.
        others: (m,) rows to draw from.
        columns: (F,) the column of each feature.
        settings: how much is replaced, and in which view.
        rng: what draws.
    """
    count, features = int(columns.max()) + 1, np.arange(len(columns))
    order = rng.random((len(numbers), count)).argsort(axis=1).argsort(axis=1)
    many = min(max(1, round(settings.corruption * count)), count - 1)
    lost = order < many
    match settings.anchor:
        case "whole":
            lost_by_anchor = np.zeros_like(lost)
        case "rest":
            lost_by_anchor = ~lost
        case "corrupted":
            lost_by_anchor = rng.random((len(numbers), count)).argsort(axis=1).argsort(axis=1) < many
    masks = np.stack([lost_by_anchor, lost], axis=1)[:, :, columns]
    sources = others[rng.integers(len(others), size=(len(numbers), 2, count))][:, :, columns]
    rows = np.where(masks, sources, numbers[:, None, None])
    return Views(corpus.values[rows, features], corpus.codes[rows, features])
