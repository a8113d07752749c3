"""A key for data, and what is derived from it."""

from __future__ import annotations

import secrets
from typing import Any, Literal, NoReturn

from nearfar.edge.keys.primitives import derive, wrap

KEY_BYTES = 32

Purpose = Literal["database", "derived", "templates", "history"]
"""What a subkey is for: the SQLite file, the sealed files derived from it, biometric templates, what the user did."""


class Key:
    """A random key of 32 bytes that shows itself to nobody: it does not print, and refuses to be pickled."""

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        """Hold `secret`, 32 random bytes."""
        if len(secret) != KEY_BYTES:
            raise ValueError(f"a key has {KEY_BYTES} bytes, not {len(secret)}")
        self._secret = secret

    @classmethod
    def random(cls) -> Key:
        """A new key from the system's random source."""
        return cls(secrets.token_bytes(KEY_BYTES))

    def subkey(self, purpose: Purpose) -> bytes:
        """The key for one purpose: 32 bytes that tell nothing about the key or about the other subkeys (HKDF, RFC 5869)."""
        return derive(self._secret, f"nearfar {purpose} 1")

    def wrapped(self, under: bytes, about: bytes) -> bytes:
        """The key itself, encrypted under another one; see `primitives.wrap`."""
        return wrap(self._secret, under, about)

    def __repr__(self) -> str:
        return "Key(hidden)"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("a key is not pickled: that would write it down")
