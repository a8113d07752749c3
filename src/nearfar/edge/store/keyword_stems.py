"""The store's tokeniser, for words that are not in the store: those of a query, and passages newer than the postings."""

from __future__ import annotations

import io
import sqlite3
from collections.abc import Iterable, Sequence

from nearfar.edge.store.keyword_table import write_keyword_postings
from nearfar.edge.store.schema import TOKENIZER
from nearfar.index.postings import Postings

_MOST_KNOWN = 8192


class Stemmer:
    """Cuts and stems by FTS5 itself, in a table in memory that is empty between two calls."""

    def __init__(self) -> None:
        """Make the table."""
        self._connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        # Without content: the words are wanted, not the texts.
        self._connection.execute(f"CREATE VIRTUAL TABLE words USING fts5(word, content='', tokenize='{TOKENIZER}')")
        self._connection.execute("CREATE VIRTUAL TABLE stems USING fts5vocab('words', 'instance')")
        # The same few thousand words make most of all queries.
        self._known: dict[str, tuple[str, ...]] = {}

    def close(self) -> None:
        """Let go of the table."""
        self._connection.close()

    def stems(self, words: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """What FTS5 makes of each word: mostly one stem; none of a word that it does not see, several of one it cuts."""
        if len(self._known) > _MOST_KNOWN:
            self._known.clear()
        new = [word for word in words if word not in self._known]
        if new:
            self._known.update(zip(new, self._cut(new), strict=True))
        return {word: self._known[word] for word in words}

    def _cut(self, words: Sequence[str]) -> list[tuple[str, ...]]:
        found: list[list[str]] = [[] for _ in words]
        self._connection.execute("BEGIN")
        try:
            self._connection.executemany("INSERT INTO words (rowid, word) VALUES (?, ?)", enumerate(words))
            for row, stem in self._connection.execute("SELECT doc, CAST(term AS BLOB) FROM stems ORDER BY doc, offset"):
                found[row].append(stem.decode("utf-8", "replace"))
        finally:
            self._connection.execute("ROLLBACK")
        return [tuple(stems) for stems in found]

    def postings(self, texts: Iterable[tuple[int, str]]) -> Postings:
        """Postings in memory of some passages, (row, text) with the rows ascending."""
        file = io.BytesIO()
        self._connection.execute("BEGIN")
        try:
            self._connection.executemany("INSERT INTO words (rowid, word) VALUES (?, ?)", texts)
            write_keyword_postings(self._connection, file, table="words")
        finally:
            self._connection.execute("ROLLBACK")
        return Postings(file.getvalue(), "newer passages")
