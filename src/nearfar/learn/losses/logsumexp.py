"""The one operation under every softmax over pairs: log-sum-exp along rows and columns, without the (n, m) matrix."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from nearfar.learn.losses.operands import at_least_float32, once_differentiable
from nearfar.learn.losses.tiles import EMPTY, LOG2_E, Exclusion, Tiles

_NOTHING = Exclusion()
_ROWS_AT_A_TIME = 8192


def pair_logsumexp(
    anchors: Tensor,
    candidates: Tensor,
    scale: Tensor,
    excluded: Exclusion = _NOTHING,
    *,
    power: float = 1.0,
    columns: bool = True,
    stretch: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Log-sum-exp of `power * scale * anchors @ candidates.T` along its rows and along its columns.

    Args:
        anchors: (n, d).
        candidates: (m, d), of the same dtype.
        scale: scalar tensor; the scores that limits are compared with are `scale * anchors @ candidates.T`.
        excluded: the pairs that are left out.
        power: multiplies the scores after the limits have been applied; 0 counts the pairs that are left.
        columns: whether the columns are wanted.
        stretch: (m,) multiplies the candidates, block by block, so that many need not be copied to be normalised. Then
            they get no gradient.

    Returns:
        Rows (n,) and columns (m,); the columns are empty (0,) where they are not wanted. A row or column of which nothing
        is left has about `EMPTY` or less. Memory is O(n d + m d) and one tile; gradients flow to anchors, candidates and scale, once.
    """
    rows, cols = _PairLogSumExp.apply(anchors, candidates, scale, excluded, power, columns, stretch)  # type: ignore[no-untyped-call]
    return rows, cols


class _PairLogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        y: Tensor,
        scale: Tensor,
        excluded: Exclusion,
        power: float,
        columns: bool,
        stretch: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        engine = _engine(x, y, scale, excluded, power, stretch)
        rows, cols = engine.logsumexp(columns=columns)
        ctx.save_for_backward(x, y, scale, rows, cols, stretch, engine.whole if any(ctx.needs_input_grad) else None)
        ctx.excluded, ctx.power = excluded, power
        return rows / LOG2_E, cols / LOG2_E

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, row_slope: Tensor, column_slope: Tensor) -> tuple[Tensor | None, ...]:
        x, y, scale, rows, cols, stretch, kept = ctx.saved_tensors
        # Of what is left out, exp(score - log-sum-exp) has to be 0 also where nothing else is there.
        rows, cols = (lse.masked_fill(lse < EMPTY / 2, torch.inf) for lse in (rows, cols))
        of_x, of_y, of_scale = ctx.needs_input_grad[:3]
        engine = _engine(x, y, scale, ctx.excluded, ctx.power, stretch, kept)
        of_y = of_y and stretch is None
        dx, dy = engine.gradients(rows, cols, row_slope, column_slope, of_x=of_x or of_scale, of_y=of_y)
        dscale = None
        if of_scale:
            assert dx is not None
            blocks = zip(torch.split(x, _ROWS_AT_A_TIME), torch.split(dx, _ROWS_AT_A_TIME), strict=True)
            dscale = (
                torch.stack([torch.linalg.vecdot(*at_least_float32(*block)).sum() for block in blocks]).sum() / scale
            )
        return dx if of_x else None, dy, dscale, None, None, None, None


class _Engine(Protocol):
    """What makes the tiles of one problem; log-sum-exps are in base 2."""

    @property
    def whole(self) -> Tensor | None:
        """All scores, if they were kept."""
        ...

    def logsumexp(self, *, columns: bool) -> tuple[Tensor, Tensor]:
        """Rows (n,), and columns (m,) or (0,)."""
        ...

    def gradients(
        self, row_lse: Tensor, column_lse: Tensor, row_slope: Tensor, column_slope: Tensor, *, of_x: bool, of_y: bool
    ) -> tuple[Tensor | None, Tensor | None]:
        """Gradients of x and y, given the derivatives by their natural log-sum-exps; None where not wanted."""
        ...


def runs_on_triton(vectors: Tensor) -> bool:
    """Whether the GPU kernels take these vectors."""
    fits = vectors.is_cuda and vectors.dtype in (torch.float32, torch.bfloat16)
    return fits and importlib.util.find_spec("triton") is not None


def _engine(
    x: Tensor,
    y: Tensor,
    scale: Tensor,
    excluded: Exclusion,
    power: float,
    stretch: Tensor | None,
    kept: Tensor | None = None,
) -> _Engine:
    if runs_on_triton(x):
        from nearfar.learn.losses.triton_tiles import TritonTiles

        stretched = y if stretch is None else (y * stretch.unsqueeze(1)).to(y)
        return TritonTiles(x, stretched, scale, excluded, power)
    return _TorchTiles(Tiles(x, y, scale, excluded, power, stretch, kept))


@dataclass(frozen=True)
class _TorchTiles:
    """Any device, any precision."""

    tiles: Tiles

    @property
    def whole(self) -> Tensor | None:
        """All scores, if they were few."""
        return self.tiles.whole

    def logsumexp(self, *, columns: bool) -> tuple[Tensor, Tensor]:
        """In base 2: rows (n,) and columns (m,) or (0,)."""
        rows_out = torch.empty(len(self.tiles.x), dtype=self.tiles.x.dtype, device=self.tiles.x.device)
        column_sum = _RunningSum(len(self.tiles.y) if columns else 0, self.tiles.x)
        for rows, scaled in self.tiles.blocks():
            row_sum = _RunningSum(rows.stop - rows.start, self.tiles.x)
            for cols, scores, weights in self.tiles.across(rows, scaled):
                row_sum.add(slice(None), scores, weights, dim=1)
                if columns:
                    column_sum.add(cols, scores, weights, dim=0)
            rows_out[rows] = row_sum.log2()
        return rows_out, column_sum.log2()

    def gradients(
        self,
        row_lse: Tensor,
        column_lse: Tensor,
        row_slope: Tensor,
        column_slope: Tensor,
        *,
        of_x: bool,
        of_y: bool,
    ) -> tuple[Tensor | None, Tensor | None]:
        """Gradients of x and y; None where not wanted."""
        dx = torch.empty_like(self.tiles.x) if of_x else None
        dy = torch.zeros_like(self.tiles.y) if of_y else None
        row_slope = (row_slope * self.tiles.power).unsqueeze(1)
        column_slope = column_slope * self.tiles.power
        row_lse = row_lse.unsqueeze(1)
        scale = self.tiles.scale / LOG2_E
        for rows, scaled in self.tiles.blocks():
            unscaled = self.tiles.x[rows] * scale if dy is not None else scaled
            block = torch.zeros_like(scaled)
            for cols, scores, weights in self.tiles.across(rows, scaled):
                torch.sub(scores, row_lse[rows], out=weights).exp2_().mul_(row_slope[rows])
                if len(column_lse):
                    scores.sub_(column_lse[cols]).exp2_().mul_(column_slope[cols])
                    weights += scores
                if dx is not None:
                    block.addmm_(weights, self.tiles.right(cols))
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
