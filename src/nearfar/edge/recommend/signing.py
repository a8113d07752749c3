"""Signatures of a publisher (Ed25519, RFC 8032): made with a key in a file, checked with the public key of a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from nearfar.edge.keys.keyfile import keyfile_secret
from nearfar.errors import BundleError, MissingExtraError

SIGNATURE_BYTES: Final = 64
_KEY_BYTES: Final = 32
_NEEDED_FOR: Final = "Signing catalogue updates and checking them"


class Publisher:
    """Signs what it publishes.

    Args:
        seed: 32 secret bytes.

    Raises:
        MissingExtraError: `cryptography` is not installed.
    """

    def __init__(self, seed: bytes) -> None:
        try:
            from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        except ImportError as error:
            raise MissingExtraError("encryption", _NEEDED_FOR) from error
        self._key = Ed25519PrivateKey.from_private_bytes(seed)

    @classmethod
    def open(cls, path: Path, *, create: bool = False) -> Publisher:
        """The key in a file that only its owner may read (64 hexadecimal digits).

        Args:
            path: of the file.
            create: make it where there is none.

        Raises:
            KeyUnavailableError: others may read it, or it is not there, or holds no key.
        """
        return cls(keyfile_secret(path, create=create))

    @property
    def public_key(self) -> str:
        """Who may change a catalogue, for `recommend.signed_by` of the recipe: 64 hexadecimal digits, no secret."""
        return self._key.public_key().public_bytes_raw().hex()

    def sign(self, content: bytes) -> bytes:
        """64 bytes that only this key can make of these."""
        return self._key.sign(content)


def is_signed(content: bytes, signature: bytes, public_key: str, where: str) -> bool:
    """Whether a publisher signed these bytes.

    Args:
        content: what was signed.
        signature: 64 bytes.
        public_key: 64 hexadecimal digits.
        where: it stands, for messages.

    Raises:
        BundleError: the public key is none.
        MissingExtraError: `cryptography` is not installed.
    """
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError as error:
        raise MissingExtraError("encryption", _NEEDED_FOR) from error
    try:
        raw = bytes.fromhex(public_key)
    except ValueError:
        raw = b""
    if len(raw) != _KEY_BYTES:
        raise BundleError(
            f"{where}: signed_by {public_key[:80]!r} is no public key (64 hexadecimal digits): "
            "set recommend.signed_by to what `nearfar catalogue key` prints, and export again"
        )
    try:
        Ed25519PublicKey.from_public_bytes(raw).verify(signature, content)
    except InvalidSignature:
        return False
    return True
