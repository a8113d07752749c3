"""One remembered vector for every item of the corpus."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nearfar.learn.negatives.queue import Remembered, check_stored


class MemoryBank(nn.Module):
    """A slot for each item: a running mean of its embeddings, v <- normalise(m v + (1 - m) x).

    All of it is in the state dict. It takes `4 * dim + 8` bytes for each item.

    Args:
        items: how many items there are, numbered from 0.
        dim: components of a vector.
        momentum: m, in [0, 1); with 0 a slot holds the last embedding.

    Source:
        Wu et al., Unsupervised Feature Learning via Non-Parametric Instance Discrimination (arXiv:1805.01978), section 3.1,
        with the moving average of Misra and van der Maaten, PIRL (arXiv:1912.01991).
    """

    vectors: Tensor
    owners: Tensor
    seen: Tensor

    def __init__(self, items: int, dim: int, *, momentum: float = 0.5) -> None:
        super().__init__()
        if items < 1:
            raise ValueError(f"items is {items}, and must be at least 1")
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum is {momentum}, and must be in [0, 1)")
        self.momentum = momentum
        self.register_buffer("vectors", torch.zeros(items, dim))
        self.register_buffer("owners", torch.full((items,), -1))
        self.register_buffer("seen", torch.zeros(items, dtype=torch.bool))

    @torch.no_grad()
    def update(self, vectors: Tensor, ids: Tensor, owners: Tensor) -> None:
        """Bring the slots of some items nearer to their embeddings; the first embedding of an item fills its slot.

        An item that occurs several times counts once, with the mean of its unit vectors and the owner of its last occurrence.

        Args:
            vectors: (k, d), any length; stored without gradient.
            ids: (k,) int64, the number of each item; those with -1 are passed over.
            owners: (k,) int64, whose positive each is; -1 for nobody's.

        Raises:
            ValueError: the shapes do not fit.
            IndexError: an id has no slot.
        """
        check_stored(vectors, ids, owners, self.vectors.shape[1])
        # Sorted, so that each item's occurrences are one segment: its sum then has one order on every device.
        ids, order = ids.sort(stable=True)
        order = order[ids >= 0]
        slots, occurrences = torch.unique(ids[ids >= 0], return_counts=True)
        if not len(slots):
            return
        if int(slots[-1]) >= len(self.seen):
            raise IndexError(f"item {int(slots[-1])} has no slot: the bank was made for {len(self.seen)} items")
        unit = F.normalize(vectors.detach().float(), dim=-1)[order]
        fresh = torch.segment_reduce(unit, "mean", lengths=occurrences, axis=0)
        before = torch.where(self.seen[slots].unsqueeze(1), self.vectors[slots], fresh)
        self.vectors[slots] = F.normalize(self.momentum * before + (1 - self.momentum) * fresh, dim=-1)
        self.owners[slots] = owners[order][occurrences.cumsum(0) - 1]
        self.seen[slots] = True

    def contents(self) -> Remembered:
        """All items that have been seen, in the order of their numbers. A copy."""
        return self._of(self.seen.nonzero().squeeze(1))

    def sample(self, count: int, generator: torch.Generator) -> Remembered:
        """At most `count` different items of those seen, drawn evenly; `generator` is one of the CPU."""
        slots = self.seen.nonzero().squeeze(1)
        if count >= len(slots):
            return self._of(slots)
        return self._of(slots[torch.randperm(len(slots), generator=generator)[:count].to(slots.device)])

    def _of(self, slots: Tensor) -> Remembered:
        return Remembered(self.vectors[slots], slots, self.owners[slots])
