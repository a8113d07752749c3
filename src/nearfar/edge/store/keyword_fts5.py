"""BM25 by FTS5 alone, where there are no postings; query words are chosen so that the time of a hybrid query stays bounded.

FTS5 reads an entry of its index in some 0.03 microseconds but takes most of a microsecond for the BM25 of one matching
passage, and a query that holds `the` and `return` matches half of the store. Hybrid search therefore finds candidates
by the rarest words, which decide the ranking, and computes BM25 for those only. Mode `keyword` computes it for all.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nearfar.edge.store.keyword_terms import Term, telling
from nearfar.edge.store.schema import COMMON_TERM

MAX_FOUND = 4000
"""Entries of the keyword index that may be read to find the candidates of a hybrid query."""
MAX_COUNTED = 8000
"""Entries that may be read to compute the BM25 of those candidates."""

Rows = npt.NDArray[np.int64]


class Fts5Search:
    """Turns the words of a query into the BM25 scores of FTS5."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Search the keywords of the store that `connection` reads."""
        self._connection = connection

    def holders(self, stems: Sequence[str]) -> list[int]:
        """About how many passages hold each stem; a guess on the low side for the rare ones, which are not counted."""
        sql = "SELECT c.term, c.documents FROM json_each(?) AS w JOIN term_counts AS c ON c.term = w.value"
        common = dict(self._connection.execute(sql, (json.dumps(stems),)).fetchall())
        return [common.get(stem, COMMON_TERM // 2) for stem in stems]

    def best(self, terms: Sequence[Term], total: int, k: int, allowed: Rows | None = None) -> list[tuple[int, float]]:
        """The k passages with the largest BM25; see `KeywordSearch.best`."""
        chosen = telling(terms, total)
        if not chosen:
            return []
        filtered, values = "", [_any_of(chosen)]
        if allowed is not None:
            # The plus keeps FTS5 from starting the whole query anew for every row.
            filtered = "AND +rowid IN (SELECT value FROM json_each(?))"
            values.append(json.dumps(allowed.tolist()))
        sql = f"SELECT rowid, -rank FROM keywords WHERE keywords MATCH ? {filtered} ORDER BY rank LIMIT ?"
        return self._connection.execute(sql, (*values, k)).fetchall()

    def candidates(self, terms: Sequence[Term], total: int, limit: int, allowed: Rows | None = None) -> Rows:
        """The passages most likely to lead by BM25, found without computing it.

        Passages are ordered by the summed inverse document frequency of the rarer words that they hold.
        """
        holders: list[Rows] = []
        weights: list[npt.NDArray[np.float64]] = []
        sql = "SELECT rowid FROM keywords WHERE keywords MATCH ?"
        for term in _affordable(terms, total, MAX_FOUND):
            found = self._connection.execute(sql, (_any_of([term]),)).fetchall()
            holders.append(np.fromiter((row for (row,) in found), dtype=np.int64, count=len(found)))
            idf = math.log((total - len(found) + 0.5) / (len(found) + 0.5)) if len(found) <= total else 0.0
            weights.append(np.full(len(found), max(idf, 1e-6)))
        if not holders:
            return np.zeros(0, dtype=np.int64)
        rows, places = np.unique(np.concatenate(holders), return_inverse=True)
        strength = np.bincount(places, np.concatenate(weights), minlength=len(rows))
        if allowed is not None:
            kept = np.isin(rows, allowed)
            rows, strength = rows[kept], strength[kept]
        return np.sort(rows[np.argsort(-strength, kind="stable")[:limit]])

    def scores(self, terms: Sequence[Term], total: int, rows: Sequence[int]) -> npt.NDArray[np.float32]:
        """BM25 of these passages over the words that are not too common; see `KeywordSearch.scores`."""
        scores = np.zeros(len(rows), dtype=np.float32)
        chosen = _affordable(terms, total, MAX_COUNTED)
        if chosen and len(rows):
            # The plus: as in `best`.
            sql = """SELECT rowid, -bm25(keywords) FROM keywords
                     WHERE keywords MATCH ? AND +rowid IN (SELECT value FROM json_each(?))"""
            found = dict(self._connection.execute(sql, (_any_of(chosen), json.dumps(rows))).fetchall())
            scores[:] = [found.get(row, 0.0) for row in rows]
        return scores


def _affordable(terms: Sequence[Term], total: int, passages: int) -> list[Term]:
    """The rarest words, together in about so many passages at most, and none that is in more than half of all.

    One word is taken even when it alone is in more, but not when it is in ten times as many: it would tell little.
    """
    chosen: list[Term] = []
    for term in terms:
        if not term.tells(total) or term.documents > (passages if chosen else 10 * passages):
            break
        chosen.append(term)
        passages -= term.documents
    return chosen


def _any_of(terms: Sequence[Term]) -> str:
    """An FTS5 expression: one of the words, each quoted."""
    return " OR ".join(f'"{word}"' for word in dict.fromkeys(term.word for term in terms))
