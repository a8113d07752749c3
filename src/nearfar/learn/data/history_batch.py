"""What a step trains on: histories with what came next, as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor


class Histories(NamedTuple):
    """Actions of n histories, left padded; see `EventsSettings`.

    Attributes:
        items: int64 (n, L), -1 before the first action and for an item that is hidden.
        gaps: int64 (n, L).
        weights: float32 (n, L).
        mask: float32 (n, L).
    """

    items: Tensor
    gaps: Tensor
    weights: Tensor
    mask: Tensor


class Shown(NamedTuple):
    """Impressions: m items that were shown after a history.

    Attributes:
        histories: of m rows.
        values: float32 (m, F), codes: int64 (m, F): the context.
        items: int64 (m,).
        acted: float32 (m,), 1 or 0.
        propensities: float32 (m,).
    """

    histories: Histories
    values: Tensor
    codes: Tensor
    items: Tensor
    acted: Tensor
    propensities: Tensor


class Pairs(NamedTuple):
    """Items that one user acted on soon after each other.

    Attributes:
        items: int64 (q, 2).
        weights: float32 (q,).
    """

    items: Tensor
    weights: Tensor


class HistoryBatch(NamedTuple):
    """Histories with what came next at every place.

    Place 0 is before the first of the L actions, place j after the j-th.

    Attributes:
        histories: of n rows.
        values: float32 (n, L + 1, F), codes: int64 (n, L + 1, F): the context of each place.
        targets: int64 (n, (L + 1) * K), items that came next, -1 for none.
        target_weights: float32 (n, (L + 1) * K).
        copies: two altered copies of each history, of 2 n rows: both of the first history, then of the next; None without views.
        shown: None without impressions.
        pairs: None without the pairing `acted_together`.
    """

    histories: Histories
    values: Tensor
    codes: Tensor
    targets: Tensor
    target_weights: Tensor
    copies: Histories | None = None
    shown: Shown | None = None
    pairs: Pairs | None = None

    def split(self, size: int) -> list[HistoryBatch]:
        """The batch in parts of at most `size` histories, as even as can be."""
        n = len(self.targets)
        count = -(-n // size)
        if count <= 1:
            return [self]
        return [self._part(i / count, (i + 1) / count) for i in range(count)]

    def _part(self, first: float, last: float) -> HistoryBatch:
        def cut(tensors: Sequence[Tensor], each: int = 1) -> list[Tensor]:
            n = len(tensors[0]) // each
            rows = slice(round(n * first) * each, round(n * last) * each)
            return [tensor[rows] for tensor in tensors]

        shown = None
        if self.shown is not None:
            _, *others = self.shown
            shown = Shown(Histories(*cut(self.shown.histories)), *cut(others))
        values, codes, targets, weights = cut([self.values, self.codes, self.targets, self.target_weights])
        return HistoryBatch(
            Histories(*cut(self.histories)),
            values,
            codes,
            targets,
            weights,
            copies=None if self.copies is None else Histories(*cut(self.copies, 2)),
            shown=shown,
            pairs=None if self.pairs is None else Pairs(*cut(self.pairs)),
        )
