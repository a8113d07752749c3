"""Reading the store: one connection that never writes, also on a medium that cannot be written."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nearfar.edge.store.failures import explained
from nearfar.edge.store.graph_record import GraphRecord
from nearfar.edge.store.schema import FORMAT, store_path
from nearfar.errors import StoreError

Codes = tuple[npt.NDArray[np.int64], npt.NDArray[np.int8], npt.NDArray[np.float32]]
"""Row numbers int64 (n,), codes int8 (n, d) and scales float32 (n,) of some vectors."""


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document as the store keeps it; the fields are those of `sources.Document`."""

    rowid: int
    id: str
    title: str
    text: str
    location: str


class StoreReader:
    """Reads one index. Several processes may, while one writes."""

    def __init__(self, directory: Path) -> None:
        """Open the store in `directory`.

        Raises:
            StoreError: there is none, or it is damaged, or a newer nearfar wrote it.
        """
        self.directory = directory
        path = store_path(directory)
        if not path.is_file():
            raise StoreError(
                f"{directory}: there is no search index here (no {path.name}); build one with: nearfar index"
            )
        with explained(directory):
            self.connection, meta = _open(path)
        if meta.get("format") != str(FORMAT):
            self.close()
            raise StoreError(
                f"{directory}: the index has format {meta.get('format')}, this nearfar reads {FORMAT}; "
                "use the nearfar that made it, or build it again with --rebuild"
            )
        self._counted = (-1, 0)
        self.dim = int(meta["dim"])
        self.bundle_digest = meta["bundle"]

    def close(self) -> None:
        """Let go of the file."""
        self.connection.close()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Everything read inside belongs to the same state of the store, whatever a writer does meanwhile."""
        with explained(self.directory):
            self.connection.execute("BEGIN")
            try:
                yield
            finally:
                self.connection.execute("ROLLBACK")

    def generation(self) -> int:
        """A number that grows with every change."""
        row = self.connection.execute("SELECT value FROM meta WHERE key = 'generation'").fetchone()
        return int(row[0])

    def graph(self) -> GraphRecord | None:
        """The graph file that belongs to this state, if there is one."""
        row = self.connection.execute("SELECT value FROM meta WHERE key = 'graph'").fetchone()
        return GraphRecord.parse(row[0]) if row else None

    def count(self) -> int:
        """Number of documents."""
        generation = self.generation()
        if self._counted[0] != generation:
            found = self.connection.execute("SELECT count(*) FROM documents").fetchone()
            self._counted = (generation, int(found[0]))
        return self._counted[1]

    def count_between(self, after: int, last: int) -> int:
        """Number of rows in (after, last]."""
        sql = "SELECT count(*) FROM vectors WHERE rowid > ? AND rowid <= ?"
        return int(self.connection.execute(sql, (after, last)).fetchone()[0])

    def removed(self) -> npt.NDArray[np.int64]:
        """Rows that the graph covers and that are gone, int64 (r,)."""
        return np.array([row for (row,) in self.connection.execute("SELECT rowid FROM removed")], dtype=np.int64)

    def codes_after(self, rowid: int) -> Codes:
        """The vectors of all rows after `rowid`, in order."""
        sql = "SELECT rowid, code, scale FROM vectors WHERE rowid > ? ORDER BY rowid"
        return self._codes(self.connection.execute(sql, (rowid,)))

    def codes_of(self, rowids: Sequence[int]) -> Codes:
        """The vectors of the rows asked for, in their order; a row that is not there is left out."""
        sql = "SELECT v.rowid, v.code, v.scale FROM json_each(?) AS wanted JOIN vectors AS v ON v.rowid = wanted.value"
        return self._codes(self.connection.execute(sql, (json.dumps(rowids),)))

    def documents_of(self, rowids: Sequence[int]) -> dict[int, StoredDocument]:
        """The documents of the rows asked for, by row; a row that is not there is left out."""
        sql = """SELECT d.rowid, d.doc_id, d.title, d.text, d.location
                 FROM json_each(?) AS wanted JOIN documents AS d ON d.rowid = wanted.value"""
        return {row[0]: StoredDocument(*row) for row in self.connection.execute(sql, (json.dumps(rowids),))}

    def ids_of(self, rowids: Sequence[int]) -> dict[int, str]:
        """The document ids of the rows asked for, by row."""
        sql = "SELECT d.rowid, d.doc_id FROM json_each(?) AS wanted JOIN documents AS d ON d.rowid = wanted.value"
        return dict(self.connection.execute(sql, (json.dumps(rowids),)).fetchall())

    def _codes(self, rows: sqlite3.Cursor) -> Codes:
        return codes_of_rows(rows.fetchall(), self.dim)


def codes_of_rows(rows: Sequence[tuple[int, bytes, float]], dim: int) -> Codes:
    """Rows of the `vectors` table (rowid, code, scale) as arrays."""
    joined = b"".join([row[1] for row in rows])
    if len(joined) != len(rows) * dim:
        raise StoreError("the index is damaged (a vector has the wrong length); build it again with --rebuild")
    codes = np.frombuffer(joined, dtype=np.int8).reshape(len(rows), dim)
    scales = np.array([row[2] for row in rows], dtype=np.float32)
    return np.array([row[0] for row in rows], dtype=np.int64), codes, scales


def _open(path: Path) -> tuple[sqlite3.Connection, dict[str, str]]:
    """Connect without the right to write, and read `meta`."""
    address = path.resolve().as_uri()
    try:
        return _connect(f"{address}?mode=ro")
    except sqlite3.OperationalError as error:
        journal = path.with_name(f"{path.name}-wal")
        if error.sqlite_errorcode & 0xFF not in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}:
            raise
        # SQLite wants to keep its shared memory beside the file. On a read-only medium nobody writes, so it may go
        # without; but then it would also not see what a crashed writer left in the journal.
        if journal.exists() and journal.stat().st_size:
            raise StoreError(
                f"{path.parent}: the folder cannot be written and the last indexing did not finish; "
                "copy the index to a folder that can be written and open it there once"
            ) from error
        return _connect(f"{address}?immutable=1")


def _connect(address: str) -> tuple[sqlite3.Connection, dict[str, str]]:
    connection = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False, timeout=10.0)
    try:
        return connection, dict(connection.execute("SELECT key, value FROM meta").fetchall())
    except BaseException:
        connection.close()
        raise
