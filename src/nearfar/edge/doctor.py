"""Examining an index: is everything there, does it belong together, and what mends it."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from nearfar.bundle.bundle import Bundle
from nearfar.edge.derive import problems, renew_derived, vectors_kind
from nearfar.edge.search import text_encoder
from nearfar.edge.store.codes import packed
from nearfar.edge.store.connection import connect
from nearfar.edge.store.derived_record import Derived
from nearfar.edge.store.failures import explained
from nearfar.edge.store.reader import StoreReader, as_metadata
from nearfar.edge.store.schema import BUNDLE_FOLDER, DERIVED_PATTERN, FORMAT, store_path
from nearfar.edge.store.writer import StoreWriter, writer_lock
from nearfar.edge.table_checks import (
    TABLE_CHECKS,
    Effect,
    Finding,
    count,
    documents_tagged_wrongly,
    keywords_agree,
    page_problems,
    rows_without_vector,
)
from nearfar.edge.where import attribute_rows
from nearfar.errors import BundleError, StoreError

if TYPE_CHECKING:
    from nearfar.edge.keys import Ask, Key

__all__ = ["Effect", "Examination", "Finding", "doctor"]

_EMBEDDED_AT_ONCE = 512
_PART_OF_BUNDLE = f".{BUNDLE_FOLDER}.part"
_REBUILD = (
    "build the index again from its source with --rebuild. Where this index is the only copy of the documents, copy "
    "the folder first; `sqlite3 store.sqlite .recover` saves what can still be read of an index that is not encrypted"
)


@dataclass(slots=True)
class Examination:
    """What an index is, and what is wrong with it.

    Attributes:
        index: its folder.
        findings: the faults, gravest first; empty where there is none.
        documents: number of documents, as far as it can be read.
        passages: number of passages.
        generation: of the store; grows with every change.
        bundle: name and digest of the bundle beside it.
        encrypted: the store has a key.
    """

    index: str
    findings: list[Finding] = field(default_factory=list)
    documents: int = 0
    passages: int = 0
    generation: int = 0
    bundle: str = ""
    encrypted: bool = False

    @property
    def sound(self) -> bool:
        """Nothing is wrong, or no longer."""
        return all(finding.mended for finding in self.findings)

    def add(self, what: str, effect: Effect, mend: str, *, mended: bool = False) -> None:
        """Write down one fault."""
        self.findings.append(Finding(what, effect, mend, mended))


def doctor(path: str | Path, *, repair: bool = False, ask: Ask | None = None) -> Examination:
    """Read an index whole and say what is wrong with it.

    It is the writer of the index meanwhile, so that nothing changes; searches go on. A repair never removes a document.
    What it cannot bring back it marks, so that the next run over the source takes it anew.

    Args:
        path: folder of the index.
        repair: mend what can be mended, all tables in one transaction.
        ask: gives the passphrase of an encrypted index.

    Raises:
        StoreError: there is no index, another process writes it, another format of nearfar made it, or the folder
            cannot be written.
        KeyUnavailableError: it is encrypted, and its key cannot be had.
    """
    from nearfar.edge.keys import ask_at_terminal, has_key, open_key

    directory = Path(path)
    StoreReader.check(directory)
    found = Examination(str(directory), encrypted=has_key(directory))
    key = open_key(directory, ask=ask or ask_at_terminal) if found.encrypted else None
    with writer_lock(directory), explained(directory):
        connection = _opened(directory, key, found)
        if connection is not None:
            with closing(connection):
                _examine(directory, key, connection, found, repair=repair)
    order: Sequence[Effect] = ("answers", "speed", "room")
    found.findings.sort(key=lambda finding: order.index(finding.effect))
    return found


def _opened(directory: Path, key: Key | None, found: Examination) -> sqlite3.Connection | None:
    """The store's file, if it can be read at all."""
    path = store_path(directory)
    try:
        connection = connect(path, key=key.subkey("database") if key else None)
    except StoreError as error:
        found.add(str(error), "answers", _REBUILD)
        return None
    try:
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        meta = dict(connection.execute("SELECT key, value FROM meta").fetchall()) if tables else {}
    except sqlite3.DatabaseError as error:
        connection.close()
        if error.sqlite_errorcode & 0xFF not in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}:
            raise
        found.add(f"{path} cannot be read ({error})", "answers", _REBUILD)
        return None
    if not tables:
        connection.close()
        found.add(
            f"{path} is empty: the run that should have made the index was stopped before its first document",
            "answers",
            "run nearfar index again",
        )
        return None
    if meta.get("format") != str(FORMAT):
        connection.close()
        raise StoreError(
            f"{directory}: the index has format {meta.get('format')}, this nearfar examines {FORMAT}; use the nearfar "
            "that made it, or build it again with --rebuild"
        )
    if lost := [name for name in ("bundle", "dim", "generation") if name not in meta]:
        connection.close()
        found.add(f"{path} does not say what it is made of ({', '.join(lost)} is missing)", "answers", _REBUILD)
        return None
    return connection


