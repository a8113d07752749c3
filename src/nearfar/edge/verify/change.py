"""What can be seen of a vault, and done to it, in one transaction."""

from __future__ import annotations

import hashlib
import sqlite3
import struct
from pathlib import Path

from nearfar.edge.verify.audit import AuditEntry, entry_text, next_link
from nearfar.edge.verify.head import Head
from nearfar.edge.verify.record import Record, digest_of, opened_row, sealed_row
from nearfar.edge.verify.seal import Seal
from nearfar.edge.verify.vault_file import damaged

MOST_AUDIT_ENTRIES = 100_000
"""The audit log keeps so many of the last entries; an export keeps older ones."""

_QUIET_SECONDS = 60.0


class Change:
    """What can be seen and done in one transaction; nothing of it is there before the transaction has ended well.

    Attributes:
        head: may be changed; sealed again at the end.
        rows: digest of each row, by tag.
        changed: whether there is something to write.
        rows_changed: whether templates are among it.
        dropped: whether a template was replaced or removed.
    """

    def __init__(
        self, directory: Path, seal: Seal, connection: sqlite3.Connection, head: Head, rows: dict[bytes, bytes]
    ) -> None:
        self._directory, self._seal, self._connection, self.rows = directory, seal, connection, rows
        self.head = head
        self.changed = self.rows_changed = self.dropped = False

    @property
    def enrolled(self) -> frozenset[bytes]:
        """Tags of all templates but the stand-in."""
        return frozenset(self.rows) - {self._seal.stand_in()}

    def record(self, tag: bytes) -> Record:
        """The template of a tag that is in `enrolled`, or of the stand-in.

        Raises:
            StoreError: the row is not the one that was written.
        """
        row = self._connection.execute(
            "SELECT tag, version, details, template FROM templates WHERE tag = ?", (tag,)
        ).fetchone()
        if row is None or digest_of(row) != self.rows[tag]:
            raise damaged(self._directory, "a template is missing, or is not the one that was stored")
        record = opened_row(self._seal, self.head.encoder, row)
        if record is None:
            raise damaged(
                self._directory, "a template is of another identity, encoder, version or vault, or was changed"
            )
        return record

    def records(self) -> list[Record]:
        """All templates but the stand-in, in no order that says anything."""
        return [self.record(tag) for tag in sorted(self.enrolled)]

    def put(self, tag: bytes, record: Record) -> None:
        """Store a template, in the place of an older one of the same tag."""
        row = sealed_row(self._seal, self.head.encoder, tag, record)
        self._connection.execute("INSERT OR REPLACE INTO templates VALUES (?, ?, ?, ?)", row)
        self.dropped |= tag in self.rows
        self.rows[tag] = digest_of(row)
        self.changed = self.rows_changed = True

    def remove(self, tag: bytes) -> None:
        """Remove the template of a tag."""
        self._connection.execute("DELETE FROM templates WHERE tag = ?", (tag,))
        del self.rows[tag]
        self.changed = self.rows_changed = self.dropped = True

    def log(self, kind: str, tag: bytes, result: str, *, quiet: bool = False) -> None:
        """Write an entry into the audit log.

        Args:
            kind: what was asked for.
            tag: of whom; empty of nobody.
            result: how it ended.
            quiet: at most one such entry a minute; the others are counted.
        """
        head, left_out = self.head, 0
        if quiet:
            when, left_out = head.quiet.get(f"{kind} {result}", (float("-inf"), 0))
            if head.clock.at - when < _QUIET_SECONDS:
                head.quiet[f"{kind} {result}"] = (when, left_out + 1)
                self.changed = True
                return
            head.quiet[f"{kind} {result}"] = (head.clock.at, 0)
        number = head.audit_last + 1
        text = entry_text(AuditEntry(number, head.clock.wall, kind, tag.hex(), result, left_out))
        digest = hashlib.sha256(text).digest()
        sealed = self._seal.seal("audit", text, struct.pack(">Q", number))
        self._connection.execute("INSERT INTO audit VALUES (?, ?, ?)", (number, digest, sealed))
        head.audit_link = next_link(head.audit_link, digest, sealed)
        head.audit_last = number
        while head.audit_last - head.audit_first >= MOST_AUDIT_ENTRIES:
            row = self._connection.execute(
                "SELECT digest, sealed FROM audit WHERE number = ?", (head.audit_first,)
            ).fetchone()
            head.audit_before = next_link(head.audit_before, *row)
            self._connection.execute("DELETE FROM audit WHERE number = ?", (head.audit_first,))
            head.audit_first += 1
        self.changed = True
