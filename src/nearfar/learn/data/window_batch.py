"""What a method over windows gets for one step: pairs of healthy windows, and faults of each pair."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from nearfar.learn.views.series_draw import SeriesDraws


class WindowBatch(NamedTuple):
    """V windows of each of n rows: two healthy ones, then V - 2 with a fault.

    Attributes:
        windows: (n, V, T, F) float32, scaled, 0 where missing.
        present: (n, V, T, F) float32, 1 or 0.
        machines: (n,) int64, number of the machine.
        groups: (n,) int64, number of the machine and its operating point.
    """

    windows: Tensor
    present: Tensor
    machines: Tensor
    groups: Tensor

    def split(self, size: int) -> list[WindowBatch]:
        """The batch in parts of at most `size` rows, as even as can be."""
        n = len(self.machines)
        count = -(-n // size)
        bounds = [n * i // count for i in range(1, count)]
        return [WindowBatch(*part) for part in zip(*(field.tensor_split(bounds) for field in self), strict=True)]


class DrawnBatch(NamedTuple):
    """A batch whose views are still to be made, where the encoder is.

    Attributes:
        batch: the windows as they lie in the data, and faults of them.
        draws: how each is changed.
    """

    batch: WindowBatch
    draws: SeriesDraws
