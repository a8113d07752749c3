"""What an image method gets for one step: some views of each picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor


class ViewBatch(NamedTuple):
    """V views of each of n pictures.

    Attributes:
        views: V tensors (n, c, h, w), float in [0, 1]; those of local crops, which come last, are smaller.
        items: (n,) int64, the number of each picture in the corpus.
        labels: (n,) int64; -1 where unknown.
    """

    views: tuple[Tensor, ...]
    items: Tensor
    labels: Tensor

    def split(self, size: int) -> list[ViewBatch]:
        """The batch in parts of at most `size` pictures, as even as can be."""
        n = len(self.items)
        count = -(-n // size)
        if count <= 1:
            return [self]
        bounds: Sequence[int] = [n * i // count for i in range(1, count)]
        views = zip(*(view.tensor_split(bounds) for view in self.views), strict=True)
        return [
            ViewBatch(*part)
            for part in zip(views, self.items.tensor_split(bounds), self.labels.tensor_split(bounds), strict=True)
        ]
