"""BM25 over postings: one file of them, newer ones in memory, and passages that are gone.

The statistics (number of passages, their mean length, how many hold a word) are those of the passages that are there
now, so the scores are those of SQLite's FTS5 over the same passages, whichever part a passage lies in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nearfar.index.bm25_part import ScoredPart, present
from nearfar.index.postings import Postings

_LEAST_IDF = 1e-6
_MOST_KNOWN = 4096

Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


class Bm25:
    """Scores the passages of one or more postings; rows ascend from one to the next.

    Keeps 8 bytes a passage, the scores of the last query, and up to 16 MB of what common words add to the scores.
    """

    def __init__(self, parts: Sequence[Postings], removed: Rows | None = None) -> None:
        """Look at the passages of `parts` but for those in the rows `removed`, int64 (r,)."""
        hidden = np.zeros(0, dtype=np.int64) if removed is None else removed
        gone = [present(postings.passages_of(hidden)) for postings in parts]
        self.total = sum(len(postings) for postings in parts) - sum(len(passages) for passages in gone)
        """Number of passages that are there."""
        words = sum(int(postings.lengths.sum(dtype=np.uint64)) for postings in parts)
        words -= sum(
            int(postings.lengths[passages].sum(dtype=np.uint64)) for postings, passages in zip(parts, gone, strict=True)
        )
        mean = max(words, 1) / max(self.total, 1)
        self._parts = [ScoredPart.of(postings, passages, mean) for postings, passages in zip(parts, gone, strict=True)]
        self._scored: tuple[str, ...] | None = None
        # Most words of a query have been asked for before.
        self._known: dict[str, tuple[list[int | None], int]] = {}

    def holders(self, word: str) -> int:
        """How many passages hold a word, as the store's tokeniser makes it."""
        return self._look_up(word)[1]

    def best(self, words: Sequence[str], k: int, allowed: Rows | None = None) -> tuple[Rows, Floats]:
        """The k passages with the largest scores.

        Args:
            words: different words, as the store's tokeniser makes them.
            k: how many at most; only passages that hold a word are found.
            allowed: rows that may be found, int64 ascending; all by default.

        Returns:
            Rows int64 and scores float32, best first; of equals the older row first.
        """
        self._score(words)
        found = [part.best(k, allowed) for part in self._parts]
        if not found:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
        rows = np.concatenate([rows for rows, _ in found])
        scores = np.concatenate([scores for _, scores in found])
        order = np.lexsort((rows, -scores))[:k]
        return rows[order], scores[order]

    def scores_of(self, words: Sequence[str], rows: Rows) -> Floats:
        """The scores of these rows, float32 (r,); 0 for one that holds no word or is not there."""
        self._score(words)
        scores = np.zeros(len(rows), dtype=np.float32)
        for part in self._parts:
            passages = part.postings.passages_of(rows)
            here = passages >= 0
            scores[here] = part.scores[passages[here]]
        return scores

    def _score(self, words: Sequence[str]) -> None:
        """Fill the scores of all passages, unless they are those of these words already."""
        if self._scored == (scored := tuple(words)):
            return
        self._scored = None
        weights: list[list[tuple[int, float]]] = [[] for _ in self._parts]
        for word in words:
            numbers, held = self._look_up(word)
            for number, weight in zip(numbers, weights, strict=True):
                if number is not None:
                    weight.append((number, _idf(self.total, held)))
        for part, weight in zip(self._parts, weights, strict=True):
            part.score(weight)
        self._scored = scored

    def _look_up(self, word: str) -> tuple[list[int | None], int]:
        """The number of a word in each part and how many passages hold it."""
        if (known := self._known.get(word)) is None:
            numbers = [part.postings.find(word) for part in self._parts]
            parts = zip(self._parts, numbers, strict=True)
            known = numbers, sum(part.holders(number) for part, number in parts if number is not None)
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[word] = known
        return known


def _idf(total: int, held: int) -> float:
    """As in FTS5: a word in more than half of the passages still finds, but hardly counts."""
    return max(math.log((total - held + 0.5) / (held + 0.5)), _LEAST_IDF) if held < total else _LEAST_IDF
