"""The one operation under every softmax over pairs: log-sum-exp along rows and columns, without the (n, m) matrix."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nearfar.learn.losses.tiles import LOG2_E, Exclusion, Tiles

_NOTHING = Exclusion()


def pair_logsumexp(
    anchors: Tensor,
    candidates: Tensor,
    scale: Tensor,
    excluded: Exclusion = _NOTHING,
    *,
    power: float = 1.0,
    columns: bool = True,
) -> tuple[Tensor, Tensor]:
    """Log-sum-exp of `power * scale * anchors @ candidates.T` along its rows and along its columns.

    Args:
        anchors: (n, d).
        candidates: (m, d), of the same dtype.
        scale: scalar tensor; the scores that limits are compared with are `scale * anchors @ candidates.T`.
        excluded: the pairs that are left out.
        power: multiplies the scores after the limits have been applied; 0 counts the pairs that are left.
        columns: whether the columns are wanted.

    Returns:
        Rows (n,) and columns (m,); the columns are empty (0,) where they are not wanted. A row or column of which nothing
        is left has about `EMPTY` or less. Memory is O(n d + m d) and one tile; gradients flow to anchors, candidates and scale, once.
    """
    rows, cols = _PairLogSumExp.apply(anchors, candidates, scale, excluded, power, columns)  # type: ignore[no-untyped-call]
    return rows, cols


class _PairLogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, y: Tensor, scale: Tensor, excluded: Exclusion, power: float, columns: bool
    ) -> tuple[Tensor, Tensor]:
        tiles = Tiles(x, y, scale, excluded, power)
        rows, cols = _logsumexp(tiles, columns=columns)
        ctx.save_for_backward(x, y, scale, rows, cols)
        ctx.excluded, ctx.power = excluded, power
        return rows / LOG2_E, cols / LOG2_E

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, row_gradient: Tensor, column_gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, y, scale, rows, cols = ctx.saved_tensors
        tiles = Tiles(x, y, scale, ctx.excluded, ctx.power)
        of_x, of_y, of_scale = ctx.needs_input_grad[:3]
        dx, dy = _gradients(tiles, rows, cols, row_gradient, column_gradient, of_x=of_x or of_scale, of_y=of_y)
        dscale = None
        if of_scale:
            assert dx is not None
            dscale = torch.linalg.vecdot(x, dx).sum() / scale
        return dx if of_x else None, dy, dscale, None, None, None


def _logsumexp(tiles: Tiles, *, columns: bool) -> tuple[Tensor, Tensor]:
    """In base 2: rows (n,) and columns (m,) or (0,)."""
    rows_out = torch.empty(len(tiles.x), dtype=tiles.x.dtype, device=tiles.x.device)
    column_sum = _RunningSum(len(tiles.y) if columns else 0, tiles.x)
    for rows, scaled in tiles.blocks():
        row_sum = _RunningSum(rows.stop - rows.start, tiles.x)
        for cols, scores, weights in tiles.across(rows, scaled):
            row_sum.add(slice(None), scores, weights, dim=1)
            if columns:
                column_sum.add(cols, scores, weights, dim=0)
        rows_out[rows] = row_sum.log2()
    return rows_out, column_sum.log2()


def _gradients(
    tiles: Tiles,
    rows_lse: Tensor,
    cols_lse: Tensor,
    row_gradient: Tensor,
    column_gradient: Tensor,
    *,
    of_x: bool,
    of_y: bool,
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of x and y; None where not wanted."""
    dx = torch.empty_like(tiles.x) if of_x else None
    dy = torch.zeros_like(tiles.y) if of_y else None
    row_gradient = (row_gradient * tiles.power).unsqueeze(1)
    column_gradient = column_gradient * tiles.power
    rows_lse = rows_lse.unsqueeze(1)
    scale = tiles.scale / LOG2_E
    for rows, scaled in tiles.blocks():
        unscaled = tiles.x[rows] * scale if dy is not None else scaled
        block = torch.zeros_like(scaled)
        for cols, scores, weights in tiles.across(rows, scaled):
            torch.sub(scores, rows_lse[rows], out=weights).exp2_().mul_(row_gradient[rows])
            if len(cols_lse):
                scores.sub_(cols_lse[cols]).exp2_().mul_(column_gradient[cols])
                weights += scores
            if dx is not None:
                block.addmm_(weights, tiles.y[cols])
            if dy is not None:
                dy[cols].addmm_(weights.T, unscaled)
        if dx is not None:
            torch.mul(block, scale, out=dx[rows])
    return dx, dy


class _RunningSum:
    """Sums of powers of two that are only known up to a running maximum."""

    def __init__(self, count: int, like: Tensor) -> None:
        self._highest = torch.full((count,), -torch.inf, dtype=like.dtype, device=like.device)
        self._sum = torch.zeros(count, dtype=like.dtype, device=like.device)

    def add(self, place: slice, scores: Tensor, room: Tensor, *, dim: int) -> None:
        """Add a tile along `dim`; `room` is overwritten."""
        before = self._highest[place]
        highest = torch.maximum(before, scores.amax(dim))
        torch.sub(scores, highest.unsqueeze(dim), out=room).exp2_()
        self._sum[place] = self._sum[place] * (before - highest).exp2() + room.sum(dim)
        self._highest[place] = highest

    def log2(self) -> Tensor:
        """The log-sum-exp so far."""
        return self._highest + self._sum.log2()
