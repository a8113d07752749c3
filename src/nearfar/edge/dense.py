"""Nearest documents by embedding: a graph over most rows, an exact scan over the rest.

The graph is only ever a shortcut. Rows after the last one it covers are scanned, rows that are gone are masked, and when
its file is missing, damaged or another one's, every row is scanned: slower, never wrong.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nearfar.edge.store.graph_record import GraphRecord
from nearfar.edge.store.reader import Codes, StoreReader
from nearfar.errors import StoreError
from nearfar.index.hnsw import HnswIndex
from nearfar.index.quantise import int8_scores

_log = logging.getLogger(__name__)

# The graph compares 8-bit codes of its own; a few more than asked for are compared again by the store's.
_MARGIN = 16
_SCAN_SHARE = 4

Rows = npt.NDArray[np.int64]


class DenseSearch:
    """Follows one store; call `refresh` inside a snapshot before `search`."""

    def __init__(self, reader: StoreReader) -> None:
        """Search the vectors that `reader` reads; nothing is loaded yet."""
        self._reader = reader
        self._generation = -1
        self._record: GraphRecord | None = None
        self._graph: HnswIndex | None = None
        self._removed: Rows = np.empty(0, dtype=np.int64)
        self._tail: Codes = _no_codes(reader.dim)
        self.total = 0

    def refresh(self) -> None:
        """Catch up with what a writer has done since the last call."""
        generation = self._reader.generation()
        if generation == self._generation:
            return
        record = self._reader.graph()
        if record != self._record or self._generation < 0:
            self._record, self._graph = record, self._open(record)
            self._tail = _no_codes(self._reader.dim)
        covered = self._record.last_rowid if self._record and self._graph else 0
        self._removed = self._reader.removed() if covered else np.empty(0, dtype=np.int64)
        rows = self._tail[0]
        last = int(rows[-1]) if len(rows) else covered
        # Rows are only ever added after the last one, so the count tells whether any known row is gone.
        if self._reader.count_between(covered, last) != len(rows):
            self._tail, last = _no_codes(self._reader.dim), covered
        self._tail = _joined(self._tail, self._reader.codes_after(last))
        self.total = self._reader.count()
        self._generation = generation

    def search(self, query: npt.NDArray[np.float32], k: int) -> tuple[Rows, npt.NDArray[np.float32]]:
        """The k nearest documents.

        Args:
            query: float32 (d,).
            k: how many; more than there are gives all.

        Returns:
            Rows int64 (r,), nearest first, and cosines float32 (r,) by the store's codes; r is at most k. Equal cosines
            are ordered by row.
        """
        k = min(k, self.total)
        graph = self._graph
        if graph is not None and k * _SCAN_SHARE >= len(graph):
            # Walking a graph to collect much of it is slower than a scan, and may miss corners of it.
            return _best(query, self._reader.codes_after(0), k)
        if graph is None:
            return _best(query, self._tail, k)
        _, found = graph.search(query[None], k + _MARGIN, without=self._removed)
        rows = found[0][found[0] >= 0]
        tail_rows, _ = _best(query, self._tail, k)
        return _best(query, self._reader.codes_of([*rows.tolist(), *tail_rows.tolist()]), k)

    def cosines(self, query: npt.NDArray[np.float32], rows: Sequence[int]) -> npt.NDArray[np.float32]:
        """The cosines of rows that are there, float32 (r,) in their order."""
        _, codes, scales = self._reader.codes_of(rows)
        return int8_scores(query, codes, scales)

    def _open(self, record: GraphRecord | None) -> HnswIndex | None:
        if record is None:
            return None
        try:
            graph = HnswIndex.open(self._reader.directory / record.file, sha256=record.sha256)
        except StoreError as error:
            _log.warning("%s. Every vector is compared instead, which is slower; index again to mend it", error)
            return None
        return graph if graph.dim == self._reader.dim else None


def _best(query: npt.NDArray[np.float32], codes: Codes, k: int) -> tuple[Rows, npt.NDArray[np.float32]]:
    rows, values, scales = codes
    scores = int8_scores(query, values, scales)
    if k < len(rows):
        border = np.partition(scores, len(rows) - k)[len(rows) - k]
        kept = np.flatnonzero(scores >= border)
        rows, scores = rows[kept], scores[kept]
    order = np.lexsort((rows, -scores))[:k]
    return rows[order], scores[order]


def _no_codes(dim: int) -> Codes:
    return np.empty(0, dtype=np.int64), np.empty((0, dim), dtype=np.int8), np.empty(0, dtype=np.float32)


def _joined(first: Codes, second: Codes) -> Codes:
    if not len(first[0]):
        return second
    if not len(second[0]):
        return first
    return (
        np.concatenate([first[0], second[0]]),
        np.concatenate([first[1], second[1]]),
        np.concatenate([first[2], second[2]]),
    )
