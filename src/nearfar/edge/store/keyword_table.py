"""The words of an FTS5 table, read in the order in which postings are written."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from nearfar.index.postings_writer import write_postings

_AT_ONCE = 1 << 16


def write_keyword_postings(connection: sqlite3.Connection, file: BinaryIO, *, table: str = "keywords") -> int:
    """Write the postings of everything that an FTS5 table of the main database holds now.

    FTS5 keeps its words sorted, so they are copied in one pass and never sorted again: some 30 bytes a passage are in
    memory meanwhile.

    Args:
        connection: may be unable to write. What it sees must not change meanwhile, so a transaction is begun unless
            the caller is in one.
        file: an empty file that can be sought; see `nearfar.index.derived_file`.
        table: the name of the FTS5 table.

    Returns:
        The last row that the postings cover.

    Raises:
        StoreError: the table contradicts itself.
        OSError: the file could not be written.
        sqlite3.Error: the table could not be read.
    """
    with _vocabulary(connection, table), _unchanging(connection):
        ids = connection.execute(f"SELECT id FROM {table}_docsize ORDER BY id")
        rows = np.concatenate([np.zeros(0, dtype=np.int64), *_arrays(ids)])
        # Bytes: FTS5 cuts a word of more than 32,768 bytes wherever that falls, even inside of a letter.
        # Both lists are in the order of the words' bytes, and the second is in order of the rows for each word.
        words = connection.execute("SELECT CAST(term AS BLOB), cnt FROM temp.keyword_words")
        occurrences = connection.execute("SELECT doc FROM temp.keyword_occurrences")
        write_postings(file, rows, words, _arrays(occurrences))
        return int(rows[-1]) if len(rows) else 0


def _arrays(cursor: sqlite3.Cursor) -> Iterator[npt.NDArray[np.int64]]:
    """The only column of a cursor, piece by piece."""
    while part := cursor.fetchmany(_AT_ONCE):
        yield np.fromiter((value for (value,) in part), dtype=np.int64, count=len(part))


@contextmanager
def _vocabulary(connection: sqlite3.Connection, table: str) -> Iterator[None]:
    run = connection.execute
    run(f"CREATE VIRTUAL TABLE temp.keyword_words USING fts5vocab('main', '{table}', 'row')")
    try:
        run(f"CREATE VIRTUAL TABLE temp.keyword_occurrences USING fts5vocab('main', '{table}', 'instance')")
        try:
            yield
        finally:
            run("DROP TABLE temp.keyword_occurrences")
    finally:
        run("DROP TABLE temp.keyword_words")


@contextmanager
def _unchanging(connection: sqlite3.Connection) -> Iterator[None]:
    if connection.in_transaction:
        yield
        return
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
