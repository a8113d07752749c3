"""The table of mined negatives, and what is drawn from it at a step."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

Ints = npt.NDArray[np.int64]

_STREAM = 3
"""Told apart from the other draws of a seed: the order of an epoch (0), a batch (1), the validation sample (2)."""


class MinedNegatives(nn.Module):
    """A few hard negatives for every query, mined once or again and again.

    The table and the step it was made at are in the state dict: a resumed run draws from what the broken-off one had, and
    mines again when that one would have.

    Args:
        queries: how many queries there are, numbered from 0.
        keep: negatives held for each.
        per_query: negatives drawn for each at a step, at most `keep`.
        seed: of the recipe.
        begins: first step that draws.
        every: steps between two minings; None mines once.
    """

    table: Tensor
    made_at: Tensor

    def __init__(self, queries: int, keep: int, *, per_query: int, seed: int, begins: int, every: int | None) -> None:
        super().__init__()
        if not 1 <= per_query <= keep:
            raise ValueError(f"per_query is {per_query}, and must be from 1 to keep ({keep})")
        self.per_query, self.seed, self.begins, self.every = per_query, seed, begins, every
        self.register_buffer("table", torch.full((queries, keep), -1))
        self.register_buffer("made_at", torch.tensor(-1))

    def is_due(self, step: int) -> bool:
        """Whether the table has to be made (again) before the batch of `step` is drawn, by the weights as they are then."""
        if step < self.begins:
            return False
        last = self.begins + (step - self.begins) // self.every * self.every if self.every else self.begins
        return int(self.made_at) < last

    def replace(self, documents: Ints, step: int) -> None:
        """Put in a new table (queries, keep), filled up with -1, made before `step`."""
        if documents.shape != tuple(self.table.shape):
            raise ValueError(f"the table is {tuple(self.table.shape)}, the new one {documents.shape}")
        self.table.copy_(torch.from_numpy(documents))
        self.made_at.fill_(step)

    def drawn(self, rows: Ints, step: int) -> Ints:
        """Different negatives for some queries; for each, given the table, a pure function of (seed, step, query).

        So it does not matter which rank asks.

        Args:
            rows: (n,) numbers of queries; -1 for an anchor that has none in the table.
            step: of the batch; before `begins` there are no negatives.

        Returns:
            (n, per_query) document numbers, filled up with -1.
        """
        if step < self.begins:
            return np.full((len(rows), self.per_query), -1, np.int64)
        held: Ints = self.table[torch.from_numpy(np.maximum(rows, 0)).to(self.table.device)].cpu().numpy()
        held = np.where(rows[:, None] < 0, -1, held)
        places = np.maximum(rows, 0)[:, None] * held.shape[1] + np.arange(held.shape[1])
        (key,) = np.random.SeedSequence([self.seed, _STREAM, step]).generate_state(1, np.uint64)
        order = _mixed(places.astype(np.uint64) + key) >> np.uint64(1)
        first = np.argsort(np.where(held < 0, np.uint64(2**63), order), axis=1, kind="stable")[:, : self.per_query]
        return np.take_along_axis(held, first, axis=1)


def _mixed(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """A random-looking permutation of the 64-bit numbers (SplitMix64: Steele et al., OOPSLA 2014, fig. 16)."""
    numbers = numbers * np.uint64(0x9E3779B97F4A7C15)
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))
