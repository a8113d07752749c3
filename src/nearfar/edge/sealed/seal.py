"""The keys of one sealed file, and the sealing of its parts."""

from __future__ import annotations

import secrets
import struct

from nearfar.edge.keys.primitives import NONCE_BYTES, aes_gcm, derive


class Seal:
    """Seals and opens the parts of one file with AES-256-GCM (NIST SP 800-38D).

    What a part is of is authenticated with it: the format, the file, the kind of part, and whatever the caller adds. So no part can
    take the place of another one, in this file or in a copy with the same key. Nonces are random: far below 2^32 parts a key.

    Args:
        secret: subkey of the directory's key, 32 bytes.
        noun: what the file is.
        identifier: of the file, 16 random bytes.

    Attributes:
        identifier: of the file.
    """

    def __init__(self, secret: bytes, noun: str, identifier: bytes) -> None:
        self.identifier = identifier
        self._secret, self._noun = secret, noun
        self._cipher = aes_gcm(self.subkey("seal"))

    def subkey(self, purpose: str) -> bytes:
        """A key of this file for one purpose, 32 bytes."""
        return derive(self._secret, f"nearfar {self._noun} {purpose} 1", self.identifier)

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

    def _about(self, kind: str, about: tuple[bytes, ...]) -> bytes:
        parts = (f"nearfar {self._noun} 1".encode(), self.identifier, kind.encode(), *about)
        return b"".join(struct.pack(">I", len(part)) + part for part in parts)


def filled(text: bytes, room: int) -> bytes:
    """`text` with blanks up to a multiple of `room` bytes: the length of what is sealed then tells little."""
    return text + b" " * (-len(text) % room)