def _examine(
    directory: Path, key: Key | None, connection: sqlite3.Connection, found: Examination, *, repair: bool
) -> None:
    if not _pages_sound(connection, found, repair=repair):
        return
    meta = dict(connection.execute("SELECT key, value FROM meta").fetchall())
    dim = int(meta["dim"])
    bundle = _bundle(directory, meta["bundle"], found)
    with closing(StoreWriter(directory, bundle_digest=meta["bundle"], dim=dim, key=key)) as writer:
        _examine_derived(writer, found, repair=repair)
        _examine_strangers(writer, found, repair=repair)
        faults = _examine_tables(connection, dim, bundle, found, repair=repair)
        if repair and found.findings:
            if faults:
                writer.settle_keywords()
            renew_derived(writer, check=True)  # and removes what is left over
            shutil.rmtree(directory / _PART_OF_BUNDLE, ignore_errors=True)
        found.generation = writer.generation()
    found.documents = connection.execute("SELECT count(*) FROM documents").fetchone()[0]
    found.passages = connection.execute("SELECT count(*) FROM passages").fetchone()[0]


def _pages_sound(connection: sqlite3.Connection, found: Examination, *, repair: bool) -> bool:
    said = page_problems(connection)
    if not said:
        return True
    what = f"SQLite finds its file damaged ({'; '.join(said[:3])})"
    if repair:
        # Indexes can be made again from their tables; what a table has lost cannot.
        with suppress(sqlite3.DatabaseError):
            connection.execute("REINDEX")
        if not page_problems(connection):
            found.add(what, "answers", "the indexes of its tables were made again", mended=True)
            return True
        found.add(what, "answers", _REBUILD)
    else:
        found.add(what, "answers", f"run with --repair, which can mend indexes; where that is not enough, {_REBUILD}")
    return False


def _bundle(directory: Path, digest: str, found: Examination) -> Bundle | None:
    """The bundle beside the store, if it is sound and the right one."""
    again = "run nearfar index with the bundle that made the index: it puts a copy there"
    try:
        bundle = Bundle.open(directory / BUNDLE_FOLDER)
    except BundleError as error:
        found.add(f"the bundle beside the store cannot be used: {error}", "answers", f"{again} ({digest[:16]})")
        return None
    if bundle.digest != digest:
        found.add(
            f"the bundle beside the store is {bundle.digest[:16]}, and the index was made with {digest[:16]}",
            "answers",
            again,
        )
        return None
    found.bundle = f"{bundle.manifest.name} {digest[:16]}"
    return bundle


def _examine_derived(writer: StoreWriter, found: Examination, *, repair: bool) -> None:
    mend = "make it again from the store" if repair else "run with --repair, or nearfar index again: it is made again"
    for problem in problems(writer):
        found.add(problem, "speed", mend, mended=repair)
    total = writer.count()
    kind = vectors_kind(writer.engine(), total)
    wanted: tuple[Derived, ...] = () if kind is None else (kind, "postings")
    for each in wanted:
        if writer.derived(each) is None:
            what = f"there is no file of {each} for {total:,} passages yet: the last run was stopped before it"
            found.add(what, "speed", mend, mended=repair)


