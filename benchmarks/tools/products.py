"""The floor under any loss over all pairs that keeps no matrix: its four matrix products and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Shape = tuple[int, int]
"""Rows and columns of the scores that are held at a time."""


def four_products(x: Tensor, y: Tensor, shape: Shape) -> Callable[[], None]:
    """Scores X Yᵀ in forward and again in backward, then G Y and Gᵀ X with as many slopes G; the room is made beforehand.

    Args:
        x: (n, d).
        y: (m, d).
        shape: rows and columns of a tile; what is larger than (n, m) is the whole.
    """
    x, y = x.detach(), y.detach()
    height, width = min(shape[0], len(x)), min(shape[1], len(y))
    room = torch.empty(height * width, dtype=x.dtype, device=x.device)
    dx, dy = torch.empty_like(x), torch.empty_like(y)

    def run() -> None:
        for gradients in (False, True):
            for top in range(0, len(x), height):
                block = x[top : top + height]
                for left in range(0, len(y), width):
                    across = y[left : left + width]
                    tile = room[: len(block) * len(across)].view(len(block), len(across))
                    torch.mm(block, across.T, out=tile)
                    if gradients:
                        _add(dx[top : top + height], tile, across, first=left == 0)
                        _add(dy[left : left + width], tile.T, block, first=top == 0)

    return run


def _add(target: Tensor, left: Tensor, right: Tensor, *, first: bool) -> None:
    if first:
        torch.mm(left, right, out=target)
    else:
        target.addmm_(left, right)
