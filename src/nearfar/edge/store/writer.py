"""Writing the store: batches that are wholly there or not at all, and one writer at a time."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nearfar.edge.store.failures import explained
from nearfar.edge.store.graph_record import GraphRecord
from nearfar.edge.store.reader import Codes, codes_of_rows
from nearfar.edge.store.schema import COMMON_TERM, FORMAT, LOCK_FILE, SCHEMA, store_path
from nearfar.errors import StoreError
from nearfar.index.quantise import quantise_int8
from nearfar.sources.document import Document

_REMOVE_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class KnownDocument:
    """What the store already has under a document's id."""

    rowid: int
    digest: bytes
    location: str
    seen: bool


@contextmanager
def writer_lock(directory: Path) -> Iterator[None]:
    """Be the only process that writes the index in `directory`.

    The lock is SQLite's own exclusive lock on an empty file: it works on every system that the store works on, and the
    system lets go of it when the process is killed.

    Raises:
        StoreError: another process has it; the message says which.
    """
    path = directory / LOCK_FILE
    owner = directory / f"{LOCK_FILE}.owner"
    with explained(directory):
        lock = sqlite3.connect(path, isolation_level=None, timeout=0.0)
        try:
            lock.execute("BEGIN EXCLUSIVE")
            owner.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
        except BaseException as error:
            lock.close()
            if isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
                raise StoreError(
                    f"{directory}: {_holder(owner)} is indexing here; wait until it has finished"
                ) from error
            raise
    try:
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.close()


def _holder(owner: Path) -> str:
    try:
        return owner.read_text(encoding="utf-8", errors="replace")[:200] or "another process"
    except OSError:
        return "another process"


