"""All scores of anchors and candidates, tile by tile: the (n, m) matrix is never held.

A tile is made, used and thrown away. What needs it again, as backward does, makes it again: that costs a fourth matrix product
where keeping the matrix costs three, and is still faster, because a tile stays in the cache while a matrix has to travel
to memory and back.

Measured on one core (torch 2.13, AVX2), per element: `exp2` 0.15 ns, `exp` 0.70; a comparison that writes floats 0.04 ns, one that
writes booleans 0.38. Hence the base 2, and masks of floats.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from nearfar.learn.losses.pairs import Match

EMPTY = -1e30
"""Score of a pair that is left out: far below any other, and finite, so that no gradient becomes NaN."""

LOG2_E = math.log2(math.e)
_EXACT_IN_FLOAT = 2**24
_ROWS, _COLUMNS = 512, 1024


@dataclass(frozen=True)
class Exclusion:
    """Which pairs are left out.

    Attributes:
        always: pairs that are left out.
        ignored: pairs that are left out unless they are `kept`.
        kept: pairs that neither `ignored` nor the limits touch.
        only: one key each; if given, every other pair is left out.
        row_limit: (n,) a pair with a higher score than its row's limit is left out unless it is `kept`.
        column_limit: (m,) likewise with its column's.
    """

    always: tuple[Match, ...] = ()
    ignored: tuple[Match, ...] = ()
    kept: tuple[Match, ...] = ()
    only: Match | None = None
    row_limit: Tensor | None = None
    column_limit: Tensor | None = None


class Tiles:
    """`power * scale * x @ y.T` in units of log2(e), so that `exp2` of a score is `exp` of the natural one.

    Args:
        x: (n, d).
        y: (m, d), of the same dtype.
        scale: scalar.
        excluded: pairs whose score is about `EMPTY` instead.
        power: multiplies the scores after the limits have been applied.
        stretch: (m,) multiplies the rows of y; None for 1.
        kept: what `whole` was after an earlier pass.
    """

    def __init__(
        self,
        x: Tensor,
        y: Tensor,
        scale: Tensor,
        excluded: Exclusion,
        power: float = 1.0,
        stretch: Tensor | None = None,
        kept: Tensor | None = None,
    ) -> None:
        self.x, self.y, self.power, self._excluded = x, y, power, excluded
        self.scale = scale.detach() * LOG2_E
        self._stretch = None if stretch is None else stretch.unsqueeze(1)
        self.always = [_Keys.of(match, x.dtype) for match in excluded.always]
        self.ignored = [_Keys.of(match, x.dtype) for match in excluded.ignored]
        self.kept = [_Keys.of(match, x.dtype) for match in excluded.kept]
        self.only = [_Keys.of(match, x.dtype) for match in [excluded.only] if match is not None]
        self.row_limit = None if excluded.row_limit is None else (excluded.row_limit * LOG2_E).unsqueeze(1)
        self.column_limit = None if excluded.column_limit is None else excluded.column_limit * LOG2_E
        # Where all scores fit into the cache they are one tile, which need not be made twice.
        self._is_whole = len(x) * len(y) <= 2 * _ROWS * _COLUMNS and max(len(x), len(y)) <= 2 * _COLUMNS
        self._rows, self._columns = (max(1, len(x)), max(1, len(y))) if self._is_whole else (_ROWS, _COLUMNS)
        self._kept = kept
        room = min(self._rows, len(x)) * min(self._columns, len(y))
        self._scores, self._weights, self._mask, self._other = (
            torch.empty(room, dtype=x.dtype, device=x.device) for _ in range(4)
        )

    def blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """Slices of the rows, and these rows of x times scale."""
        for start in range(0, len(self.x), self._rows):
            rows = slice(start, min(start + self._rows, len(self.x)))
            yield rows, self.x[rows] * self.scale

    @property
    def whole(self) -> Tensor | None:
        """All scores after a pass that left them as they were, if they were few enough to be one tile; else None."""
        return self._scores if self._is_whole else None

    def right(self, cols: slice) -> Tensor:
        """Some rows of y, as they are multiplied."""
        return self.y[cols] if self._stretch is None else self.y[cols] * self._stretch[cols]

    def across(self, rows: slice, scaled: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Along one block: slices of the columns, their scores, and room for as many weights; valid until the next."""
        for start in range(0, len(self.y), self._columns):
            cols = slice(start, min(start + self._columns, len(self.y)))
            shape = (rows.stop - rows.start, cols.stop - cols.start)
            scores, weights = (_shaped(room, shape) for room in (self._scores, self._weights))
            if self._kept is not None:
                yield cols, scores.copy_(self._kept.view(shape)), weights
                continue
            torch.mm(scaled, self.right(cols).T, out=scores)
            if self._excluded != Exclusion():
                self._leave_out(scores, rows, cols)
            elif self.power != 1.0:
                scores *= self.power
            yield cols, scores, weights

    def _leave_out(self, scores: Tensor, rows: slice, cols: slice) -> None:
        excluded, found = (_shaped(room, scores.shape) for room in (self._mask, self._other))
        excluded.zero_()
        if self.row_limit is not None:
            excluded += torch.gt(scores, self.row_limit[rows], out=found)
        if self.column_limit is not None:
            excluded += torch.gt(scores, self.column_limit[cols], out=found)
        for keys in self.ignored:
            excluded += keys.found(rows, cols, found)
        for keys in self.kept:
            excluded.masked_fill_(keys.found(rows, cols, found) > 0, 0.0)
        for keys in self.always:
            excluded += keys.found(rows, cols, found)
        for keys in self.only:
            excluded += keys.found(rows, cols, found).eq_(0)
        scores *= self.power
        scores.add_(excluded, alpha=EMPTY)


class _Keys(NamedTuple):
    """A `Match` in floats: a comparison that writes floats is vectorised on CPUs, one that writes booleans is not.

    Attributes:
        first: (n, 1) first key of each anchor.
        others: (k, 1) all further keys. Most anchors have none, so these are compared one by one.
        owners: (k,) the anchor of each, ascending.
        candidates: (m,).
    """

    first: Tensor
    others: Tensor
    owners: Tensor
    candidates: Tensor

    @classmethod
    def of(cls, match: Match, dtype: torch.dtype) -> _Keys:
        anchors, candidates = match.numbered(_EXACT_IN_FLOAT)
        owners, slots = (anchors[1:].T >= 0).nonzero(as_tuple=True)
        others = anchors[1:].T[owners, slots]
        return cls(anchors[0].to(dtype).unsqueeze(1), others.to(dtype).unsqueeze(1), owners, candidates.to(dtype))

    def found(self, rows: slice, cols: slice, room: Tensor) -> Tensor:
        """How many keys of an anchor each pair of a tile has in common; `room` is overwritten with it."""
        torch.eq(self.first[rows], self.candidates[cols], out=room)
        if len(self.owners):
            ends = torch.tensor([rows.start, rows.stop], device=self.owners.device)
            first, last = torch.searchsorted(self.owners, ends).tolist()
            for start in range(first, last, _ROWS):
                some = slice(start, min(start + _ROWS, last))
                more = (self.others[some] == self.candidates[cols]).to(room)
                room.index_add_(0, self.owners[some] - rows.start, more)
        return room


def _shaped(room: Tensor, shape: tuple[int, ...] | torch.Size) -> Tensor:
    return room[: shape[0] * shape[1]].view(shape)
