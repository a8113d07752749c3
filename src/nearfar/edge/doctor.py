"""Examining an index: is everything there, does it belong together, and what mends it."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from nearfar.bundle.bundle import Bundle
from nearfar.edge import derive
from nearfar.edge.keys import key_if_any
from nearfar.edge.store.connection import connect
from nearfar.edge.store.derived_record import Derived
from nearfar.edge.store.failures import explained
from nearfar.edge.store.lock import writer_lock
from nearfar.edge.store.reader import StoreReader
from nearfar.edge.store.schema import BUNDLE_FOLDER, DERIVED_PATTERN, FORMAT, store_path
from nearfar.edge.store.writer import StoreWriter
from nearfar.edge.table_checks import Effect, Finding, mendable, page_problems
from nearfar.edge.table_mends import examine_tables
from nearfar.errors import BundleError, StoreError

if TYPE_CHECKING:
    from nearfar.edge.keys import Ask, Key

__all__ = ["Effect", "Examination", "Finding", "doctor"]

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
    directory = Path(path)
    StoreReader.check(directory)
    key = key_if_any(directory, ask=ask)
    found = Examination(str(directory), encrypted=key is not None)
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
        found.findings += _examine_derived(writer, repair=repair)
        found.findings += _examine_strangers(writer, repair=repair)
        faults = examine_tables(connection, dim, bundle, repair=repair)
        found.findings += faults
        if repair and found.findings:
            if faults:
                writer.settle_keywords()
            derive.renew_derived(writer, check=True)  # and removes what is left over
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


def _examine_derived(writer: StoreWriter, *, repair: bool) -> Iterator[Finding]:
    for problem in derive.problems(writer):
        yield mendable(problem, "speed", "made again from the store", mended=repair)
    total = writer.count()
    if missing := [kind for kind in derive.wanted(writer.engine(), total, writer.dim) if writer.derived(kind) is None]:
        what = f"no {' and no '.join(missing)} for {total:,} passages yet: the last run was stopped before that"
        yield mendable(what, "speed", "made from the store", mended=repair)


def _examine_strangers(writer: StoreWriter, *, repair: bool) -> Iterator[Finding]:
    """Files that a killed run left behind."""
    named = {record.file for kind in get_args(Derived) if (record := writer.derived(kind))}
    left = sorted(
        path.name
        for pattern in (DERIVED_PATTERN, f".{DERIVED_PATTERN}.part", _PART_OF_BUNDLE)
        for path in writer.directory.glob(pattern)
        if path.name not in named
    )
    if left:
        what = f"files are left over from a run that was stopped: {', '.join(left[:3])}{' …' if len(left) > 3 else ''}"
        yield mendable(what, "room", "removed", mended=repair)
