"""Keyword search over the store: BM25 by postings where the store has them, by FTS5 where it has not.

Postings are a file derived from the FTS5 table: they cover the rows up to some point. Newer rows are cut into words
once, into postings in memory; rows that are gone are masked. The scores are the same whichever way they are found.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nearfar.edge.store.keyword_fts5 import Fts5Search
from nearfar.edge.store.keyword_stems import Stemmer
from nearfar.edge.store.keyword_terms import MAX_TERMS, Term, distinct_words, telling
from nearfar.index.bm25 import Bm25
from nearfar.index.postings import Postings

__all__ = ["MAX_NEWER", "MAX_SCORED", "MAX_TERMS", "KeywordSearch", "Term", "distinct_words"]

MAX_SCORED = 300
"""Candidates of a hybrid query whose BM25 FTS5 computes."""
MAX_NEWER = 4096
"""Passages newer than the postings that are cut into words in memory, at some 30 microseconds each. With more of them
FTS5 alone is asked, until indexing has written the postings anew."""

Rows = npt.NDArray[np.int64]


class KeywordSearch:
    """Turns the words of a query into BM25 scores."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Search the keywords of the store that `connection` reads, by FTS5 until `refresh` brings postings."""
        self._connection = connection
        self._stemmer = Stemmer()
        self._fts5 = Fts5Search(connection)
        self._bm25: Bm25 | None = None
        self._base: Postings | None = None
        self._newer: Postings | None = None
        self._newer_rows = np.zeros(0, dtype=np.int64)

    def close(self) -> None:
        """Let go of the stemmer and the postings; the connection belongs to the caller."""
        self._stemmer.close()
        self._bm25 = self._base = self._newer = None

    def refresh(self, base: Postings | None, removed: Rows | None = None) -> None:
        """Search the present state of the store; to be called after every change of it, in the same snapshot.

        Args:
            base: the postings that belong to the state; None where there are none or they cannot be used.
            removed: rows that `base` covers and that are gone, int64 (r,); others among them do no harm.

        Raises:
            sqlite3.Error: the store could not be read.
        """
        self._bm25 = None
        if base is None:
            self._base = self._newer = None
            return
        sql = "SELECT id FROM keywords_docsize WHERE id > ? ORDER BY id LIMIT ?"
        found = self._connection.execute(sql, (base.last_row, MAX_NEWER + 1)).fetchall()
        if len(found) > MAX_NEWER:
            return
        rows = np.fromiter((row for (row,) in found), dtype=np.int64, count=len(found))
        # A row never changes its text, so the same rows have the same words.
        if base is not self._base or self._newer is None or not np.array_equal(rows, self._newer_rows):
            texts = self._connection.execute(
                "SELECT rowid, * FROM keywords WHERE rowid > ? ORDER BY rowid", (base.last_row,)
            )
            self._newer = self._stemmer.postings((row, "\n".join(columns)) for row, *columns in texts)
            self._base, self._newer_rows = base, rows
        self._bm25 = Bm25([base, self._newer] if len(rows) else [base], removed)

    def terms(self, query: str) -> list[Term]:
        """The distinct words of a query, rarest first; at most 32 of the first 256.

        Only letters and digits make words, so no character of a query means anything to FTS5.
        """
        words = distinct_words(query)
        stems = self._stemmer.stems(words)
        pairs = [(word, stem) for word in words for stem in stems[word]]
        if self._bm25 is not None:
            holders = [self._bm25.holders(stem) for _, stem in pairs]
        else:
            holders = self._fts5.holders([stem for _, stem in pairs]) if pairs else []
        terms = [Term(word, stem, held) for (word, stem), held in zip(pairs, holders, strict=True)]
        return sorted(terms, key=lambda term: term.documents)[:MAX_TERMS]

    def best(self, terms: Sequence[Term], total: int, k: int, allowed: Rows | None = None) -> list[tuple[int, float]]:
        """The k passages with the largest BM25 as (row, score), best first.

        Args:
            terms: from `terms`. Those in more than half of the passages are left out where there are others: their
                inverse document frequency, and so their share of the score, is zero.
            total: number of passages in the store.
            k: how many to return.
            allowed: rows that may be returned, int64 ascending; all by default.
        """
        if self._bm25 is None:
            return self._fts5.best(terms, total, k, allowed)
        rows, scores = self._bm25.best(_stems(terms, total), k, allowed)
        return list(zip(rows.tolist(), scores.tolist(), strict=True))

    def candidates(
        self, terms: Sequence[Term], total: int, limit: int = MAX_SCORED, allowed: Rows | None = None
    ) -> list[int]:
        """The passages that lead by BM25; without postings, those most likely to.

        Args:
            terms: from `terms`.
            total: number of passages in the store.
            limit: how many to return.
            allowed: rows that may be returned, int64 ascending; all by default.

        Returns:
            Up to `limit` rows, ascending.
        """
        if self._bm25 is None:
            rows = self._fts5.candidates(terms, total, max(limit, MAX_SCORED), allowed)
            scores = self._fts5.scores(terms, total, rows.tolist())
            rows = np.sort(rows[np.argsort(-scores, kind="stable")[:limit]])
        else:
            rows = np.sort(self._bm25.best(_stems(terms, total), limit, allowed)[0])
        found: list[int] = rows.tolist()
        return found

    def scores(self, terms: Sequence[Term], total: int, rows: Sequence[int]) -> npt.NDArray[np.float32]:
        """BM25 of these passages; 0 where one holds none of the words. Without postings, over the rarer words only.

        Args:
            terms: from `terms`; after `candidates` or `best` of the same words this takes next to no time.
            total: number of passages in the store.
            rows: r rows, ascending.

        Returns:
            float32 (r,).
        """
        if self._bm25 is None:
            return self._fts5.scores(terms, total, rows)
        return self._bm25.scores_of(_stems(terms, total), np.array(rows, dtype=np.int64))


def _stems(terms: Sequence[Term], total: int) -> list[str]:
    return [term.stem for term in telling(terms, total)]
