"""The keys of a vault: of its parts, and of what identities are looked up by."""

from __future__ import annotations

import hashlib
import hmac
import struct

from nearfar.edge.keys import Key
from nearfar.edge.sealed import seal as sealed
from nearfar.edge.verify.names import one_spelling

TAG_BYTES = 16


class Seal(sealed.Seal):
    """Seals the parts of one vault, and marks what belongs to it.

    Args:
        key: of the directory.
        vault: identifier, 16 random bytes.
    """

    def __init__(self, key: Key, vault: bytes) -> None:
        super().__init__(key.subkey("templates"), "vault", vault)
        self._tags, self._marks = self.subkey("tags"), self.subkey("witness")

    def tag(self, identity: str) -> bytes:
        """What an identity is looked up by, 16 bytes: tells nothing of the name to who has no key."""
        return hmac.digest(self._tags, b"identity\0" + one_spelling(identity), "sha256")[:TAG_BYTES]

    def stand_in(self) -> bytes:
        """The tag of the template that is compared where nobody has the name; no name has it."""
        return hmac.digest(self._tags, b"stand-in", "sha256")[:TAG_BYTES]

    def mark(self, counter: int) -> bytes:
        """What shows that a witness was written by who has the key, 32 bytes."""
        return hmac.digest(self._marks, struct.pack(">Q", counter), "sha256")


def row_digest(tag: bytes, version: int, details: bytes, template: bytes) -> bytes:
    """SHA-256 of one row as it is stored."""
    parts = (tag, struct.pack(">Q", version), details, template)
    return hashlib.sha256(b"".join(struct.pack(">I", len(part)) + part for part in parts)).digest()


def rows_digest(rows: dict[bytes, bytes]) -> bytes:
    """SHA-256 of all rows.

    Args:
        rows: tag -> digest of the row.
    """
    return hashlib.sha256(b"".join(tag + rows[tag] for tag in sorted(rows))).digest()
