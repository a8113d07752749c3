"""Writing the store: batches that are wholly there or not at all, and one writer at a time."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import numpy.typing as npt

from nearfar.edge.store.codes import Codes, packed, unpacked
from nearfar.edge.store.connection import connect
from nearfar.edge.store.derived import remove_derived, write_derived
from nearfar.edge.store.derived_record import Derived, DerivedRecord
from nearfar.edge.store.failures import explained
from nearfar.edge.store.keyword_table import write_keyword_postings
from nearfar.edge.store.reader import cutting_of
from nearfar.edge.store.schema import COMMON_TERM, FORMAT, SCHEMA, THUMBNAILS, store_path
from nearfar.edge.where import Condition, allowed_documents, attribute_rows, check_keys
from nearfar.errors import StoreError
from nearfar.sources.cut import Cutting
from nearfar.sources.document import Document, Metadata

if TYPE_CHECKING:
    from nearfar.edge.keys import Key

_REMOVE_AT_ONCE = 4096
_CLOSING_TIMEOUT_MS = 2000
_SETTLED_SHARE = 0.02

Content = tuple[str, str]
"""What of a passage is embedded: heading and text."""


@dataclass(frozen=True, slots=True)
class KnownDocument:
    """What the store already has under a document's id."""

    doc: int
    digest: bytes
    location: str
    stamp: str
    metadata: str
    seen: bool


@dataclass(frozen=True, slots=True)
class NewDocument:
    """A document to store.

    Attributes:
        document: cut into passages.
        digest: of its content.
        vectors: of its passages, float32 (p, d).
        thumbnail: a small picture of it; empty where there is none.
    """

    document: Document
    digest: bytes
    vectors: npt.NDArray[np.float32]
    thumbnail: bytes = b""


