"""The keys of a vault, and the sealing of what lies in it."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import struct

from nearfar.edge.keys import Key
from nearfar.edge.keys.primitives import NONCE_BYTES, aes_gcm, derive
from nearfar.edge.verify.names import one_spelling

TAG_BYTES = 16


class Seal:
    """Seals and opens the parts of one vault with AES-256-GCM (NIST SP 800-38D).

    What a part is of is authenticated with it: the format, the vault, the kind of part, and whatever the caller adds. So no part can
    take the place of another one, in this vault or in a copy with the same key. Nonces are random: far below 2^32 parts a key.

    Args:
        key: of the directory.
        vault: identifier, 16 random bytes.
    """

    def __init__(self, key: Key, vault: bytes) -> None:
        secret = key.subkey("templates")
        self.vault = vault
        self._cipher = aes_gcm(derive(secret, "nearfar vault seal 1", vault))
        self._tags = derive(secret, "nearfar vault tags 1", vault)
        self._marks = derive(secret, "nearfar vault witness 1", vault)

    def seal(self, kind: str, content: bytes, *about: bytes) -> bytes:
        """Encrypt a part.

        Args:
            kind: of part.
            content: what to encrypt.
            about: what must be the same again for `open`.

        Returns:
            Nonce (12 bytes), ciphertext, tag (16 bytes).
        """
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, content, self._about(kind, about))

    def open(self, kind: str, sealed: bytes, *about: bytes) -> bytes | None:
        """What `seal` encrypted, or None where it is of another place, or a byte has changed."""
        from cryptography.exceptions import InvalidTag

        try:
            return self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], self._about(kind, about))
        except (InvalidTag, ValueError):
            return None

    def tag(self, identity: str) -> bytes:
        """What an identity is looked up by, 16 bytes: tells nothing of the name to who has no key."""
        return hmac.digest(self._tags, b"identity\0" + one_spelling(identity), "sha256")[:TAG_BYTES]

    def stand_in(self) -> bytes:
        """The tag of the template that is compared where nobody has the name; no name has it."""
        return hmac.digest(self._tags, b"stand-in", "sha256")[:TAG_BYTES]

    def mark(self, counter: int) -> bytes:
        """What shows that a witness was written by who has the key, 32 bytes."""
        return hmac.digest(self._marks, struct.pack(">Q", counter), "sha256")

    def _about(self, kind: str, about: tuple[bytes, ...]) -> bytes:
        parts = (b"nearfar vault 1", self.vault, kind.encode(), *about)
        return b"".join(struct.pack(">I", len(part)) + part for part in parts)


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
