"""The words of a text as the index on the device counts them, so that a server's BM25 is the device's."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from nearfar.edge.store.schema import TOKENIZER


class Stemmer:
    """FTS5's own tokeniser, over texts that are never stored."""

    def __init__(self) -> None:
        """Make an empty table in memory."""
        self._database = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        # It can cut a very long word in the middle of a character.
        self._database.text_factory = lambda stem: stem.decode("utf-8", "replace")
        self._database.execute(f"CREATE VIRTUAL TABLE texts USING fts5(heading, text, tokenize='{TOKENIZER}')")
        self._database.execute("CREATE VIRTUAL TABLE stems USING fts5vocab('texts', 'instance')")

    def close(self) -> None:
        """Let go of the memory."""
        self._database.close()

    def positions(self, texts: Sequence[tuple[str, str]]) -> list[dict[str, list[int]]]:
        """Where each stem stands.

        Args:
            texts: n headings and texts.

        Returns:
            n dicts: stem -> places, counted from 0 over the words of the heading and then of the text.
        """
        found: list[dict[str, list[int]]] = [{} for _ in texts]
        self._database.execute("BEGIN")
        try:
            self._database.executemany(
                "INSERT INTO texts (rowid, heading, text) VALUES (?, ?, ?)",
                ((row, heading, text) for row, (heading, text) in enumerate(texts)),
            )
            begins: dict[int, int] = dict(
                self._database.execute("SELECT doc, max(offset) + 1 FROM stems WHERE col = 'heading' GROUP BY doc")
            )
            for stem, row, column, offset in self._database.execute("SELECT term, doc, col, offset FROM stems"):
                place = offset if column == "heading" else begins.get(row, 0) + offset
                found[row].setdefault(stem, []).append(place)
        finally:
            self._database.execute("ROLLBACK")
        return found


def quoted(stem: str) -> str:
    """A stem as PostgreSQL's `tsvector` and `tsquery` read it."""
    escaped = stem.replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'"