class StoreWriter:
    """Changes one index; whoever makes one holds `writer_lock`."""

    def __init__(
        self, directory: Path, *, bundle_digest: str, dim: int, key: Key | None = None, synced: bool = False
    ) -> None:
        """Open the store in `directory`, or create an empty one.

        Args:
            directory: of the index.
            bundle_digest: of what embeds.
            dim: components of a vector.
            key: of an encrypted store.
            synced: a transaction that has ended survives a power cut as well, at the cost of a sync each.

        Raises:
            StoreError: it is damaged, or was made with another bundle or another number of dimensions, or needs a key.
        """
        self.directory = directory
        self.dim = dim
        self.key = key
        """Of an encrypted store."""
        with explained(directory):
            self._connection = connect(store_path(directory), key=key.subkey("database") if key else None, timeout=60.0)
            try:
                self._prepare(bundle_digest, synced=synced)
            except BaseException:
                self._connection.close()
                raise

    def _prepare(self, bundle_digest: str, *, synced: bool) -> None:
        run = self._connection.execute
        run("PRAGMA journal_mode = WAL")
        # With WAL, NORMAL keeps the file sound through a power cut; the last batches are made again by the next run.
        run(f"PRAGMA synchronous = {'FULL' if synced else 'NORMAL'}")
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
        run("CREATE TEMP TABLE seen (doc INTEGER PRIMARY KEY)")

    def close(self) -> None:
        """Fold the journal into the file, so that the folder can be copied or made read-only, and let go."""
        with explained(self.directory):
            try:
                # Readers in the middle of a search keep it from being emptied; that is not worth a long wait.
                self._connection.execute(f"PRAGMA busy_timeout = {_CLOSING_TIMEOUT_MS}")
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                self._connection.close()

    def known(self, ids: Sequence[str]) -> dict[str, KnownDocument]:
        """What is stored under these ids."""
        sql = """SELECT d.doc_id, d.doc, d.digest, d.location, d.stamp, d.metadata, seen.doc IS NOT NULL
                 FROM json_each(?) AS wanted JOIN documents AS d ON d.doc_id = wanted.value
                 LEFT JOIN seen ON seen.doc = d.doc"""
        with explained(self.directory):
            rows = self._connection.execute(sql, (json.dumps(ids),)).fetchall()
        return {row[0]: KnownDocument(*row[1:]) for row in rows}

    def vectors_of(self, doc: int) -> dict[Content, npt.NDArray[np.float32]]:
        """The vectors of the passages of a document by what was embedded, float32 (d,) each."""
        sql = "SELECT p.heading, p.text, v.row, v.code FROM passages AS p JOIN vectors AS v ON v.row = p.row WHERE p.doc = ?"
        with explained(self.directory):
            rows = self._connection.execute(sql, (doc,)).fetchall()
        vectors = unpacked([row[2:] for row in rows], self.dim).vectors()
        return {(row[0], row[1]): vector for row, vector in zip(rows, vectors, strict=True)}

    def write(
        self,
        documents: Sequence[NewDocument],
        *,
        replaced: Sequence[int] = (),
        changed: Sequence[tuple[int, Document]] = (),
        seen: Sequence[int] = (),
    ) -> None:
        """Store one batch, in one transaction.

        Args:
            documents: new documents.
            replaced: numbers of the documents that they take the place of.
            changed: number and present form of documents of which only location, stamp or metadata are others.
            seen: numbers of documents that stay as they are; what is neither written nor seen can be removed at the end.
        """
        run, run_many = self._connection.execute, self._connection.executemany
        codes = iter(packed(np.concatenate([new.vectors for new in documents])) if documents else ())
        with explained(self.directory), self._transaction():
            if any(new.thumbnail for new in documents):
                for statement in _statements(THUMBNAILS):
                    run(statement)
            self._remove(replaced)
            for number, document in changed:
                self._describe(number, document)
            run_many("INSERT OR IGNORE INTO seen VALUES (?)", ((number,) for number in seen))
            for new in documents:
                document = new.document
                inserted = run(
                    "INSERT INTO documents (doc_id, title, location, stamp, digest, metadata) VALUES (?, ?, ?, ?, ?, ?)",
                    (document.id, document.title, document.location, document.stamp, new.digest, "{}"),
                )
                doc = inserted.lastrowid
                assert doc is not None
                for number, passage in enumerate(document.passages, start=1):
                    text = document.text[passage.begin : passage.end]
                    heading, location = passage.heading or document.title, passage.location or document.location
                    added = run(
                        """INSERT INTO passages (doc, number, heading, text, location, page, begins, ends)
                           VALUES (?, ?, ?, ?, ?, ?, ?, ?)""",
                        (doc, number, heading, text, location, passage.page, passage.begin, passage.end),
                    )
                    run("INSERT INTO vectors VALUES (?, ?)", (added.lastrowid, next(codes)))
                if document.metadata:
                    self._tag(doc, document.metadata)
                if new.thumbnail:
                    run("INSERT INTO thumbnails VALUES (?, ?)", (doc, new.thumbnail))
                run("INSERT OR IGNORE INTO seen VALUES (?)", (doc,))
            if documents or replaced or changed:
                self._advance()

    def delete(self, ids: Sequence[str]) -> int:
        """Remove documents by id, in one transaction; returns how many there were."""
        return self._delete([known.doc for known in self.known(ids).values()])

    def delete_allowed(self, condition: Condition) -> int:
        """Remove the documents that satisfy a condition, in one transaction; returns how many there were.

        Raises:
            DataError: no document has a key of it.
        """
        with explained(self.directory):
            docs = allowed_documents(condition, self._connection.execute)
            if not len(docs):
                check_keys(condition, self._connection.execute)
        return self._delete(docs.tolist())

    def remove_unseen(self) -> int:
        """Remove the documents that this run did not come across; returns how many."""
        total = 0
        sql = "SELECT doc FROM documents WHERE doc NOT IN (SELECT doc FROM seen) LIMIT ?"
        with explained(self.directory):
            while docs := [doc for (doc,) in self._connection.execute(sql, (_REMOVE_AT_ONCE,))]:
                with self._transaction():
                    self._remove(docs)
                    self._advance()
                total += len(docs)
        return total

    def settle_keywords(self) -> None:
        """Merge the keyword index into one piece and count how many passages hold each common term.

        Where few passages are new since the last time, nothing is done: it takes as long as the whole index is large, and
        only the speed of searches without postings depends on it.
        """
        run, last = self._connection.execute, self.last_row()
        if last - int(self._meta("settled") or 0) <= _SETTLED_SHARE * self.count():
            return
        with explained(self.directory), self._transaction():
            run("INSERT OR REPLACE INTO meta VALUES ('settled', ?)", (str(last),))
            run("INSERT INTO keywords (keywords) VALUES ('optimize')")
            run("DELETE FROM term_counts")
            run("INSERT INTO term_counts SELECT term, doc FROM keyword_terms WHERE doc >= ?", (COMMON_TERM,))
            self._advance()

    def engine(self) -> str:
        """What the index was asked to search vectors by; `auto` by default."""
        return self._meta("engine") or "auto"

    def set_engine(self, engine: str) -> None:
        """Remember what to search vectors by."""
        if engine != self.engine():
            with explained(self.directory), self._transaction():
                self._connection.execute("INSERT OR REPLACE INTO meta VALUES ('engine', ?)", (engine,))
                self._advance()

    @property
    def cutting(self) -> Cutting:
        """How documents were cut when the index was built last."""
        return cutting_of(self._meta("cutting"))

    def set_cutting(self, cutting: Cutting) -> None:
        """Remember how documents are cut."""
        if cutting != self.cutting:
            with explained(self.directory), self._transaction():
                value = f"{cutting.words} {cutting.overlap}"
                self._connection.execute("INSERT OR REPLACE INTO meta VALUES ('cutting', ?)", (value,))

    @property
    def teacher(self) -> str | None:
        """Digest of the teacher that embedded the documents when the index was built; None where the bundle itself did."""
        return self._meta("teacher")

    def set_teacher(self, digest: str) -> None:
        """Remember who embedded the documents."""
        with explained(self.directory), self._transaction():
            self._connection.execute("INSERT OR REPLACE INTO meta VALUES ('teacher', ?)", (digest,))

    def derived(self, kind: Derived) -> DerivedRecord | None:
        """The derived file of that kind that belongs to the present state, if there is one."""
        text = self._meta(f"derived.{kind}")
        return DerivedRecord.parse(text) if text else None

    def derive(self, kind: Derived, write: Callable[[BinaryIO], None], *, last_row: int, rows: int) -> DerivedRecord:
        """Write a derived file; the store does not know it before `set_derived`.

        Raises:
            StoreError: it could not be written.
        """
        key = self.key.subkey("derived") if self.key else None
        with explained(self.directory):
            return write_derived(self.directory, kind, self.generation(), write, last_row=last_row, rows=rows, key=key)

    def derive_postings(self) -> DerivedRecord:
        """Write the postings of all passages; see `derive`."""
        return self.derive(
            "postings",
            self._write_postings,
            last_row=self.last_row(),
            rows=self.count(),
        )

    def _write_postings(self, file: BinaryIO) -> None:
        write_keyword_postings(self._connection, file)

    def set_derived(self, *records: DerivedRecord, gone: Sequence[Derived] = (), forget_removed: bool = False) -> None:
        """Say which derived files belong to the store from now on, and delete all others.

        Args:
            records: new ones; others of the same kind are no longer used.
            gone: kinds of which there is none any more.
            forget_removed: no file that is still used covers a row that is gone.
        """
        run = self._connection.execute
        with explained(self.directory), self._transaction():
            for kind in gone:
                run("DELETE FROM meta WHERE key = ?", (f"derived.{kind}",))
            for record in records:
                run("INSERT OR REPLACE INTO meta VALUES (?, ?)", (f"derived.{record.kind}", record.dump()))
            if forget_removed:
                run("DELETE FROM removed")
            if records or gone or forget_removed:
                self._advance()
        self.remove_strangers()

    def remove_strangers(self) -> None:
        """Delete the derived files that the store does not name."""
        kinds: tuple[Derived, ...] = ("signs", "graph", "postings")
        remove_derived(self.directory, keep={record.file for kind in kinds if (record := self.derived(kind))})

    def key_of_derived(self) -> bytes | None:
        """What derived files are sealed with, in an encrypted store."""
        return self.key.subkey("derived") if self.key else None

    def generation(self) -> int:
        """A number that grows with every change."""
        return int(self._meta("generation") or 0)

    def count(self) -> int:
        """Number of passages."""
        return self._number("SELECT count(*) FROM passages")

    def count_removed(self) -> int:
        """Number of rows that a derived file covers and that are gone."""
        return self._number("SELECT count(*) FROM removed")

    def count_after(self, row: int) -> int:
        """Number of passages after `row`."""
        return self._number("SELECT count(*) FROM vectors WHERE row > ?", row)

    def last_row(self) -> int:
        """The largest row there is, 0 when there is none."""
        return self._number("SELECT coalesce(max(row), 0) FROM vectors")

    def rows(self, *, after: int = 0) -> npt.NDArray[np.int64]:
        """All rows after one, ascending int64 (n,)."""
        with explained(self.directory):
            found = self._connection.execute("SELECT row FROM vectors WHERE row > ? ORDER BY row", (after,)).fetchall()
        return np.fromiter((row for (row,) in found), dtype=np.int64, count=len(found))

    def codes(self, *, after: int = 0, every: int = 1, block: int = 4096) -> Iterator[Codes]:
        """The vectors of all rows after one, or of every so-manieth, block by block in order."""
        sql = "SELECT row, code FROM vectors WHERE row > ? AND row % ? = 0 ORDER BY row"
        with explained(self.directory):
            rows = self._connection.execute(sql, (after, every))
            while part := rows.fetchmany(block):
                yield unpacked(part, self.dim)

    def _describe(self, doc: int, document: Document) -> None:
        run = self._connection.execute
        run("UPDATE documents SET location = ?, stamp = ? WHERE doc = ?", (document.location, document.stamp, doc))
        self._connection.executemany(
            "UPDATE passages SET location = ? WHERE doc = ? AND number = ?",
            ((p.location or document.location, doc, number) for number, p in enumerate(document.passages, start=1)),
        )
        run("DELETE FROM attributes WHERE doc = ?", (doc,))
        self._tag(doc, document.metadata)

    def _tag(self, doc: int, metadata: Metadata) -> None:
        self._connection.execute("UPDATE documents SET metadata = ? WHERE doc = ?", (metadata_text(metadata), doc))
        self._connection.executemany(
            "INSERT INTO attributes VALUES (?, ?, ?)", ((key, value, doc) for key, value in attribute_rows(metadata))
        )

    def _delete(self, docs: Sequence[int]) -> int:
        with explained(self.directory), self._transaction():
            self._remove(docs)
            if docs:
                self._advance()
        return len(docs)

    def _remove(self, docs: Sequence[int]) -> None:
        run_many = self._connection.executemany
        run_many(
            """INSERT OR IGNORE INTO removed
               SELECT row FROM passages WHERE doc = ? AND EXISTS (SELECT 1 FROM meta WHERE key LIKE 'derived.%')""",
            ((doc,) for doc in docs),
        )
        run_many("DELETE FROM documents WHERE doc = ?", ((doc,) for doc in docs))

    def _advance(self) -> None:
        self._connection.execute("UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE key = 'generation'")

    def _number(self, sql: str, *values: int) -> int:
        with explained(self.directory):
            return int(self._connection.execute(sql, values).fetchone()[0])

    def _meta(self, key: str) -> str | None:
        row = self._connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return str(row[0]) if row else None

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


def metadata_text(metadata: Metadata) -> str:
    """Metadata as the column holds it: one text for one content."""
    return json.dumps(dict(metadata), ensure_ascii=False, sort_keys=True)


def _statements(script: str) -> Iterator[str]:
    """Cut a script into statements: `executescript` would commit the transaction that makes the schema atomic."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
