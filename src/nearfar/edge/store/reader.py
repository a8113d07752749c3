"""Reading the store: one connection that never writes, also on a medium that cannot be written."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nearfar.edge.store.codes import Codes, unpacked
from nearfar.edge.store.connection import OpenMode, connect
from nearfar.edge.store.derived_record import Derived, DerivedRecord
from nearfar.edge.store.failures import explained
from nearfar.edge.store.schema import FORMAT, store_path
from nearfar.errors import StoreError
from nearfar.sources.cut import Cutting
from nearfar.sources.document import Metadata

if TYPE_CHECKING:
    from nearfar.edge.keys import Key

_PASSAGE = """p.row, d.doc_id, d.title, p.heading, p.text, p.location, p.page, p.begins, p.ends, p.number, d.metadata
              FROM {} JOIN documents AS d ON d.doc = p.doc"""


@dataclass(frozen=True, slots=True)
class StoredPassage:
    """A passage as the store keeps it.

    Attributes:
        row: of the passage.
        id: of its document.
        title: of its document.
        heading: that it stands under; the title where it has none.
        text: its text.
        location: where a person finds it.
        page: from 1, where the document has pages.
        begin: where it starts in the text of its document, in characters.
        end: where it ends there.
        number: of the passage in its document, from 1.
        metadata: of its document.
    """

    row: int
    id: str
    title: str
    heading: str
    text: str
    location: str
    page: int | None
    begin: int
    end: int
    number: int
    metadata: Metadata = field(hash=False)


class StoreReader:
    """Reads one index. Several processes may, while one writes."""

    def __init__(self, directory: Path, *, key: Key | None = None) -> None:
        """Open the store in `directory`, with the key of an encrypted one.

        Raises:
            StoreError: there is none, or it is damaged, or a newer nearfar wrote it, or it needs a key.
        """
        self.directory = directory
        self.check(directory)
        path = store_path(directory)
        with explained(directory):
            self.connection, meta = _open(path, key.subkey("database") if key else None)
        if not meta:
            self.close()
            raise StoreError(
                f"{directory}: indexing was stopped here before its first document was stored; run nearfar index again"
            )
        if meta.get("format") != str(FORMAT):
            self.close()
            raise StoreError(
                f"{directory}: the index has format {meta.get('format')}, this nearfar reads {FORMAT}; "
                "use the nearfar that made it, or build it again with --rebuild"
            )
        self._counted = (-1, 0)
        self.dim = int(meta["dim"])
        self.bundle_digest = meta["bundle"]
        self.cutting = cutting_of(meta.get("cutting"))
        """How documents were cut when the index was built last."""

    @staticmethod
    def check(directory: Path) -> None:
        """Refuse a folder without a store.

        Raises:
            StoreError: there is none.
        """
        path = store_path(directory)
        if not path.is_file():
            raise StoreError(f"{directory}: there is no search index here (no {path.name}); {_instead(directory)}")

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
        return int(self._meta("generation") or 0)

    def derived(self, kind: Derived) -> DerivedRecord | None:
        """The derived file of that kind that belongs to this state, if there is one."""
        text = self._meta(f"derived.{kind}")
        return DerivedRecord.parse(text) if text else None

    def documents(self) -> int:
        """Number of documents."""
        return self._number("SELECT count(*) FROM documents")

    def passages(self) -> int:
        """Number of passages."""
        generation = self.generation()
        if self._counted[0] != generation:
            # Not of `vectors`, whose pages hold little else than codes and would all be read.
            self._counted = (generation, self._number("SELECT count(*) FROM passages"))
        return self._counted[1]

    def count_between(self, after: int, last: int) -> int:
        """Number of passages in rows (after, last]."""
        return self._number("SELECT count(*) FROM vectors WHERE row > ? AND row <= ?", after, last)

    def removed(self) -> npt.NDArray[np.int64]:
        """Rows that a derived file covers and that are gone, ascending int64 (r,)."""
        rows = self.connection.execute("SELECT row FROM removed ORDER BY row").fetchall()
        return np.fromiter((row for (row,) in rows), dtype=np.int64, count=len(rows))

    def rows_of(self, documents: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The rows of the passages of documents, given by number; ascending int64."""
        sql = "SELECT p.row FROM json_each(?) AS wanted JOIN passages AS p ON p.doc = wanted.value"
        rows = self.connection.execute(sql, (json.dumps(documents.tolist()),)).fetchall()
        return np.sort(np.fromiter((row for (row,) in rows), dtype=np.int64, count=len(rows)))

    def codes_after(self, row: int, limit: int = -1) -> Codes:
        """The vectors of all rows after `row`, or of the first so many of them, in order."""
        sql = "SELECT row, code FROM vectors WHERE row > ? ORDER BY row LIMIT ?"
        return unpacked(self.connection.execute(sql, (row, limit)).fetchall(), self.dim)

    def codes_of(self, rows: Sequence[int]) -> Codes:
        """The vectors of the rows asked for, in their order; a row that is not there is left out."""
        sql = "SELECT v.row, v.code FROM json_each(?) AS wanted JOIN vectors AS v ON v.row = wanted.value"
        return unpacked(self.connection.execute(sql, (json.dumps(rows),)).fetchall(), self.dim)

    def passages_after(self, row: int, limit: int) -> list[StoredPassage]:
        """The first so many passages after `row`, in order."""
        sql = f"SELECT {_PASSAGE.format('passages AS p')} WHERE p.row > ? ORDER BY p.row LIMIT ?"
        return list(_stored(self.connection.execute(sql, (row, limit))))

    def passages_in(self, rows: Sequence[int]) -> dict[int, StoredPassage]:
        """The passages of the rows asked for, by row; a row that is not there is left out."""
        source = "json_each(?) AS wanted JOIN passages AS p ON p.row = wanted.value"
        found = self.connection.execute(f"SELECT {_PASSAGE.format(source)}", (json.dumps(rows),))
        return {passage.row: passage for passage in _stored(found)}

    def passages_of(self, id: str, first: int, last: int) -> list[StoredPassage]:
        """The passages of a document from one number to another, both included, in order."""
        sql = f"""SELECT {_PASSAGE.format("passages AS p")}
                  WHERE d.doc_id = ? AND p.number BETWEEN ? AND ? ORDER BY p.number"""
        return list(_stored(self.connection.execute(sql, (id, first, last))))

    def stamp_of(self, id: str) -> str | None:
        """The stamp of a document; None where there is no such document."""
        with explained(self.directory):
            row = self.connection.execute("SELECT stamp FROM documents WHERE doc_id = ?", (id,)).fetchone()
        return str(row[0]) if row else None

    def ids_of(self, rows: Sequence[int]) -> dict[int, str]:
        """The ids of the documents of rows, by row."""
        sql = """SELECT p.row, d.doc_id FROM json_each(?) AS wanted JOIN passages AS p ON p.row = wanted.value
                 JOIN documents AS d ON d.doc = p.doc"""
        return dict(self.connection.execute(sql, (json.dumps(rows),)).fetchall())

    def thumbnails_of(self, ids: Sequence[str]) -> dict[str, bytes]:
        """The small pictures of documents by id; of those that are no pictures there is none."""
        if not self.connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'thumbnails'").fetchone():
            return {}
        sql = """SELECT d.doc_id, t.image FROM json_each(?) AS wanted JOIN documents AS d ON d.doc_id = wanted.value
                 JOIN thumbnails AS t ON t.doc = d.doc"""
        return dict(self.connection.execute(sql, (json.dumps(ids),)).fetchall())

    def _number(self, sql: str, *values: int) -> int:
        return int(self.connection.execute(sql, values).fetchone()[0])

    def _meta(self, key: str) -> str | None:
        row = self.connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return str(row[0]) if row else None


