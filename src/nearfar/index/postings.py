"""Postings: which passages hold a word, and how often, as arrays that are searched where they lie.

A posting is two bytes. The passages of a word are cut into blocks of 65,536 and within a block put together by how
often they hold the word, so that block and frequency are said once for a whole run of postings:

    word 'csv'  ->  runs (block 0, once): 17, 230, 4011   (block 0, three times): 18   (block 1, once): 5

That takes half of the room of FTS5's index and is added up at some nanoseconds a posting. Words are found by binary
search in a sorted blob; nothing is read into memory that a query does not touch.
"""

from __future__ import annotations

import mmap
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nearfar.errors import StoreError
from nearfar.index.postings_format import BLOCK, climbs, read_header, sections_of, stretches_fit

_ADDED_AT_ONCE = 1 << 16
_K1, _B = 1.2, 0.75

Places = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float32]


class Postings:
    """The words of n passages; made by `write_postings`, opened by `Postings.open`, never changed."""

    def __init__(self, buffer: Any, name: str = "postings") -> None:
        """Look at postings in memory.

        Every offset that a query follows is checked here, so that no content can make one read outside of `buffer`.

        Args:
            buffer: the bytes of a file: `bytes`, `mmap` or another buffer.
            name: how messages call it.

        Raises:
            StoreError: it is not complete, was altered, or is of another version.
        """
        view = memoryview(buffer)
        counts = read_header(view, name)
        sections = sections_of(view, counts)
        self._low = sections["low"]
        self.lengths: npt.NDArray[np.uint32] = sections["lengths"]
        """Number of words of each passage, uint32 (n,)."""
        self._stretch_passages = sections["stretch_passages"]
        self._stretch_rows = sections["stretch_rows"]
        self._run_begins = sections["run_begins"]
        self._run_blocks = sections["run_blocks"]
        self._run_frequencies = sections["run_frequencies"]
        self.last_row = counts.last_row
        self._blocks = -(-counts.passages // BLOCK)
        sound = (
            climbs(sections["word_ends"], counts.characters)
            and climbs(sections["word_runs"], counts.runs)
            and climbs(self._run_begins, counts.postings)
            and stretches_fit(self._stretch_passages, self._stretch_rows, counts)
            and (not counts.runs or int(self._run_blocks.max()) < self._blocks)
        )
        if not sound:
            raise StoreError(f"{name}: the keyword postings are damaged; they are made again by the next indexing")
        # Views that give Python numbers: a binary search asks for single values, which numpy hands out slowly.
        self._words = sections["characters"].data
        self._word_ends = sections["word_ends"].data
        self._word_runs = sections["word_runs"].data

    @classmethod
    def open(cls, path: Path) -> Postings:
        """Map a file into memory; nothing but its directory of words is read.

        Raises:
            StoreError: it is missing, not complete, was altered, or is of another version.
        """
        try:
            with path.open("rb") as file:
                buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:  # an empty file cannot be mapped
            raise StoreError(f"{path}: cannot read the keyword postings: {error}") from error
        return cls(buffer, str(path))

    def __len__(self) -> int:
        """Number of passages."""
        return len(self.lengths)

    @property
    def room(self) -> int:
        """Length of the arrays that `add_scores` works on: whole blocks, so that every two-byte posting falls inside."""
        return self._blocks * BLOCK

    def norms(self, mean_length: float) -> Floats:
        """What BM25 adds to the frequency in its divisor, float32 (room,)."""
        norms = np.full(self.room, _K1, dtype=np.float32)
        norms[: len(self)] = self.lengths
        norms[: len(self)] *= _K1 * _B / mean_length
        norms[: len(self)] += _K1 * (1 - _B)
        return norms

    def rows_of(self, passages: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int64]:
        """The rows of passages given by number, int64."""
        stretch = np.searchsorted(self._stretch_passages, passages, side="right") - 1
        rows: npt.NDArray[np.int64] = self._stretch_rows[stretch] + (passages - self._stretch_passages[stretch])
        return rows

    def passages_of(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The numbers of the passages in these rows, int64; -1 for a row that is not here."""
        if not len(self):
            return np.full(len(rows), -1, dtype=np.int64)
        stretch = np.maximum(np.searchsorted(self._stretch_rows, rows, side="right") - 1, 0)
        passages = self._stretch_passages[stretch] + (rows - self._stretch_rows[stretch])
        ends = np.append(self._stretch_passages[1:], len(self))[stretch]
        inside = (rows >= self._stretch_rows[stretch]) & (passages < ends)
        return np.where(inside, passages, -1)

    def find(self, word: str) -> int | None:
        """The number of a word, as the store's tokeniser makes it; None if no passage holds it."""
        wanted = word.encode("utf-8", "replace")
        number = bisect_left(range(len(self._word_ends) - 1), wanted, key=self._word)
        if number < len(self._word_ends) - 1 and self._word(number) == wanted:
            return number
        return None

    def holders(self, number: int) -> int:
        """How many passages hold a word."""
        first, last = self._word_runs[number], self._word_runs[number + 1]
        return int(self._run_begins[last]) - int(self._run_begins[first])

    def passages(self, number: int) -> Places:
        """The passages that hold a word, intp, in no order that means anything."""
        first, last = self._word_runs[number], self._word_runs[number + 1]
        places, _ = self._places([(first, last)])
        return places

    def add_scores(self, weights: Sequence[tuple[int, float]], norms: Floats, scores: Floats) -> None:
        """Add the BM25 of some words to the scores of all passages.

        Args:
            weights: number and inverse document frequency of each word.
            norms: from `norms`, float32 (room,).
            scores: float32 (room,), changed in place.

        Source: Robertson & Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009, equation 3.15,
        with the constants of SQLite's FTS5.
        """
        batch: list[tuple[int, float]] = []
        size = 0
        for number, weight in weights:
            # Rare words together, for numpy's price is a call; common ones alone, to stay in the processor's cache.
            if batch and size + self.holders(number) > _ADDED_AT_ONCE:
                self._add(batch, norms, scores)
                batch, size = [], 0
            batch.append((number, weight))
            size += self.holders(number)
        if batch:
            self._add(batch, norms, scores)

    def _add(self, weights: Sequence[tuple[int, float]], norms: Floats, scores: Floats) -> None:
        spans = [(self._word_runs[number], self._word_runs[number + 1]) for number, _ in weights]
        places, sizes = self._places(spans)
        frequencies = _joined(self._run_frequencies, spans).astype(np.float32)
        factors = np.array([weight * (_K1 + 1) for _, weight in weights], dtype=np.float32)
        numerators = frequencies * np.repeat(factors, [last - first for first, last in spans])
        divisors = norms.take(places)
        divisors += np.repeat(frequencies, sizes)
        added = np.repeat(numerators, sizes)
        added /= divisors
        np.add.at(scores, places, added)

    def _places(self, spans: Sequence[tuple[int, int]]) -> tuple[Places, npt.NDArray[np.intp]]:
        """The passages of spans of runs, one after the other, and the size of each run."""
        begins = [self._run_begins[first : last + 1] for first, last in spans]
        sizes = np.concatenate([np.diff(begin) for begin in begins]).astype(np.intp)
        places = np.concatenate([self._low[begin[0] : begin[-1]] for begin in begins]).astype(np.intp)
        if self._blocks > 1:
            places += np.repeat(_joined(self._run_blocks, spans).astype(np.intp) * BLOCK, sizes)
        return places, sizes

    def _word(self, number: int) -> bytes:
        return bytes(self._words[self._word_ends[number] : self._word_ends[number + 1]])


def _joined(values: npt.NDArray[Any], spans: Sequence[tuple[int, int]]) -> npt.NDArray[Any]:
    return np.concatenate([values[first:last] for first, last in spans])
