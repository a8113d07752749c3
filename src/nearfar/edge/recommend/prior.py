"""What comes after what, by counting: a sparse table within a budget of bytes, and what its rows say of a history.

An entry says how strongly an item is expected after another one: with the counts c(i, j) of j after i,

    likely(i, j)   = c(i, j) / (sum of row i + smoothing) / (sum of column j)^damping
    strength(i, j) = log(1 + likely(i, j) / (0.1 x the largest of the table))

so that rare items say less, popular ones are not expected everywhere, and what is twice as likely is less than twice as strong. For a
history h, the latest action first, k = 0, 1, ..., each so many seconds before the latest one,

    expected(j) = sum over k of recency^k (0.2 + 0.8 exp(-seconds / 3600)) strength(h_k, j)

and the part of the score is expected(j) divided by the largest of all items, 0 to 1. Formulas and constants were chosen on validation parts
of MovieLens small and 100k, split by last actions and by time.

In a bundle it is a `.npz` file with five arrays, one of them `recency`. Row i has `lengths[i]` entries, in ascending order of what comes after. `columns`
holds, byte by byte (all lowest bytes first), how far each is from the one before it in its row; `codes` how strong each is, 1 to 255 on a
scale of logarithms between the two numbers of `range`. Differences and planes of bytes are there because DEFLATE makes less of them.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from typing import Any, Final, Protocol, Self

import numpy as np
import numpy.typing as npt

from nearfar.errors import BundleError

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

LATEST: Final = 40
"""Actions that are looked at: with a recency of 0.8 the next one would have 0.01 % of the weight of the latest."""
_SITTING: Final = 3600.0
"""Seconds: what is longer ago than about so long before the latest action was another sitting, and counts less."""
_EARLIER: Final = 0.2
"""The share that an action of an earlier sitting keeps."""
_BEND: Final = 0.1
"""Share of the largest entry at which strength turns from a straight line into a logarithm."""
_USE: Final = 0.25
"""Power of the sum of a row that says how much an entry of it is worth keeping: rows of popular items are needed more often."""
_CODES: Final = 255
_PRECISION: Final = 8  # bits: the table comes within 0.4 % of what fits


class Counts(Protocol):
    """A sparse matrix by rows, such as a scipy `csr_matrix` (n, n): row i holds what came after item i."""

    indptr: Any
    indices: Any
    data: Any


def strengths(
    rows: Ints, columns: Ints, counts: Doubles, items: int, *, smoothing: float, damping: float = 0.2
) -> Doubles:
    """How strongly each item is expected after another one; see the head of this module.

    Args:
        rows: int64 (m,), what came first.
        columns: int64 (m,), what came after it.
        counts: float64 (m,), how often, above 0.
        items: how many there are.
        smoothing: is added to the sum of each row.
        damping: power of the sum of a column that its entries are divided by.

    Returns:
        float64 (m,), above 0 to log(11).
    """
    after, before = np.bincount(rows, counts, minlength=items), np.bincount(columns, counts, minlength=items)
    likely = counts / (after[rows] + smoothing) / before[columns] ** damping
    strong: Doubles = np.log1p(likely / (_BEND * likely.max(initial=0.0) or 1.0))
    return strong


def action_weights(times: Doubles, recency: float) -> Doubles:
    """How much each of the latest actions counts, oldest first, float64 (min(l, LATEST),).

    Args:
        times: of the actions in seconds, oldest first, float64 (l,).
        recency: weight of each older action, as a share of the one after it.
    """
    latest = times[-LATEST:]
    if not len(latest):
        return latest
    before = np.maximum(latest[-1] - latest, 0.0)
    weights: Doubles = recency ** np.arange(len(latest) - 1, -1, -1.0) * (
        _EARLIER + (1 - _EARLIER) * np.exp(-before / _SITTING)
    )
    return weights


@dataclass(frozen=True, eq=False)
class Prior:
    """How strongly items are expected after each item.

    Attributes:
        offsets: int64 (items + 1,): the row of item i is `offsets[i]` to `offsets[i + 1]`.
        columns: int32 (m,), ascending within a row.
        codes: uint8 (m,), 1 to 255.
        range: float32 (2,), the strengths that codes 1 and 255 stand for.
        recency: weight of each older action of a history, as a share of the one after it.
    """

    offsets: Ints
    columns: npt.NDArray[np.int32]
    codes: npt.NDArray[np.uint8]
    range: Floats
    recency: float = 0.8

    def __post_init__(self) -> None:
        """Keep the 256 values, so that a row is read by one look-up."""
        low, high = (float(end) for end in self.range)
        steps = np.arange(_CODES, dtype=np.float64) / (_CODES - 1)
        values = low * (high / low) ** steps if low > 0 else np.zeros(_CODES)
        object.__setattr__(self, "_values", np.concatenate([[0.0], values]))

    @classmethod
    def of(
        cls, counts: Counts, budget: int, *, smoothing: float = 5.0, damping: float = 0.2, recency: float = 0.8
    ) -> Prior:
        """Make the table of counts, leaving the weakest entries out until it fits.

        What is worth keeping is what is strong, and rather so after popular items. What came after itself is left out: what the user has
        acted on is not recommended.

        Args:
            counts: non-negative, (n, n); row i is what came after item i.
            budget: bytes that `to_bytes` may take.
            smoothing: is added to the sum of each row, so that rare items say less.
            damping: power of the sum of a column that its entries are divided by, so that popular items are not expected everywhere.
            recency: above 0 to 1; see the attribute.

        Returns:
            The table; without entries where not even the strongest fits.
        """
        data = np.asarray(counts.data, dtype=np.float64)
        columns = np.asarray(counts.indices, dtype=np.int64)
        items = len(counts.indptr) - 1
        rows = np.repeat(np.arange(items), np.diff(counts.indptr))
        order = np.lexsort((columns, rows))
        order = order[(data[order] > 0) & (rows[order] != columns[order])]
        data, columns, rows = data[order], columns[order], rows[order]
        values = strengths(rows, columns, data, items, smoothing=smoothing, damping=damping)
        worth = values * np.bincount(rows, data, minlength=items)[rows] ** _USE
        places = np.empty(len(rows), dtype=np.int64)  # of each entry when the strongest comes first
        places[np.argsort(-worth, kind="stable")] = np.arange(len(rows))

        def strongest(count: int) -> Prior:
            kept = places < count
            return cls._packed(rows[kept], columns[kept], values[kept], items, recency)

        best = strongest(len(rows))
        low, high, size = 0, len(rows), len(best.to_bytes())
        if size <= budget:
            return best
        best = strongest(0)
        while high - low > max(1, high >> _PRECISION):
            # Bytes grow nearly as entries do, so the first guess is close; halving keeps a bad one from costing much.
            middle = int(np.clip(high * budget / size, low + 1, high - 1)) if size else (low + high) // 2
            tried = strongest(middle)
            taken = len(tried.to_bytes())
            if taken <= budget:
                best, low, size = tried, middle, 0
            else:
                high, size = middle, taken
        return best

    @classmethod
    def _packed(cls, rows: Ints, columns: Ints, values: Doubles, items: int, recency: float) -> Prior:
        """The table of entries in the order of rows and columns."""
        low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 0.0)
        width = np.log(high / low) if high > low else 1.0
        steps = np.log(values / low) / width if len(values) else values
        codes = (1 + np.rint(steps * (_CODES - 1))).astype(np.uint8)
        offsets = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=items))]).astype(np.int64)
        span = np.array([low, high], dtype=np.float32)
        return cls(offsets, columns.astype(np.int32), codes, span, float(np.float32(recency)))

    def __len__(self) -> int:
        """Number of entries."""
        return len(self.columns)

    @property
    def items(self) -> int:
        """Number of rows."""
        return len(self.offsets) - 1

    def row(self, item: int) -> tuple[Ints, Doubles]:
        """What comes after one item: numbers, ascending, int64 (m,), and their strengths, float64 (m,)."""
        entries = slice(self.offsets[item], self.offsets[item + 1])
        return self.columns[entries].astype(np.int64), self._values_of(self.codes[entries])

    def part(self, items: Ints, times: Doubles) -> tuple[Ints, Floats]:
        """What a history says of the items that the prior expects after it; see the head of this module.

        Args:
            items: numbers of what was acted on, oldest first, int64 (l,).
            times: of the actions in seconds, float64 (l,).

        Returns:
            Numbers of items, ascending, int64 (m,), and their parts of the score, float32 (m,), above 0 to 1; all others have 0.
        """
        latest = items[-LATEST:]
        starts, lengths = self.offsets[latest], self.offsets[latest + 1] - self.offsets[latest]
        if not lengths.sum():
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
        # The places of all entries of all rows, in one go.
        ends = np.cumsum(lengths)
        places = np.arange(ends[-1]) + np.repeat(starts - (ends - lengths), lengths)
        added = np.repeat(action_weights(times, self.recency), lengths) * self._values_of(self.codes[places])
        # Added up in the order of the history, in float64: the same on every run.
        expected = np.bincount(self.columns[places], added, minlength=self.items)
        numbers = np.flatnonzero(expected)
        found = expected[numbers]
        return numbers, (found / found.max()).astype(np.float32)

    def renumbered(self, new: Ints, items: int) -> Prior:
        """The table after a change of the catalogue.

        Args:
            new: int64 (self.items,), the new number of each item, -1 for one that is no more.
            items: how many there are then; those that are new come after nothing and before nothing.
        """
        rows = np.repeat(np.arange(self.items), np.diff(self.offsets))
        kept = np.flatnonzero((new[rows] >= 0) & (new[self.columns] >= 0))
        rows, columns = new[rows[kept]], new[self.columns[kept]]
        order = np.lexsort((columns, rows))
        offsets = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=items))]).astype(np.int64)
        return Prior(offsets, columns[order].astype(np.int32), self.codes[kept][order], self.range, self.recency)

    def to_bytes(self) -> bytes:
        """The content of the file; the same table gives the same bytes."""
        starts = np.zeros(len(self.columns), dtype=np.bool_)
        starts[self.offsets[:-1][np.diff(self.offsets) > 0]] = True
        gaps = np.where(starts, self.columns, np.diff(self.columns, prepend=0)).astype("<u4")
        file = io.BytesIO()
        np.savez_compressed(
            file,
            lengths=np.diff(self.offsets).astype("<u4"),
            columns=np.ascontiguousarray(gaps.view(np.uint8).reshape(-1, 4).T),
            codes=self.codes,
            range=self.range.astype("<f4"),
            recency=np.float32(self.recency),
        )
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes, where: str, items: int) -> Self:
        """Read what `to_bytes` gave.

        Args:
            content: of the file.
            where: its path, for messages.
            items: how many the catalogue has.

        Raises:
            BundleError: it is no such file, or of another catalogue.
        """
        again = "export the bundle again"
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                keys = ("lengths", "columns", "codes", "range", "recency")
                lengths, planes, codes, span, recency = (arrays[key] for key in keys)
            gaps = np.ascontiguousarray(planes.T).view("<u4").reshape(-1).astype(np.int64)
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise BundleError(f"{where}: not a table of what comes after what ({error}): {again}") from error
        offsets = np.concatenate([[0], np.cumsum(lengths.astype(np.int64))])
        if (
            len(lengths) != items
            or offsets[-1] != len(gaps)
            or codes.shape != gaps.shape
            or span.shape != (2,)
            or recency.shape
        ):
            raise BundleError(f"{where}: is of another catalogue than this one of {items:,} items: {again}")
        if not (0 < recency <= 1 and np.isfinite(span).all()):
            raise BundleError(f"{where}: says {float(recency)} of how much older actions count: {again}")
        # Undo the differences: a running sum over everything, less what it was where the row began.
        running = np.cumsum(gaps)
        before = np.concatenate([[0], running])[offsets[:-1]]
        columns = running - np.repeat(before, lengths)
        if len(columns) and (columns.max() >= items or columns.min() < 0 or codes.min() < 1 or not (span > 0).all()):
            raise BundleError(f"{where}: names items that the catalogue does not have: {again}")
        return cls(offsets, columns.astype(np.int32), codes.astype(np.uint8), span.astype(np.float32), float(recency))

    def _values_of(self, codes: npt.NDArray[np.uint8]) -> Doubles:
        values: Doubles = self._values[codes]  # type: ignore[attr-defined]  # of __post_init__
        return values
