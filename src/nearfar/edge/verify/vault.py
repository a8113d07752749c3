"""A directory of sealed templates: what it holds can be read, changed or put back only by who has the key, or it shows.

    key.json       which place unlocks the key
    bundle-*/      the encoder that the templates are of
    vault.sqlite   meta: format, identifier, and the sealed head
                   templates: a row an identity, looked up by a keyed digest of its name
                   audit: a sealed row an entry

Every change is one transaction that first reads the head again, so threads and processes may share a vault; it counts once it is on the
medium. What lies in the file is held to the head when the vault is opened and again at each use.
"""

from __future__ import annotations

import os
import secrets
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nearfar.edge.keys import Key
from nearfar.edge.verify.audit import AuditEntry, beginning, next_link, read_entry
from nearfar.edge.verify.change import Change
from nearfar.edge.verify.head import Head, read_head
from nearfar.edge.verify.record import Record, digest_of, is_row, sealed_row
from nearfar.edge.verify.seal import Seal, rows_digest
from nearfar.edge.verify.vault_file import FORMAT, SCHEMA, connect_vault, damaged, explained
from nearfar.edge.verify.witness import read_witness, write_witness
from nearfar.errors import StoreError

_VAULT_BYTES = 16


class Vault:
    """The open file; see the head of this module. A new one is made by `create_vault`.

    Args:
        directory: of the vault.
        key: of the directory.
        witness: a file on another medium that is told of every change.
        make: make the file.

    Attributes:
        directory: of the vault.
        connection: to the file.
        seal: of its parts.
        stand_in: tag of the template that is compared where nobody has a name.

    Raises:
        StoreError: the file is missing or damaged.
    """

    def __init__(self, directory: Path, key: Key, *, witness: Path | None = None, make: bool = False) -> None:
        self.directory, self._witness = directory, witness
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._counter = -1
        self._rows: dict[bytes, bytes] = {}
        self._rows_digest = b""
        with explained(directory):
            self.connection = connect_vault(directory, make=make)
            try:
                vault = secrets.token_bytes(_VAULT_BYTES) if make else self._identifier()
            except BaseException:
                self.connection.close()
                raise
        self.seal = Seal(key, vault)
        self.stand_in = self.seal.stand_in()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self.connection.close()

    @contextmanager
    def change(self) -> Iterator[Change]:
        """Be the only one who changes the vault; what was done is on the medium when the block has ended.

        Raises:
            StoreError: the vault is damaged, was changed by who has no key, was put back to an older state while it was open, or
                cannot be written. Nothing was changed then.
        """
        with self._alone():
            with self._begun("BEGIN IMMEDIATE"):
                head = self._head()
                self._held_to_witness(head)
                change = Change(self.directory, self.seal, self.connection, head, dict(self._current_rows(head)))
                yield change
                if change.changed:
                    head.counter += 1
                    if change.rows_changed:
                        head.rows = rows_digest(change.rows)
                    self._write_head(head)
                    self.connection.execute("COMMIT")
                    self._counter, self._rows, self._rows_digest = head.counter, change.rows, head.rows
            if change.changed:
                self._tell_witness()
            if change.dropped:
                # What was replaced lies in the log until it is moved into the file, where it is written over.
                self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def check(self, *, renew_witness: bool = False) -> Head:
        """Hold everything in the file to the head, and the head to the witness.

        Args:
            renew_witness: make the witness anew where it is lost, or older than the vault says.

        Returns:
            The head.

        Raises:
            StoreError: as `change`.
        """
        with self._alone():
            with self._begun("BEGIN IMMEDIATE" if self._witness else "BEGIN"):
                if self.connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                    raise damaged(self.directory, "its pages do not fit together")
                head = self._head()
                self._current_rows(head)
                for _ in self._audit_rows(head):
                    pass
                if head.witnessed and self._witness is None:
                    raise StoreError(
                        f"{self.directory}: this vault is kept with a witness, without which an old copy of it could not be told from "
                        "the present one: open it with witness=PATH"
                    )
                if self._witness is not None:
                    adopted = not head.witnessed
                    if renew_witness or (adopted and read_witness(self._witness, self.seal) is None):
                        write_witness(self._witness, self.seal, head.counter)
                    self._held_to_witness(head)
                    if adopted:
                        head.witnessed, head.counter = True, head.counter + 1
                        self._write_head(head)
                        self.connection.execute("COMMIT")
            self._counter = head.counter
            self._tell_witness()
        return head

    def audit(self) -> tuple[Head, list[tuple[AuditEntry, bytes, bytes]]]:
        """The audit log: each entry, its text and its sealed form.

        Raises:
            StoreError: as `change`.
        """
        with self._alone(), self._begun("BEGIN"):
            head = self._head()
            found = []
            for number, sealed in self._audit_rows(head):
                text = self.seal.open("audit", sealed, struct.pack(">Q", number))
                if text is None:
                    raise damaged(self.directory, f"entry {number} of the audit log is not the one that was written")
                found.append((read_entry(text), text, sealed))
            return head, found

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Be the only thread; errors of the file are told in words."""
        if os.getpid() != self._process:
            # SQLite's locks are not inherited by a forked process, and two would write over each other.
            raise StoreError(
                f"{self.directory}: the vault was opened by the process that this one was forked from; open it again here"
            )
        with self._lock, explained(self.directory):
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

    def _identifier(self) -> bytes:
        stored = dict(self.connection.execute("SELECT name, value FROM meta").fetchall())
        if stored.get("format") != FORMAT and isinstance(stored.get("format"), int):
            raise StoreError(
                f"{self.directory}: format {stored['format']} of a vault is not one that this nearfar reads ({FORMAT}), or the file is "
                "damaged: upgrade nearfar, or put the directory back from a backup"
            )
        vault = stored.get("vault")
        if not isinstance(vault, bytes) or len(vault) != _VAULT_BYTES or stored.get("format") != FORMAT:
            raise damaged(self.directory, "its identifier is missing")
        return vault

    def _head(self) -> Head:
        """Read the head; the caller has begun a transaction."""
        # A trigger or a view in a planted schema could turn a change into none.
        tables = dict(self.connection.execute("SELECT name, sql FROM sqlite_master").fetchall())
        if tables != SCHEMA:
            raise damaged(self.directory, "its tables are not those of a vault")
        stored = dict(self.connection.execute("SELECT name, value FROM meta").fetchall())
        sealed = stored.get("head")
        if stored.get("vault") != self.seal.vault or not isinstance(sealed, bytes):
            raise damaged(self.directory, "its head is missing")
        text = self.seal.open("head", sealed)
        if text is None:
            raise damaged(self.directory, "its head is not the one that was written, or key.json is of another vault")
        head = read_head(text)
        if head.counter < self._counter:
            raise damaged(self.directory, "it was put back to an older state while it was open")
        # One by one: both in one query would read the whole table. What lies between is looked at when the vault is opened.
        ends = self.connection.execute("SELECT (SELECT min(number) FROM audit), (SELECT max(number) FROM audit)")
        if ends.fetchone() != (head.audit_first, head.audit_last):
            raise damaged(self.directory, "its audit log has other entries than its head says")
        return head

    def _write_head(self, head: Head) -> None:
        done = self.connection.execute(
            "UPDATE meta SET value = ? WHERE name = 'head'", (self.seal.seal("head", head.to_bytes()),)
        )
        if done.rowcount != 1:
            raise damaged(self.directory, "its head is missing")

    def _current_rows(self, head: Head) -> dict[bytes, bytes]:
        """The digests of all rows; read again where another process has changed them."""
        if head.rows != self._rows_digest:
            rows = self.connection.execute("SELECT tag, version, details, template FROM templates").fetchall()
            if not all(is_row(row) for row in rows):
                raise damaged(self.directory, "a template is not one")
            found = {row[0]: digest_of(row) for row in rows}
            if rows_digest(found) != head.rows or self.stand_in not in found:
                raise damaged(self.directory, "a template was taken out, put in, exchanged or put back")
            self._rows, self._rows_digest = found, head.rows
        return self._rows

    def _audit_rows(self, head: Head) -> Iterator[tuple[int, bytes]]:
        """Number and sealed form of each entry; after the last one the chain was found to be that of the head."""
        link, expected = head.audit_before, head.audit_first
        for number, digest, sealed in self.connection.execute(
            "SELECT number, digest, sealed FROM audit ORDER BY number"
        ):
            if number != expected or not isinstance(digest, bytes) or not isinstance(sealed, bytes):
                raise damaged(self.directory, f"entry {expected} of the audit log is missing")
            link = next_link(link, digest, sealed)
            expected += 1
            yield number, sealed
        if link != head.audit_link or expected != head.audit_last + 1:
            raise damaged(self.directory, "the audit log is not the one that was written")

    def _held_to_witness(self, head: Head) -> None:
        if self._witness is None:
            return
        seen = read_witness(self._witness, self.seal)
        if seen is None:
            raise StoreError(
                f"{self._witness}: the witness of {self.directory} is missing; connect its medium or, if you are sure that the vault is "
                "the present one, make a new witness (renew_witness=True)"
            )
        if head.counter < seen:
            raise StoreError(
                f"{self.directory}: is an old copy: it has seen {head.counter:,} changes, and its witness {self._witness} {seen:,}; put "
                "the present one back or, if it is lost, make a new witness (renew_witness=True) and revoke who should not be in it"
            )

    def _tell_witness(self) -> None:
        """Write the counter to the witness; under the file's lock, so that no process writes a lower one after a higher."""
        if self._witness is None:
            return
        with self._begun("BEGIN IMMEDIATE"):
            write_witness(self._witness, self.seal, self._head().counter)


