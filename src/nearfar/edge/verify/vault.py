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

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nearfar.edge.keys import Key
from nearfar.edge.sealed.database import SealedDatabase
from nearfar.edge.verify.audit import AuditEntry, beginning, next_link, read_entry
from nearfar.edge.verify.change import Change
from nearfar.edge.verify.head import Head, read_head
from nearfar.edge.verify.record import Record, digest_of, is_row, sealed_row
from nearfar.edge.verify.seal import Seal, rows_digest
from nearfar.edge.verify.vault_file import VAULT
from nearfar.edge.verify.witness import read_witness, write_witness
from nearfar.errors import StoreError


class Vault(SealedDatabase):
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

    seal: Seal

    def __init__(self, directory: Path, key: Key, *, witness: Path | None = None, make: bool = False) -> None:
        super().__init__(directory, VAULT, make=make)
        self._witness = witness
        self._counter = -1
        self._rows: dict[bytes, bytes] = {}
        self._rows_digest = b""
        self.seal = Seal(key, self.identifier)
        self.stand_in = self.seal.stand_in()

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
                    if change.dropped:
                        self._note_removed()
                    head.counter += 1
                    if change.rows_changed:
                        head.rows = rows_digest(change.rows)
                    self._put_head(head.to_bytes())
                    self.connection.execute("COMMIT")
                    self._counter, self._rows, self._rows_digest = head.counter, change.rows, head.rows
            if change.changed:
                self._tell_witness()
            if change.dropped:
                self._clear("the template is revoked or renewed", "open the vault again")

    def check(self, *, renew_witness: bool = False) -> Head:
        """Hold everything in the file to the head, and the head to the witness; end a revocation that was interrupted.

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
                    raise self.damaged("its pages do not fit together")
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
                        self._put_head(head.to_bytes())
                        self.connection.execute("COMMIT")
            self._counter = head.counter
            self._tell_witness()
            if self._removed_remain():
                self._write_over()
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
                    raise self.damaged(f"entry {number} of the audit log is not the one that was written")
                found.append((read_entry(text), text, sealed))
            return head, found

    def _head(self) -> Head:
        """Read the head; the caller has begun a transaction."""
        head = read_head(self._opened_head())
        if head.counter < self._counter:
            raise self.damaged("it was put back to an older state while it was open")
        # One by one: both in one query would read the whole table. What lies between is looked at when the vault is opened.
        ends = self.connection.execute("SELECT (SELECT min(number) FROM audit), (SELECT max(number) FROM audit)")
        if ends.fetchone() != (head.audit_first, head.audit_last):
            raise self.damaged("its audit log has other entries than its head says")
        return head

    def _current_rows(self, head: Head) -> dict[bytes, bytes]:
        """The digests of all rows; read again where another process has changed them."""
        if head.rows != self._rows_digest:
            rows = self.connection.execute("SELECT tag, version, details, template FROM templates").fetchall()
            if not all(is_row(row) for row in rows):
                raise self.damaged("a template is not one")
            found = {row[0]: digest_of(row) for row in rows}
            if rows_digest(found) != head.rows or self.stand_in not in found:
                raise self.damaged("a template was taken out, put in, exchanged or put back")
            self._rows, self._rows_digest = found, head.rows
        return self._rows

    def _audit_rows(self, head: Head) -> Iterator[tuple[int, bytes]]:
        """Number and sealed form of each entry; after the last one the chain was found to be that of the head."""
        link, expected = head.audit_before, head.audit_first
        for number, digest, sealed in self.connection.execute(
            "SELECT number, digest, sealed FROM audit ORDER BY number"
        ):
            if number != expected or not isinstance(digest, bytes) or not isinstance(sealed, bytes):
                raise self.damaged(f"entry {expected} of the audit log is missing")
            link = next_link(link, digest, sealed)
            expected += 1
            yield number, sealed
        if link != head.audit_link or expected != head.audit_last + 1:
            raise self.damaged("the audit log is not the one that was written")

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
        with VAULT.explained(directory):
            connection.execute("BEGIN IMMEDIATE")
            vault.make_tables()
            row = sealed_row(vault.seal, head.encoder, vault.stand_in, stand_in)
            connection.execute("INSERT INTO templates VALUES (?, ?, ?, ?)", row)
            head.rows = rows_digest({vault.stand_in: digest_of(row)})
            head.audit_before = head.audit_link = beginning(vault.seal.identifier)
            change = Change(directory, vault.seal, connection, head, {})
            change.log("create", b"", "done")
            vault.put_first(head.to_bytes())
            connection.execute("COMMIT")
        vault.check(renew_witness=witness is not None)
    except BaseException:
        vault.close()
        raise
    return vault
