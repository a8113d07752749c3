"""The cryptography that the keys need, all of it from the package `cryptography`, which is loaded when first used."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from nearfar.errors import MissingExtraError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE_BYTES = 12
TAG_BYTES = 16


def aes_gcm(key: bytes) -> AESGCM:
    """AES-256-GCM (NIST SP 800-38D) under `key`, 32 bytes.

    Raises:
        MissingExtraError: `cryptography` is not installed.
    """
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise MissingExtraError("encryption", "Encryption") from error
    return AESGCM(key)


def derive(secret: bytes, purpose: str, salt: bytes | None = None) -> bytes:
    """HKDF-SHA256 (RFC 5869): 32 bytes for one purpose from `secret`, which must be as random as a key already."""
    try:
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF
    except ImportError as error:
        raise MissingExtraError("encryption", "Encryption") from error
    return HKDF(algorithm=SHA256(), length=32, salt=salt, info=purpose.encode()).derive(secret)


def stretch(passphrase: str, *, salt: bytes, n: int, r: int, p: int) -> bytes:
    """Make a key of a passphrase with scrypt (RFC 7914): 32 bytes, slow and in 128 n r bytes of memory on purpose."""
    try:
        from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
    except ImportError as error:
        raise MissingExtraError("encryption", "Encryption") from error
    return Scrypt(salt=salt, length=32, n=n, r=r, p=p).derive(passphrase.encode())


def wrap(secret: bytes, under: bytes, about: bytes) -> bytes:
    """Encrypt a short secret.

    Args:
        secret: what to encrypt.
        under: the key, 32 bytes.
        about: what must be the same again for `unwrap`; it is not encrypted.

    Returns:
        Nonce (12 bytes), ciphertext, tag (16 bytes).
    """
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + aes_gcm(under).encrypt(nonce, secret, about)


def unwrap(wrapped: bytes, under: bytes, about: bytes) -> bytes | None:
    """What `wrap` encrypted, or None where the key or `about` is another one or a byte has changed."""
    cipher = aes_gcm(under)
    from cryptography.exceptions import InvalidTag

    try:
        return cipher.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], about)
    except (InvalidTag, ValueError):
        return None
