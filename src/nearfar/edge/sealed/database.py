"""An open sealed file: one thread and one process at a time change it, and what it says of itself is held to what was written."""

from __future__ import annotations

import os
import secrets
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nearfar.edge.sealed.layout import Layout
from nearfar.edge.sealed.seal import Seal
from nearfar.errors import StoreError

_IDENTIFIER_BYTES = 16


class SealedDatabase:
    """What a vault and a history have in common; see `Layout`.

    Args:
        directory: of the file.
        layout: what kind of file it is.
        make: make the file.

    Attributes:
        directory: of the file.
        connection: to the file.
        identifier: of the file, 16 random bytes.
        seal: of its parts; the child sets it.

    Raises:
        StoreError: the file is missing or damaged.
    """

    seal: Seal

    def __init__(self, directory: Path, layout: Layout, *, make: bool = False) -> None:
        self.directory, self._layout = directory, layout
        self._lock = threading.Lock()
        self._process = os.getpid()
        with layout.explained(directory):
            self.connection = layout.connect(directory, make=make)
            try:
                self.identifier = secrets.token_bytes(_IDENTIFIER_BYTES) if make else self._stored_identifier()
            except BaseException:
                self.connection.close()
                raise

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self.connection.close()

    def damaged(self, what: str) -> StoreError:
        """The error for what is not as it was written."""
        return self._layout.damaged(self.directory, what)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Be the only thread; errors of the file are told in words."""
        if os.getpid() != self._process:
            # SQLite's locks are not inherited by a forked process, and two would write over each other.
            raise StoreError(
                f"{self.directory}: the {self._layout.noun} was opened by the process that this one was forked from; open it again here"
            )
        with self._lock, self._layout.explained(self.directory):
            try:
                yield
            finally:
                self._roll_back()  # where an interrupt came just when the transaction was to be rolled back

    @contextmanager
    def _begun(self, begin: str) -> Iterator[None]:
        """A transaction that is rolled back unless the block commits it, whatever interrupts the block."""
        try:
            self.connection.execute(begin)
            yield
        finally:
            self._roll_back()

    def _roll_back(self) -> None:
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")

    def _move_log(self) -> bool:
        """Move SQLite's log into the file, which writes over what was replaced or removed: until then it lies in both.

        Returns:
            Whether it was moved; not where another process has read from it all the while.
        """
        busy, *_ = self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not busy

    def _note_removed(self) -> None:
        """Say in the file that removed rows are still to be written over; the caller has begun the transaction that removes them."""
        self.connection.execute("PRAGMA user_version = 1")

    def _write_over(self) -> bool:
        """Write over what is left of removed rows; no transaction is open.

        SQLite clears the place of a row, but not the copies that it leaves between the rows of a page when it puts pages in order; so the
        file is made anew. Where that is interrupted, the file still says that it is to be done.

        Returns:
            Whether all is gone; not where another process has read all the while.
        """
        self.connection.execute("VACUUM")
        moved = self._move_log()
        if moved:  # not before: until then the file holds what it held
            self.connection.execute("PRAGMA user_version = 0")
        return moved

    def _clear(self, done: str, again: str) -> None:
        """As `_write_over`, after a transaction that has removed rows; the removal stands, whatever happens here.

        Args:
            done: what the removal was, for the message.
            again: what ends it where it could not be ended here.

        Raises:
            StoreError: sealed rows are left.
        """
        try:
            why = "" if self._write_over() else "another process was reading all the while"
        except sqlite3.OperationalError as error:
            why = str(error)
        if why:
            raise StoreError(
                f"{self.directory}: {done}, but rows of it, sealed, still lie in the file ({why}); {again} when that is mended"
            )

    def _removed_remain(self) -> bool:
        """Whether removed rows are still to be written over."""
        return bool(self.connection.execute("PRAGMA user_version").fetchone()[0])

    def make_tables(self) -> None:
        """Make the tables of a new file; the caller has begun a transaction."""
        for statement in filter(None, self._layout.tables.values()):
            self.connection.execute(statement)

    def put_first(self, head: bytes) -> None:
        """Write what a new file begins with; the caller has begun a transaction.

        Args:
            head: its text.
        """
        self.connection.executemany(
            "INSERT INTO meta VALUES (?, ?)",
            [
                ("format", self._layout.format),
                (self._layout.noun, self.identifier),
                ("head", self.seal.seal("head", head)),
            ],
        )

    def _stored_identifier(self) -> bytes:
        stored = dict(self.connection.execute("SELECT name, value FROM meta").fetchall())
        known, noun = self._layout.format, self._layout.noun
        if stored.get("format") != known and isinstance(stored.get("format"), int):
            raise StoreError(
                f"{self.directory}: format {stored['format']} of a {noun} is not one that this nearfar reads ({known}), or the file is "
                "damaged: upgrade nearfar, or put the directory back from a backup"
            )
        identifier = stored.get(noun)
        if not isinstance(identifier, bytes) or len(identifier) != _IDENTIFIER_BYTES or stored.get("format") != known:
            raise self.damaged("its identifier is missing")
        return identifier

    def _opened_head(self) -> bytes:
        """The text of the head; the caller has begun a transaction."""
        # A trigger or a view in a planted schema could turn a change into none.
        tables = dict(self.connection.execute("SELECT name, sql FROM sqlite_master").fetchall())
        if tables != self._layout.tables:
            raise self.damaged(f"its tables are not those of a {self._layout.noun}")
        stored = dict(
            self.connection.execute("SELECT name, value FROM meta WHERE name IN (?, 'head')", (self._layout.noun,))
        )
        sealed = stored.get("head")
        if stored.get(self._layout.noun) != self.identifier or not isinstance(sealed, bytes):
            raise self.damaged("its head is missing")
        text = self.seal.open("head", sealed)
        if text is None:
            raise self.damaged(
                f"its head is not the one that was written, or key.json is of another {self._layout.noun}"
            )
        return text

    def _put_head(self, text: bytes) -> None:
        """Seal the head again; the caller has begun a transaction."""
        done = self.connection.execute("UPDATE meta SET value = ? WHERE name = 'head'", (self.seal.seal("head", text),))
        if done.rowcount != 1:
            raise self.damaged("its head is missing")
