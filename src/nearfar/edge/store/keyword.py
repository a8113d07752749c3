"""Keyword search over the store: FTS5's BM25, with query words chosen so that the time stays bounded.

FTS5 reads an entry of its index in some 0.03 microseconds but takes most of a microsecond for the BM25 of one matching
document, and a query that holds `the` and `return` matches half of the store. Hybrid search therefore finds candidates
by the rarest words, which decide the ranking, and computes BM25 for those only. Mode `keyword` computes it for all.
"""

from __future__ import annotations

import json
import math
import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nearfar.edge.store.schema import COMMON_TERM, TOKENIZER

MAX_TERMS = 32
MAX_FOUND = 4000
"""Entries of the keyword index that may be read to find the candidates of a hybrid query."""
MAX_COUNTED = 8000
"""Entries that may be read to compute the BM25 of those candidates."""
MAX_SCORED = 300
"""Candidates whose BM25 is computed."""
_MAX_CHARACTERS = 20_000
_MAX_WORDS = 256

# Underscore is a border for the store's tokeniser as well.
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class Term:
    """A word of a query.

    Attributes:
        word: as the user wrote it, in lower case.
        stem: as the store keeps it.
        documents: about how many documents hold it (for rare words, a guess on the low side).
    """

    word: str
    stem: str
    documents: int


def distinct_words(query: str) -> list[str]:
    """The different words of a query in lower case, in its order; at most 256."""
    return list(dict.fromkeys(_WORD.findall(query[:_MAX_CHARACTERS].lower())))[:_MAX_WORDS]


class KeywordSearch:
    """Turns the words of a query into BM25 scores."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Search the keywords of the store that `connection` reads."""
        self._connection = connection
        # An empty table with the store's tokeniser, to see how it cuts and stems the words of a query.
        self._stemmer = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._stemmer.execute(f"CREATE VIRTUAL TABLE words USING fts5(word, tokenize='{TOKENIZER}')")
        self._stemmer.execute("CREATE VIRTUAL TABLE stems USING fts5vocab('words', 'instance')")

    def close(self) -> None:
        """Let go of the stemmer; the connection belongs to the caller."""
        self._stemmer.close()

    def terms(self, query: str) -> list[Term]:
        """The distinct words of a query, rarest first; at most 32 of the first 256.

        Only letters and digits make words, so no character of a query means anything to FTS5.
        """
        words = distinct_words(query)
        if not words:
            return []
        self._stemmer.execute("BEGIN")
        try:
            self._stemmer.executemany("INSERT INTO words (rowid, word) VALUES (?, ?)", enumerate(words))
            stems = dict(self._stemmer.execute("SELECT doc, term FROM stems").fetchall())
        finally:
            self._stemmer.execute("ROLLBACK")
        sql = "SELECT c.term, c.documents FROM json_each(?) AS w JOIN term_counts AS c ON c.term = w.value"
        common = dict(self._connection.execute(sql, (json.dumps(list(stems.values())),)).fetchall())
        terms = [Term(words[row], stem, common.get(stem, COMMON_TERM // 2)) for row, stem in stems.items()]
        return sorted(terms, key=lambda term: term.documents)[:MAX_TERMS]

    def best(self, terms: Sequence[Term], total: int, k: int) -> list[tuple[int, float]]:
        """The k documents with the largest BM25 as (row, score), best first.

        Args:
            terms: from `terms`. Those in more than half of the documents are left out where there are others: their
                inverse document frequency, and so their share of the score, is zero.
            total: number of documents in the store.
            k: how many to return.
        """
        telling = [term for term in terms if _tells(term, total)] or terms[:1]
        if not telling:
            return []
        sql = "SELECT rowid, -rank FROM keywords WHERE keywords MATCH ? ORDER BY rank LIMIT ?"
        return self._connection.execute(sql, (_any_of(telling), k)).fetchall()

    def candidates(self, terms: Sequence[Term], total: int) -> list[int]:
        """The documents most likely to lead by BM25, found without computing it.

        Documents are ordered by the summed inverse document frequency of the rarer words that they hold.

        Args:
            terms: from `terms`.
            total: number of documents in the store.

        Returns:
            Up to `MAX_SCORED` rows, ascending.
        """
        holders: list[npt.NDArray[np.int64]] = []
        weights: list[npt.NDArray[np.float64]] = []
        sql = "SELECT rowid FROM keywords WHERE keywords MATCH ?"
        for term in _affordable(terms, total, MAX_FOUND):
            found = self._connection.execute(sql, (_any_of([term]),)).fetchall()
            holders.append(np.fromiter((row for (row,) in found), dtype=np.int64, count=len(found)))
            idf = math.log((total - len(found) + 0.5) / (len(found) + 0.5))
            weights.append(np.full(len(found), max(idf, 1e-6)))
        if not holders:
            return []
        rows, places = np.unique(np.concatenate(holders), return_inverse=True)
        strength = np.bincount(places, np.concatenate(weights))
        kept: list[int] = np.sort(rows[np.argsort(-strength, kind="stable")[:MAX_SCORED]]).tolist()
        return kept

    def scores(self, terms: Sequence[Term], total: int, rows: Sequence[int]) -> npt.NDArray[np.float32]:
        """BM25 of these documents over the words that are not too common; 0 where a document holds none.

        Args:
            terms: from `terms`.
            total: number of documents in the store.
            rows: r rows, ascending.

        Returns:
            float32 (r,).
        """
        scores = np.zeros(len(rows), dtype=np.float32)
        chosen = _affordable(terms, total, MAX_COUNTED)
        if chosen and len(rows):
            # The plus keeps FTS5 from starting the whole query anew for every row.
            sql = """SELECT rowid, -bm25(keywords) FROM keywords
                     WHERE keywords MATCH ? AND +rowid IN (SELECT value FROM json_each(?))"""
            found = dict(self._connection.execute(sql, (_any_of(chosen), json.dumps(rows))).fetchall())
            scores[:] = [found.get(row, 0.0) for row in rows]
        return scores


def _affordable(terms: Sequence[Term], total: int, documents: int) -> list[Term]:
    """The rarest words, together in about so many documents at most, and none that is in more than half of all.

    One word is taken even when it alone is in more, but not when it is in ten times as many: it would tell little.
    """
    chosen: list[Term] = []
    for term in terms:
        if not _tells(term, total) or term.documents > (documents if chosen else 10 * documents):
            break
        chosen.append(term)
        documents -= term.documents
    return chosen


def _tells(term: Term, total: int) -> bool:
    """Whether the word is in less than half of the documents; in the others its weight in BM25 is zero."""
    return term.documents <= max(total / 2, COMMON_TERM)


def _any_of(terms: Sequence[Term]) -> str:
    """An FTS5 expression: one of the words, each quoted."""
    return " OR ".join(f'"{term.word}"' for term in terms)
