"""Nearest passages by embedding: candidates by a derived file, scores by the store's own codes.

The derived file (signs, or a graph) is only ever a shortcut. Rows after the last one it covers are compared one by one,
rows that are gone are masked, and when the file is missing, cut off or contradicts itself, every row is compared: slower,
never wrong. What a file gets wrong can cost a candidate, and never changes a score; `nearfar doctor` compares its digest.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from nearfar.edge.store.codes import Codes
from nearfar.edge.store.derived import check_size, content_of
from nearfar.edge.store.derived_record import DerivedRecord
from nearfar.edge.store.reader import StoreReader
from nearfar.errors import StoreError
from nearfar.index.hnsw import HnswIndex
from nearfar.index.signs import SignIndex

if TYPE_CHECKING:
    from nearfar.edge.keys import Key

_log = logging.getLogger(__name__)

Rows = npt.NDArray[np.int64]
Found = tuple[Rows, npt.NDArray[np.float32]]

_MARGIN = 16
"""A graph compares 8-bit codes of its own; so many more than asked for are compared again by the store's."""
_SCAN_SHARE = 4
_TELLING_DIM = 256
FEW_ALLOWED = 4096
"""Up to so many allowed passages are compared one by one, which is as fast as walking a graph that holds others too."""
_MOST_EF = 4096
_BLOCK = 16_384


class Effort(NamedTuple):
    """How much is looked at to find neighbours; more is slower and finds more. docs/search.md says what the defaults do.

    Attributes:
        considered: of a scan, passages taken by the bits in which they differ; at least eight times k.
        rescored: of these, passages that are compared exactly; at least three times k. Vectors of less than 256
            components, whose signs say less, take more of both.
        ef: of a graph, candidates kept while walking it; at least k and a few.
    """

    considered: int = 400
    rescored: int = 100
    ef: int = 96