def cutting_of(value: str | None) -> Cutting:
    """What the store keeps of how documents are cut; the default where it keeps nothing."""
    return Cutting(*map(int, value.split())) if value else Cutting()


def _instead(directory: Path) -> str:
    """What to do where somebody took something else for an index: most often the bundle that one is built with."""
    from nearfar.bundle import Bundle
    from nearfar.errors import NearfarError

    try:
        kind = Bundle.open(directory, verify=False).manifest.frontend.kind
    except NearfarError:
        return "build one with: nearfar index"
    use = {
        "text": f"this is a bundle; build an index with: nearfar index {directory} FOLDER -o my.index",
        "series": f"this is the bundle of a monitor, which is not searched; run it with: nearfar monitor {directory}",
        "table": f"this is a bundle of rows; find like ones with: nearfar similar {directory} TABLE --row 2",
        "image": f"this is a bundle of pictures; make an index of them with: nearfar index {directory} FOLDER -o my.index",
        "audio": f"this is a bundle of recordings; make an index of them with: nearfar index {directory} FOLDER -o my.index",
        "joint": f"this is a bundle of several modalities; make an index with: nearfar index {directory} FOLDER -o my.index",
    }
    return use.get(kind, "build one with the bundle of a text encoder: nearfar index")


def as_metadata(text: str) -> Metadata:
    """Metadata of the column; a list of JSON is a tuple."""
    values = json.loads(text)
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def _stored(rows: Iterable[tuple[Any, ...]]) -> Iterator[StoredPassage]:
    for row in rows:
        columns = (*row[:-1], as_metadata(row[-1]) if row[-1] != "{}" else {})
        yield StoredPassage(*columns)


def _open(path: Path, key: bytes | None) -> tuple[sqlite3.Connection, dict[str, str]]:
    """Connect without the right to write, and read `meta`."""
    try:
        return _connected(path, key, "ro")
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
        return _connected(path, key, "immutable")


def _connected(path: Path, key: bytes | None, mode: OpenMode) -> tuple[sqlite3.Connection, dict[str, str]]:
    connection = connect(path, key=key, mode=mode)
    try:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone():
            return connection, {}
        return connection, dict(connection.execute("SELECT key, value FROM meta").fetchall())
    except BaseException:
        connection.close()
        raise
