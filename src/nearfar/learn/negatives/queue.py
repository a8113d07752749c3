"""The most recent vectors of past steps, first in, first out."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Remembered(NamedTuple):
    """Vectors without gradient, and whose they are.

    Attributes:
        vectors: (k, d) float32, of unit length.
        ids: (k,) int64, equal for equal items; -1 for none.
        owners: (k,) int64, whose positive an item was when it was stored; -1 for nobody's.
    """

    vectors: Tensor
    ids: Tensor
    owners: Tensor


class Queue(nn.Module):
    """A cross-batch memory where the model itself makes the vectors (XBM), MoCo's queue where a momentum encoder does.

    All of it is in the state dict: a resumed run goes on with the queue that the broken-off one had.

    Args:
        size: how many vectors it holds, at least 1.
        dim: components of a vector.

    Source:
        Wang et al., Cross-Batch Memory for Embedding Learning (arXiv:1912.06798), section 3; He et al., Momentum Contrast
        (arXiv:1911.05722), section 3.2.
    """

    vectors: Tensor
    ids: Tensor
    owners: Tensor
    pushed: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"size is {size}, and must be at least 1")
        self.size = size
        self.register_buffer("vectors", torch.zeros(size, dim))
        self.register_buffer("ids", torch.full((size,), -1))
        self.register_buffer("owners", torch.full((size,), -1))
        self.register_buffer("pushed", torch.zeros((), dtype=torch.int64))

    def __len__(self) -> int:
        """How many vectors are in it."""
        return min(int(self.pushed), self.size)

    @torch.no_grad()
    def push(self, vectors: Tensor, ids: Tensor, owners: Tensor) -> None:
        """Put vectors at the end; as many of the oldest leave as there is no room for.

        Args:
            vectors: (k, d), any length and number; stored without gradient, at unit length. Only direction counts by cosine,
                and a prefix of a unit vector has the direction of the same prefix of the vector itself.
            ids: (k,) int64, equal for equal items; -1 for none.
            owners: (k,) int64, whose positive each is; -1 for nobody's.
        """
        check_stored(vectors, ids, owners, self.vectors.shape[1])
        places = (int(self.pushed) + torch.arange(len(vectors), device=self.ids.device)) % self.size
        kept = slice(max(0, len(vectors) - self.size), None)
        self.vectors[places[kept]] = F.normalize(vectors[kept].detach().float(), dim=-1)
        self.ids[places[kept]] = ids[kept]
        self.owners[places[kept]] = owners[kept]
        self.pushed += len(vectors)

    def contents(self) -> Remembered:
        """What is in it, the oldest first: the same whatever the sizes of the pushes were. A copy."""
        end = int(self.pushed)
        places = torch.arange(end - len(self), end, device=self.ids.device) % self.size
        return Remembered(self.vectors[places], self.ids[places], self.owners[places])


def check_stored(vectors: Tensor, ids: Tensor, owners: Tensor, dim: int) -> None:
    """Raise ValueError unless these are k vectors of `dim` components, with an id and an owner each."""
    if vectors.ndim != 2 or vectors.shape[1] != dim or ids.shape != owners.shape or ids.shape != vectors.shape[:1]:
        raise ValueError(
            f"vectors {tuple(vectors.shape)}, ids {tuple(ids.shape)} and owners {tuple(owners.shape)} do not fit: "
            f"expected (k, {dim}), (k,) and (k,)"
        )