def _examine_tables(
    connection: sqlite3.Connection, dim: int, bundle: Bundle | None, found: Examination, *, repair: bool
) -> bool:
    """Find, and mend in one transaction, what is wrong in the tables; whether there was anything."""
    before = len(found.findings)
    with _transaction(connection) if repair else _nothing():
        # Before anything is deleted: FTS5 is told then which words go, and believes it.
        if not keywords_agree(connection):
            if repair:
                connection.execute("INSERT INTO keywords (keywords) VALUES ('rebuild')")
            mend = "they are made again from the passages"
            what = "the keywords are not those of the passages"
            found.add(what, "answers", mend if repair else f"run with --repair: {mend}", mended=repair)
        for check in TABLE_CHECKS:
            if faulty := count(connection, check):
                if repair:
                    connection.execute(check.statement)
                mend = check.mend if repair or not check.complete else f"run with --repair: {check.mend}"
                found.add(f"{faulty:,} {check.what}", "answers", mend, mended=repair and check.complete)
        _examine_metadata(connection, found, repair=repair)
        _examine_vectors(connection, dim, bundle, found, repair=repair)
        faults = len(found.findings) > before
        if repair and faults:
            # Rows have come or gone behind the backs of the derived files.
            connection.execute("DELETE FROM meta WHERE key LIKE 'derived.%'")
            connection.execute("DELETE FROM removed")
            connection.execute("UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE key = 'generation'")
    return faults


def _examine_metadata(connection: sqlite3.Connection, found: Examination, *, repair: bool) -> None:
    wrong = list(documents_tagged_wrongly(connection))
    lost = [doc for doc, text in wrong if text is None]
    if repair:
        for doc, text in wrong:
            connection.execute("DELETE FROM attributes WHERE doc = ?", (doc,))
            rows = attribute_rows(as_metadata(text)) if text else []
            connection.executemany("INSERT INTO attributes VALUES (?, ?, ?)", ((*row, doc) for row in rows))
            if text is None:
                connection.execute("UPDATE documents SET metadata = '{}', stamp = '' WHERE doc = ?", (doc,))
    if len(wrong) > len(lost):
        mend = "take what --where needs from the metadata again"
        found.add(
            f"{len(wrong) - len(lost):,} documents are not found by --where as their metadata says",
            "answers",
            mend if repair else f"run with --repair: {mend}",
            mended=repair,
        )
    if lost:
        found.add(
            f"{len(lost):,} documents have metadata that cannot be read",
            "answers",
            "run nearfar index again on the source" if repair else "run with --repair, then nearfar index again",
        )


def _examine_vectors(
    connection: sqlite3.Connection, dim: int, bundle: Bundle | None, found: Examination, *, repair: bool
) -> None:
    rows = rows_without_vector(connection, dim)
    if not rows:
        return
    what = f"{len(rows):,} passages have no vector, or a damaged one"
    if bundle is None:
        found.add(
            what, "answers", "put the right bundle beside the store; then run with --repair: it embeds them again"
        )
        return
    mend = "embed them again"
    if repair:
        encoder = text_encoder(bundle, threads=os.cpu_count() or 1, dim=dim)
        for start in range(0, len(rows), _EMBEDDED_AT_ONCE):
            part = rows[start : start + _EMBEDDED_AT_ONCE]
            texts = [_embedded_text(connection, row) for row in part]
            codes = packed(encoder.embed(texts, side="document"))
            connection.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", zip(part, codes, strict=True))
    found.add(what, "answers", mend if repair else f"run with --repair: {mend}", mended=repair)


def _embedded_text(connection: sqlite3.Connection, row: int) -> str:
    heading, text = connection.execute("SELECT heading, text FROM passages WHERE row = ?", (row,)).fetchone()
    return f"{heading}\n{text}" if heading else text


def _examine_strangers(writer: StoreWriter, found: Examination, *, repair: bool) -> None:
    """Files that a killed run left behind."""
    directory = writer.directory
    named = {record.file for kind in get_args(Derived) if (record := writer.derived(kind))}
    left = [
        path.name
        for pattern in (DERIVED_PATTERN, f".{DERIVED_PATTERN}.part", _PART_OF_BUNDLE)
        for path in directory.glob(pattern)
        if path.name not in named
    ]
    if not left:
        return
    mend = "remove them"
    found.add(
        f"{len(left):,} files are left over from a run that was stopped ({sorted(left)[0]})",
        "room",
        mend if repair else f"run with --repair: {mend}",
        mended=repair,
    )


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def _nothing() -> Iterator[None]:
    yield