class StoreWriter:
    """Changes one index; whoever makes one holds `writer_lock`."""

    def __init__(self, directory: Path, *, bundle_digest: str, dim: int) -> None:
        """Open the store in `directory`, or create an empty one.

        Raises:
            StoreError: it is damaged, or was made with another bundle or another number of dimensions.
        """
        self.directory = directory
        self.dim = dim
        with explained(directory):
            self._connection = sqlite3.connect(store_path(directory), isolation_level=None, timeout=60.0)
            try:
                self._prepare(bundle_digest)
            except BaseException:
                self._connection.close()
                raise

    def _prepare(self, bundle_digest: str) -> None:
        run = self._connection.execute
        run("PRAGMA journal_mode = WAL")
        # With WAL, NORMAL keeps the file sound through a power cut; a batch in flight is made again by the next run.
        run("PRAGMA synchronous = NORMAL")
        with self._transaction():
            if not run("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone():
                for statement in _statements(SCHEMA):
                    run(statement)
                first = {"format": str(FORMAT), "bundle": bundle_digest, "dim": str(self.dim), "generation": "0"}
                self._connection.executemany("INSERT INTO meta VALUES (?, ?)", first.items())
        meta = dict(run("SELECT key, value FROM meta").fetchall())
        if meta["format"] != str(FORMAT):
            raise StoreError(
                f"{self.directory}: the index has format {meta['format']}, this nearfar writes {FORMAT}; "
                "use another folder, or --rebuild to replace it"
            )
        if meta["bundle"] != bundle_digest:
            raise StoreError(
                f"{self.directory}: the index was made with bundle {meta['bundle'][:16]}, not with {bundle_digest[:16]}; "
                "vectors of two bundles cannot be compared. Use another folder (-o), or --rebuild to replace it"
            )
        if meta["dim"] != str(self.dim):
            raise StoreError(
                f"{self.directory}: the index keeps {meta['dim']} dimensions, not {self.dim}; "
                "use another folder (-o), or --rebuild to replace it"
            )
        run("CREATE TEMP TABLE seen (rowid INTEGER PRIMARY KEY)")

    def close(self) -> None:
        """Fold the journal into the file, so that the folder can be copied or made read-only, and let go."""
        with explained(self.directory):
            try:
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                self._connection.close()

    def known(self, ids: Sequence[str]) -> dict[str, KnownDocument]:
        """What is stored under these ids."""
        sql = """SELECT d.doc_id, d.rowid, d.digest, d.location, seen.rowid IS NOT NULL
                 FROM json_each(?) AS wanted JOIN documents AS d ON d.doc_id = wanted.value
                 LEFT JOIN seen ON seen.rowid = d.rowid"""
        with explained(self.directory):
            rows = self._connection.execute(sql, (json.dumps(ids),)).fetchall()
        return {row[0]: KnownDocument(row[1], row[2], row[3], bool(row[4])) for row in rows}

    def write(
        self,
        documents: Sequence[tuple[Document, bytes]],
        vectors: npt.NDArray[np.float32],
        *,
        replaced: Sequence[int] = (),
        moved: Sequence[tuple[str, int]] = (),
        seen: Sequence[int] = (),
    ) -> None:
        """Store one batch, in one transaction.

        Args:
            documents: n new documents with the digests of their content.
            vectors: float32 (n, d), their embeddings.
            replaced: rows that they take the place of.
            moved: (location, row) of documents whose text is the same and whose place is not.
            seen: rows that stay as they are; what is neither written nor seen can be removed at the end.
        """
        codes, scales = quantise_int8(vectors)
        run, run_many = self._connection.execute, self._connection.executemany
        with explained(self.directory), self._transaction():
            self._remove(replaced)
            run_many("UPDATE documents SET location = ? WHERE rowid = ?", moved)
            run_many("INSERT OR IGNORE INTO seen VALUES (?)", ((row,) for row in seen))
            for (document, digest), code, scale in zip(documents, codes, scales.tolist(), strict=True):
                rowid = run(
                    "INSERT INTO documents (doc_id, title, text, location, digest) VALUES (?, ?, ?, ?, ?)",
                    (document.id, document.title, document.text, document.location, digest),
                ).lastrowid
                run("INSERT INTO vectors VALUES (?, ?, ?)", (rowid, scale, code.tobytes()))
                run("INSERT INTO seen VALUES (?)", (rowid,))
            if documents or replaced or moved:
                self._advance()

    def remove_unseen(self) -> int:
        """Remove the documents that this run did not come across; returns how many."""
        total = 0
        sql = "SELECT rowid FROM documents WHERE rowid NOT IN (SELECT rowid FROM seen) LIMIT ?"
        with explained(self.directory):
            while rows := [row for (row,) in self._connection.execute(sql, (_REMOVE_AT_ONCE,))]:
                with self._transaction():
                    self._remove(rows)
                    self._advance()
                total += len(rows)
        return total

    def settle_keywords(self) -> None:
        """Merge the keyword index into one piece and count how many documents hold each common term."""
        run = self._connection.execute
        with explained(self.directory), self._transaction():
            run("INSERT INTO keywords (keywords) VALUES ('optimize')")
            run("DELETE FROM term_counts")
            run("INSERT INTO term_counts SELECT term, doc FROM keyword_terms WHERE doc >= ?", (COMMON_TERM,))
            self._advance()

    def graph(self) -> GraphRecord | None:
        """The graph file that belongs to the present state, if there is one."""
        row = self._connection.execute("SELECT value FROM meta WHERE key = 'graph'").fetchone()
        return GraphRecord.parse(row[0]) if row else None

    def set_graph(self, record: GraphRecord | None) -> None:
        """Say which graph file belongs to the store from now on; it covers exactly the rows there are."""
        with explained(self.directory), self._transaction():
            self._connection.execute("DELETE FROM meta WHERE key = 'graph'")
            self._connection.execute("DELETE FROM removed")
            if record is not None:
                self._connection.execute("INSERT INTO meta VALUES ('graph', ?)", (record.dump(),))
            self._advance()

    def generation(self) -> int:
        """A number that grows with every change."""
        return int(self._connection.execute("SELECT value FROM meta WHERE key = 'generation'").fetchone()[0])

    def count(self) -> int:
        """Number of documents."""
        return int(self._connection.execute("SELECT count(*) FROM documents").fetchone()[0])

    def count_removed(self) -> int:
        """Number of rows that the graph covers and that are gone."""
        return int(self._connection.execute("SELECT count(*) FROM removed").fetchone()[0])

    def count_after(self, rowid: int) -> int:
        """Number of rows after `rowid`."""
        return int(self._connection.execute("SELECT count(*) FROM vectors WHERE rowid > ?", (rowid,)).fetchone()[0])

    def last_rowid(self) -> int:
        """The largest row number there is, 0 when there is none."""
        return int(self._connection.execute("SELECT coalesce(max(rowid), 0) FROM vectors").fetchone()[0])

    def codes(self, *, every: int = 1, block: int = 4096) -> Iterator[Codes]:
        """All vectors, or every so-manieth row, block by block in the order of the rows."""
        sql = "SELECT rowid, code, scale FROM vectors WHERE rowid % ? = 0 ORDER BY rowid"
        with explained(self.directory):
            rows = self._connection.execute(sql, (every,))
            while part := rows.fetchmany(block):
                yield codes_of_rows(part, self.dim)

    def _remove(self, rowids: Iterable[int]) -> None:
        rows = list(rowids)
        covered = record.last_rowid if rows and (record := self.graph()) else 0
        run_many = self._connection.executemany
        run_many("DELETE FROM documents WHERE rowid = ?", ((row,) for row in rows))
        run_many("INSERT OR IGNORE INTO removed VALUES (?)", ((row,) for row in rows if row <= covered))

    def _advance(self) -> None:
        self._connection.execute("UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE key = 'generation'")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            # SQLite has already rolled back after some errors (a full disk); a second ROLLBACK would hide the first.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise


def _statements(script: str) -> Iterator[str]:
    """Cut a script into statements: `executescript` would commit the transaction that makes the schema atomic."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
