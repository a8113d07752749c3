# mypy: disable-error-code="untyped-decorator, no-untyped-def"
"""The tiles of `logsumexp.py` on a GPU: scores, masks and exponentials stay in registers, next to the matrix product.

Forward never writes a score. Backward writes the slopes of one part of the matrix in the dtype of the vectors, and leaves both
products with them to cuBLAS: kernels that accumulate gradients of several hundred dimensions run out of registers.

Sums over columns are kept apart for each program and added in fixed order at the end, so a result repeats to the bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from nearfar.learn.losses.pairs import Match
from nearfar.learn.losses.tiles import EMPTY, LOG2_E, Exclusion

_EMPTY = tl.constexpr(EMPTY)
_LARGEST_EXPONENT = 60.0  # scores in base 2 below this can be exponentiated and summed as they are
_COUNTS = ["always", "ignored", "kept", "only"]
_PART = 8192  # rows and columns of the slopes that backward holds at a time


@triton.jit
def _keys(row_keys, column_keys, which, q, rows, columns, n, m):
    """Key q of some rows (ROWS, 1), and the keys of some columns (1, COLUMNS) that it is compared with."""
    ours = tl.load(row_keys + tl.cast(q, tl.int64) * n + rows)
    theirs = tl.load(column_keys + tl.load(which + q).to(tl.int64) * m + columns)
    return ours[:, None], theirs[None, :]


@triton.jit
def _scores(
    x, y, rows, columns, n, m, scale, power,
    row_limit, column_limit, always_rows, always_columns, always_which, always, ignored_rows, ignored_columns,
    ignored_which, ignored, kept_rows, kept_columns, kept_which, kept, only_rows, only_columns, only_which, only,
    D: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr, PRECISION: tl.constexpr,
    ROW_LIMIT: tl.constexpr, COLUMN_LIMIT: tl.constexpr, KEPT: tl.constexpr,
):  # fmt: skip
    """Scores in base 2 of one tile, float32; `EMPTY` where a pair is left out or outside."""
    inside_rows, inside_columns = tl.minimum(rows, n - 1).to(tl.int64), tl.minimum(columns, m - 1).to(tl.int64)
    scores = tl.zeros((ROWS, COLUMNS), tl.float32)
    for start in range(0, D, DEPTH):
        dims = start + tl.arange(0, DEPTH)
        if D % DEPTH == 0:
            left = tl.load(x + inside_rows[:, None] * D + dims[None, :])
            right = tl.load(y + inside_columns[None, :] * D + dims[:, None])
        else:
            left = tl.load(x + inside_rows[:, None] * D + dims[None, :], mask=dims[None, :] < D, other=0.0)
            right = tl.load(y + inside_columns[None, :] * D + dims[:, None], mask=dims[:, None] < D, other=0.0)
        scores = tl.dot(left, right, scores, input_precision=PRECISION)
    scores = scores * scale
    limited = scores
    if ROW_LIMIT:
        limited = tl.where(scores > tl.load(row_limit + inside_rows)[:, None], _EMPTY, limited)
    if COLUMN_LIMIT:
        limited = tl.where(scores > tl.load(column_limit + inside_columns)[None, :], _EMPTY, limited)
    # How many keys there are is no constant: it changes from batch to batch, and every constant is another compilation. Scores
    # are overwritten rather than marked: a mask beside them would not fit into the registers.
    for q in range(ignored):
        ours, theirs = _keys(ignored_rows, ignored_columns, ignored_which, q, inside_rows, inside_columns, n, m)
        limited = tl.where(ours == theirs, _EMPTY, limited)
    if KEPT:
        for q in range(kept):
            ours, theirs = _keys(kept_rows, kept_columns, kept_which, q, inside_rows, inside_columns, n, m)
            limited = tl.where(ours == theirs, scores, limited)
    left = tl.where(limited > 0.5 * _EMPTY, limited * power, _EMPTY)
    for q in range(always):
        ours, theirs = _keys(always_rows, always_columns, always_which, q, inside_rows, inside_columns, n, m)
        left = tl.where(ours == theirs, _EMPTY, left)
    for q in range(only):
        ours, theirs = _keys(only_rows, only_columns, only_which, q, inside_rows, inside_columns, n, m)
        left = tl.where(ours == theirs, left, _EMPTY)
    return tl.where((rows[:, None] < n) & (columns[None, :] < m), left, _EMPTY)


@triton.jit(do_not_specialize=_COUNTS)
def _sums(
    x, y, n, m, scale, power,
    row_limit, column_limit, always_rows, always_columns, always_which, always, ignored_rows, ignored_columns,
    ignored_which, ignored, kept_rows, kept_columns, kept_which, kept, only_rows, only_columns, only_which, only,
    row_highest, row_sum, column_highest, column_sum,
    D: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr, PRECISION: tl.constexpr,
    ROW_LIMIT: tl.constexpr, COLUMN_LIMIT: tl.constexpr, KEPT: tl.constexpr,
    BOUNDED: tl.constexpr, OF_COLUMNS: tl.constexpr,
):  # fmt: skip
    """Highest score and sum of powers of each row, and of each column as far as this program saw it.

    A program takes every so-manieth block of rows across all columns. Its sums over columns lie in a row of their own of
    `column_sum` (programs, m), where only it reads and writes.
    """
    program, programs = tl.program_id(0), tl.num_programs(0)
    own_highest, own_sum = column_highest + program.to(tl.int64) * m, column_sum + program.to(tl.int64) * m
    for block in range(program, tl.cdiv(n, ROWS), programs):
        rows = block * ROWS + tl.arange(0, ROWS)
        highest = tl.full((ROWS,), float("-inf"), tl.float32)
        summed = tl.zeros((ROWS,), tl.float32)
        for first in range(0, m, COLUMNS):
            columns = first + tl.arange(0, COLUMNS)
            scores = _scores(
                x, y, rows, columns, n, m, scale, power,
                row_limit, column_limit, always_rows, always_columns, always_which, always,
                ignored_rows, ignored_columns, ignored_which, ignored, kept_rows, kept_columns, kept_which, kept,
                only_rows, only_columns, only_which, only, D, ROWS, COLUMNS, DEPTH, PRECISION,
                ROW_LIMIT, COLUMN_LIMIT, KEPT,
            )  # fmt: skip
            inside = columns < m
            if BOUNDED:
                powers = tl.exp2(scores)
                summed += tl.sum(powers, 1)
                if OF_COLUMNS:
                    before = tl.load(own_sum + columns, mask=inside, other=0.0)
                    tl.store(own_sum + columns, before + tl.sum(powers, 0), mask=inside)
            else:
                new = tl.maximum(highest, tl.max(scores, 1))
                summed = summed * tl.exp2(highest - new) + tl.sum(tl.exp2(scores - new[:, None]), 1)
                highest = new
                if OF_COLUMNS:
                    old = tl.load(own_highest + columns, mask=inside, other=0.0)
                    before = tl.load(own_sum + columns, mask=inside, other=0.0)
                    top = tl.maximum(old, tl.max(scores, 0))
                    after = before * tl.exp2(old - top) + tl.sum(tl.exp2(scores - top[None, :]), 0)
                    tl.store(own_highest + columns, top, mask=inside)
                    tl.store(own_sum + columns, after, mask=inside)
        tl.store(row_sum + rows, summed, mask=rows < n)
        if not BOUNDED:
            tl.store(row_highest + rows, highest, mask=rows < n)
        tl.debug_barrier()  # the next block reads the sums over columns that this one wrote, perhaps in other threads


@triton.jit(do_not_specialize=_COUNTS)
def _slopes(
    x, y, n, m, scale, power,
    row_limit, column_limit, always_rows, always_columns, always_which, always, ignored_rows, ignored_columns,
    ignored_which, ignored, kept_rows, kept_columns, kept_which, kept, only_rows, only_columns, only_which, only,
    row_lse, column_lse, row_slope, column_slope, slopes, first_row, first_column, last_row, last_column,
    D: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr, PRECISION: tl.constexpr,
    ROW_LIMIT: tl.constexpr, COLUMN_LIMIT: tl.constexpr, KEPT: tl.constexpr,
    OF_COLUMNS: tl.constexpr, TOGETHER: tl.constexpr,
):  # fmt: skip
    """Derivative by each score of one part of the matrix."""
    # Neighbouring programs share rows or columns, so that these come from the cache.
    down, across = tl.cdiv(last_row - first_row, ROWS), tl.cdiv(last_column - first_column, COLUMNS)
    program, width = tl.program_id(0), TOGETHER * across
    group = program // width * TOGETHER
    height = tl.minimum(down - group, TOGETHER)
    rows = first_row + (group + program % width % height) * ROWS + tl.arange(0, ROWS)
    columns = first_column + (program % width // height) * COLUMNS + tl.arange(0, COLUMNS)
    scores = _scores(
        x, y, rows, columns, n, m, scale, power,
        row_limit, column_limit, always_rows, always_columns, always_which, always,
        ignored_rows, ignored_columns, ignored_which, ignored, kept_rows, kept_columns, kept_which, kept,
        only_rows, only_columns, only_which, only, D, ROWS, COLUMNS, DEPTH, PRECISION,
                ROW_LIMIT, COLUMN_LIMIT, KEPT,
    )  # fmt: skip
    row_inside, column_inside = rows < last_row, columns < last_column
    lse = tl.load(row_lse + rows, mask=row_inside, other=0.0)
    slope = tl.load(row_slope + rows, mask=row_inside, other=0.0)
    result = tl.exp2(scores - lse[:, None]) * slope[:, None]
    if OF_COLUMNS:
        lse = tl.load(column_lse + columns, mask=column_inside, other=0.0)
        slope = tl.load(column_slope + columns, mask=column_inside, other=0.0)
        result += tl.exp2(scores - lse[None, :]) * slope[None, :]
    place = (rows - first_row).to(tl.int64)[:, None] * (last_column - first_column) + (columns - first_column)[None, :]
    tl.store(slopes + place, result.to(slopes.dtype.element_ty), mask=row_inside[:, None] & column_inside[None, :])


class TritonTiles:
    """As `Tiles`, on a GPU.

    Args:
        x: (n, d), bfloat16 or float32, contiguous.
        y: (m, d), likewise.
        scale: scalar.
        excluded: pairs that are left out.
        power: multiplies the scores after the limits have been applied.
    """

    def __init__(self, x: Tensor, y: Tensor, scale: Tensor, excluded: Exclusion, power: float = 1.0) -> None:
        self.x, self.y, self.power = x.contiguous(), y.contiguous(), power
        self.scale = float(scale)
        limits = (excluded.row_limit, excluded.column_limit)
        only = () if excluded.only is None else (excluded.only,)
        rules = [_stacked(rule, x.device) for rule in (excluded.always, excluded.ignored, excluded.kept, only)]
        self._arguments: list[Any] = [x if limit is None else (limit * LOG2_E).float() for limit in limits]
        self._arguments += [argument for rule in rules for argument in rule]
        rows, columns, depth, self._warps, self._stages = _shape(x)
        self._constants: dict[str, Any] = {
            "D": x.shape[1], "ROWS": rows, "COLUMNS": columns, "DEPTH": depth,
            "PRECISION": "tf32" if x.dtype != torch.float32 or torch.get_float32_matmul_precision() != "highest" else "ieee",
            "ROW_LIMIT": excluded.row_limit is not None, "COLUMN_LIMIT": excluded.column_limit is not None,
            "KEPT": bool(excluded.kept),
        }  # fmt: skip

    @property
    def whole(self) -> None:
        """Scores never leave the registers."""

    def _bounded(self) -> bool:
        """Whether powers of all scores can be summed without first finding the highest."""
        longest = [float(torch.linalg.vector_norm(v, dim=1, dtype=torch.float32).max()) for v in (self.x, self.y)]
        return abs(self.scale * self.power) * LOG2_E * longest[0] * longest[1] < _LARGEST_EXPONENT

    def logsumexp(self, *, columns: bool) -> tuple[Tensor, Tensor]:
        """In base 2: rows (n,) and columns (m,) or (0,), float32."""
        n, m, device = len(self.x), len(self.y), self.x.device
        bounded = self._bounded()
        programs = min(triton.cdiv(n, self._constants["ROWS"]), _multiprocessors(device))
        highest, summed = (torch.full((n,), value, device=device) for value in (-torch.inf, 0.0))
        size = (programs, m if columns else 0)
        of_columns = (
            torch.full(size, -torch.inf, device=device) if not bounded else summed,
            torch.zeros(size, device=device),
        )
        _sums[(programs,)](
            self.x, self.y, n, m, self.scale * LOG2_E, self.power, *self._arguments, highest, summed, *of_columns,
            **self._constants, BOUNDED=bounded, OF_COLUMNS=columns, num_warps=self._warps, num_stages=self._stages,
        )  # fmt: skip
        if bounded:
            return _log2(summed), _log2(of_columns[1].sum(0))
        rows = highest + summed.log2()
        if not columns:
            return rows, summed[:0]
        top = of_columns[0].amax(0)
        return rows, top + (of_columns[1] * (of_columns[0] - top).exp2()).sum(0).log2()

    def gradients(
        self, row_lse: Tensor, column_lse: Tensor, row_slope: Tensor, column_slope: Tensor, *, of_x: bool, of_y: bool
    ) -> tuple[Tensor | None, Tensor | None]:
        """Gradients of x and y in their dtype; None where not wanted."""
        n, m = len(self.x), len(self.y)
        dx = torch.empty_like(self.x) if of_x else None
        dy = torch.zeros_like(self.y, dtype=torch.float32) if of_y else None
        row_slope, column_slope = row_slope * self.power, column_slope * self.power
        room = torch.empty(min(n, _PART) * min(m, _PART), dtype=self.x.dtype, device=self.x.device)
        for top in range(0, n, _PART):
            bottom = min(n, top + _PART)
            block = torch.zeros(bottom - top, self.x.shape[1], device=self.x.device)
            for left in range(0, m, _PART):
                right = min(m, left + _PART)
                slopes = room[: (bottom - top) * (right - left)].view(bottom - top, right - left)
                programs = triton.cdiv(bottom - top, self._constants["ROWS"]) * triton.cdiv(right - left, self._constants["COLUMNS"])  # fmt: skip
                _slopes[(programs,)](
                    self.x, self.y, n, m, self.scale * LOG2_E, self.power, *self._arguments,
                    row_lse, column_lse, row_slope, column_slope, slopes, top, left, bottom, right,
                    **self._constants, OF_COLUMNS=len(column_lse) > 0, TOGETHER=8,
                    num_warps=self._warps, num_stages=self._stages,
                )  # fmt: skip
                if dx is not None:
                    block += _product(slopes, self.y[left:right])
                if dy is not None:
                    dy[left:right] += _product(slopes.T, self.x[top:bottom])
            if dx is not None:
                dx[top:bottom] = block.mul_(self.scale)
        return dx, None if dy is None else dy.mul_(self.scale).to(self.y.dtype)


def _product(left: Tensor, right: Tensor) -> Tensor:
    """Matrix product in float32."""
    if left.dtype == torch.float32:
        return left @ right
    if left.is_cuda:
        return torch.mm(left, right, out_dtype=torch.float32)
    return left.float() @ right.float()


def _log2(summed: Tensor) -> Tensor:
    return torch.where(summed > 0, summed.log2(), EMPTY)


def _stacked(matches: Sequence[Match], device: torch.device) -> tuple[Tensor, Tensor, Tensor, int]:
    """Keys of rows (count, n) and of columns (rules, m) as int32, which of the latter each of the former is for, the count."""
    if not matches:
        nothing = torch.zeros(1, dtype=torch.int32, device=device)
        return nothing, nothing, nothing, 0
    rows, columns = zip(*(match.numbered(2**31) for match in matches), strict=True)
    which = torch.repeat_interleave(torch.tensor([len(keys) for keys in rows]))
    return torch.cat(rows).int(), torch.stack(columns).int(), which.to(device, torch.int32), len(which)


def _shape(x: Tensor) -> tuple[int, int, int, int, int]:
    """Rows, columns and depth of a tile, warps, and stages of the pipeline: as many as fit into shared memory.

    128 x 256 is the tile of the fastest plain products, but here its scores and masks spill out of the registers.
    """
    depth = min(64 if x.dtype != torch.float32 else 32, max(16, triton.next_power_of_2(x.shape[1])))
    if not x.is_cuda:  # the interpreter
        return 32, 32, depth, 4, 1
    shared = torch.cuda.get_device_properties(x.device).shared_memory_per_block_optin  # type: ignore[attr-defined]  # the stub of builds without CUDA lacks it
    return 128, 128, depth, 8, max(1, min(4, shared // (2 * 128 * depth * x.element_size())))


def _multiprocessors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 3