class DenseSearch:
    """Follows one store; call `refresh` inside a snapshot before `search`."""

    def __init__(self, reader: StoreReader, *, key: Key | None = None, effort: Effort | None = None) -> None:
        """Search the vectors that `reader` reads; nothing is loaded yet."""
        self._reader = reader
        self._effort = effort or Effort()
        self._key = key.subkey("derived") if key else None
        self._generation = -1
        self._record: DerivedRecord | None = None
        self._base: SignIndex | HnswIndex | None = None
        self._removed: Rows = np.empty(0, dtype=np.int64)
        self._tail = Codes.none(reader.dim)
        self.total = 0
        """Number of passages."""

    def refresh(self) -> None:
        """Catch up with what a writer has done since the last call."""
        generation = self._reader.generation()
        if generation == self._generation:
            return
        record = self._reader.derived("signs") or self._reader.derived("graph")
        if record != self._record or self._generation < 0:
            self._record, self._base = record, self._open(record)
            self._tail = Codes.none(self._reader.dim)
        covered = self._record.last_row if self._record and self._base else 0
        self._removed = self._reader.removed() if covered else np.empty(0, dtype=np.int64)
        rows = self._tail.rows
        last = int(rows[-1]) if len(rows) else covered
        # Rows are only ever added after the last one, so the count tells whether any known row is gone.
        if self._reader.count_between(covered, last) != len(rows):
            self._tail, last = Codes.none(self._reader.dim), covered
        self._tail = self._tail.and_then(self._reader.codes_after(last))
        self.total = self._reader.passages()
        self._generation = generation

    @property
    def engine(self) -> str:
        """What finds candidates: `exact`, `scan` or `hnsw`."""
        if self._base is None:
            return "exact"
        return "scan" if isinstance(self._base, SignIndex) else "hnsw"

    def search(self, query: npt.NDArray[np.float32], k: int, allowed: Rows | None = None) -> Found:
        """The k nearest passages.

        Args:
            query: float32 (d,).
            k: how many; more than there are gives all.
            allowed: rows that may be found, ascending; all by default.

        Returns:
            Rows int64 (r,), nearest first, and cosines float32 (r,) by the store's codes; r is at most k. Equal cosines
            are ordered by row.
        """
        k = min(k, self.total if allowed is None else len(allowed))
        near = self._near(query, k, allowed) if k else None
        if near is None:
            return nearest(query, self._everything(allowed), k)
        return nearest(query, [self._reader.codes_of(near.tolist()), self._recent(allowed)], k)

    def candidates(self, query: npt.NDArray[np.float32], k: int, allowed: Rows | None = None) -> Rows:
        """About k passages that lie near, in no order and not compared exactly, for a caller that scores them itself.

        Args:
            query: float32 (d,).
            k: how many.
            allowed: rows that may be found, ascending; all by default.

        Returns:
            Rows int64 (r,); r is at most 2 k.
        """
        k = min(k, self.total if allowed is None else len(allowed))
        near = self._near(query, k, allowed, rescored=k) if k else None
        if near is None:
            return nearest(query, self._everything(allowed), k)[0]
        return np.concatenate([near[:k], nearest(query, [self._recent(allowed)], k)[0]])

    def codes_of(self, rows: Rows) -> Codes:
        """The vectors of rows that are there, in their order."""
        return self._reader.codes_of(rows.tolist())

    def _near(self, query: npt.NDArray[np.float32], k: int, allowed: Rows | None, *, rescored: int = 0) -> Rows | None:
        """What the derived file holds of the k nearest, and some more; None where all should be compared."""
        there = self.total if allowed is None else len(allowed)
        # To collect much of a store, or the little that is allowed, comparing all of it is faster, and misses nothing.
        few = k * _SCAN_SHARE if allowed is None else max(FEW_ALLOWED, k * _SCAN_SHARE)
        if self._base is None or there <= few:
            return None
        effort = self._effort
        if isinstance(self._base, SignIndex):
            share = max(1.0, _TELLING_DIM / self._reader.dim)
            # Who joins them with others needs no more than the likely ones.
            considered = int(share * max(effort.considered, (4 if rescored else 8) * k))
            chosen = rescored or int(share * max(effort.rescored, 3 * k))
            return self._base.search(query, chosen, considered=considered, allowed=allowed, without=self._removed)
        assert self._record is not None
        wanted, ef = k + _MARGIN, max(effort.ef, k + _MARGIN)
        if allowed is not None:
            ef = min(_MOST_EF, ef * self.total // len(allowed))
        _, found = self._base.search(query[None], wanted, ef=ef, allowed=allowed, without=self._removed)
        rows: Rows = found[0][found[0] >= 0]
        # The walk can end early: where little is allowed, or where many vectors are alike.
        covered = self._record.rows - len(self._removed)
        if allowed is not None:
            covered = int(np.count_nonzero(allowed <= self._record.last_row))
        return None if len(rows) < min(wanted, covered) else rows

    def _recent(self, allowed: Rows | None) -> Codes:
        """What is newer than the derived file."""
        return self._tail if allowed is None else self._tail.among(allowed)

    def _everything(self, allowed: Rows | None) -> Iterable[Codes]:
        if self._base is None:
            return [self._recent(allowed)]  # which is all there is, in memory
        return self._all() if allowed is None else self._of_rows(allowed)

    def _all(self) -> Iterator[Codes]:
        last = 0
        while len((codes := self._reader.codes_after(last, _BLOCK)).rows):
            yield codes
            last = int(codes.rows[-1])

    def _of_rows(self, rows: Rows) -> Iterator[Codes]:
        for start in range(0, len(rows), _BLOCK):
            yield self._reader.codes_of(rows[start : start + _BLOCK].tolist())

    def _open(self, record: DerivedRecord | None) -> SignIndex | HnswIndex | None:
        if record is None:
            return None
        try:
            base = open_vectors(self._reader.directory, record, self._key)
        except StoreError as error:
            _log.warning(
                "%s. Every vector is compared instead, which is slower; index again, or run nearfar doctor, to mend it",
                error,
            )
            return None
        return base if base.dim == self._reader.dim else None


def open_vectors(directory: Path, record: DerivedRecord, key: bytes | None) -> SignIndex | HnswIndex:
    """Open the derived file that finds vectors.

    Raises:
        StoreError: it is missing, cut off or damaged.
    """
    path = directory / record.file
    if record.kind == "signs":
        return SignIndex.read(content_of(directory, record, key), str(path))
    if key is not None:
        return HnswIndex.read(content_of(directory, record, key), str(path))
    return HnswIndex.open(check_size(directory, record))


def nearest(query: npt.NDArray[np.float32], blocks: Iterable[Codes], k: int) -> Found:
    """The k nearest of some vectors, all compared: rows, nearest first and equal ones by row, and cosines.

    Args:
        query: float32 (d,).
        blocks: of vectors, each looked at once.
        k: how many.
    """
    rows, scores = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
    for block in blocks:
        found = block.scores(query)
        rows, scores = np.concatenate([rows, block.rows]), np.concatenate([scores, found])
        if k < len(rows):
            border = np.partition(scores, len(rows) - k)[len(rows) - k]
            kept = np.flatnonzero(scores >= border)
            rows, scores = rows[kept], scores[kept]
    order = np.lexsort((rows, -scores))[:k]
    return rows[order], scores[order]