def create_vault(directory: Path, key: Key, head: Head, stand_in: Record, *, witness: Path | None = None) -> Vault:
    """Make the file of a vault.

    Args:
        directory: must be there, without one.
        key: of the directory.
        head: the first; what it says of rows and of the audit log is filled in here.
        stand_in: to be compared where nobody has a name.
        witness: see `witness`.

    Raises:
        StoreError: it cannot be written.
    """
    vault = Vault(directory, key, witness=witness, make=True)
    connection = vault.connection
    try:
        with explained(directory):
            connection.execute("BEGIN IMMEDIATE")
            for statement in SCHEMA.values():
                connection.execute(statement)
            row = sealed_row(vault.seal, head.encoder, vault.stand_in, stand_in)
            connection.execute("INSERT INTO templates VALUES (?, ?, ?, ?)", row)
            head.rows = rows_digest({vault.stand_in: digest_of(row)})
            head.audit_before = head.audit_link = beginning(vault.seal.vault)
            change = Change(directory, vault.seal, connection, head, {})
            change.log("create", b"", "done")
            connection.executemany(
                "INSERT INTO meta VALUES (?, ?)",
                [
                    ("format", FORMAT),
                    ("vault", vault.seal.vault),
                    ("head", vault.seal.seal("head", head.to_bytes())),
                ],
            )
            connection.execute("COMMIT")
        vault.check(renew_witness=witness is not None)
    except BaseException:
        vault.close()
        raise
    return vault
