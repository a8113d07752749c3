"""Sealed files: what is derived from an encrypted store (graphs, codes, postings), encrypted and authenticated in pieces.

The construction is STREAM (Hoang, Reyhanitabar, Rogaway and Vizár, CRYPTO 2015, section 7) over AES-256-GCM with a fresh
key for every file, as in Tink's streaming AEAD:

    header   b"NFSEALED", version (u32), bytes in a piece (u32), salt (32 random bytes); big-endian
    pieces   ciphertext and tag (16 bytes) of 1 MiB each; the last one is shorter or full

The file's key is HKDF-SHA256 of the store's and the salt. A piece's nonce is its number and whether it is the last one,
so that pieces cannot be cut off, put in another order or taken from another file. Header and name of the file are
authenticated with every piece, so that one sealed file cannot be put in the place of another.
"""

from __future__ import annotations

import io
import secrets
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import numpy.typing as npt

from nearfar.edge.keys.primitives import TAG_BYTES, aes_gcm, derive
from nearfar.errors import StoreError
from nearfar.index.derived_file import derived_file

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from typing_extensions import Buffer

PIECE_BYTES = 1 << 20

_MAGIC = b"NFSEALED"
_VERSION = 1
_SALT_BYTES = 32
_HEADER = struct.Struct(f">8sII{_SALT_BYTES}s")
_PURPOSE = "nearfar sealed file 1"


class _SealingFile(io.RawIOBase):
    """A file to write to from beginning to end; every full piece goes out encrypted."""

    def __init__(self, file: BinaryIO, cipher: AESGCM, about: bytes) -> None:
        self._file = file
        self._cipher = cipher
        self._about = about
        # The same two buffers for every piece: the system would give and take the pages of new ones each time.
        self._plain = memoryview(bytearray(PIECE_BYTES))
        self._sealed = memoryview(bytearray(PIECE_BYTES + TAG_BYTES))
        self._filled = 0
        self._piece = 0
        self._position = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def write(self, data: Buffer) -> int:
        rest = memoryview(data).cast("B")
        size = len(rest)
        while rest:
            if self._filled == PIECE_BYTES:  # and more follows: it is not the last piece
                self._out(last=False)
            taken = min(len(rest), PIECE_BYTES - self._filled)
            self._plain[self._filled : self._filled + taken] = rest[:taken]
            self._filled += taken
            rest = rest[taken:]
        self._position += size
        return size

    def finish(self) -> None:
        """Write the last piece."""
        self._out(last=True)

    def _out(self, *, last: bool) -> None:
        sealed = self._sealed[: self._filled + TAG_BYTES]
        self._cipher.encrypt_into(_nonce(self._piece, last=last), self._plain[: self._filled], self._about, sealed)
        self._file.write(sealed)
        self._piece += 1
        self._filled = 0


@contextmanager
def sealed_file(path: Path, *, key: bytes) -> Iterator[BinaryIO]:
    """Write a sealed file; like `derived_file`, it appears complete or not at all.

    Args:
        path: the file to make or to replace. Its name is authenticated: a sealed file cannot be renamed.
        key: 32 bytes, `Key.subkey("derived")`.

    Yields:
        A binary file that can be written from beginning to end; no plain text of it reaches the disk.

    Raises:
        OSError: it could not be written; `path` is then what it was.
        MissingExtraError: `cryptography` is not installed.
    """
    salt = secrets.token_bytes(_SALT_BYTES)
    header = _HEADER.pack(_MAGIC, _VERSION, PIECE_BYTES, salt)
    cipher = aes_gcm(derive(key, _PURPOSE, salt))
    with derived_file(path) as file:
        file.write(header)
        sealing = _SealingFile(file, cipher, header + path.name.encode())
        yield sealing  # type: ignore[misc]  # a RawIOBase is a BinaryIO in all but name
        sealing.finish()


def unseal(path: Path, *, key: bytes) -> npt.NDArray[np.uint8]:
    """The content of a sealed file, decrypted in memory; nothing is returned before all of it is found genuine.

    Args:
        path: what `sealed_file` wrote.
        key: 32 bytes, the same as then.

    Returns:
        uint8 (n,), writable; `memoryview` of it reads like bytes.

    Raises:
        StoreError: the file is missing, cut off, changed, of another name, or sealed with another key.
        MissingExtraError: `cryptography` is not installed.
    """
    try:
        with path.open("rb") as file:
            return _unsealed(path, file, key)
    except OSError as error:
        raise StoreError(f"{path}: cannot read this part of the index: {error.strerror or error}") from error


def _unsealed(path: Path, file: BinaryIO, key: bytes) -> npt.NDArray[np.uint8]:
    header = file.read(_HEADER.size)
    if len(header) != _HEADER.size or not header.startswith(_MAGIC):
        raise _refusal(path, "is not a sealed file")
    _, version, piece_bytes, salt = _HEADER.unpack(header)
    if (version, piece_bytes) != (_VERSION, PIECE_BYTES):
        raise _refusal(path, "is damaged, or was sealed by a newer nearfar")
    size = file.seek(0, io.SEEK_END) - _HEADER.size
    file.seek(_HEADER.size)
    sealed_bytes = PIECE_BYTES + TAG_BYTES
    pieces = max(1, -(-size // sealed_bytes))
    if size < pieces * TAG_BYTES:
        raise _refusal(path, "is cut off")
    cipher = aes_gcm(derive(key, _PURPOSE, salt))
    from cryptography.exceptions import InvalidTag

    content = np.empty(size - pieces * TAG_BYTES, dtype=np.uint8)
    target = content.data
    buffer = memoryview(bytearray(min(size, sealed_bytes)))
    about = header + path.name.encode()
    try:
        for piece in range(pieces):
            got = file.readinto(buffer)  # type: ignore[attr-defined]  # every file opened to read has it
            begin = piece * PIECE_BYTES
            nonce = _nonce(piece, last=piece == pieces - 1)
            cipher.decrypt_into(nonce, buffer[:got], about, target[begin : begin + got - TAG_BYTES])
    except (InvalidTag, ValueError):
        raise _refusal(path, "is damaged, was changed, or belongs to another index") from None
    return content


def _nonce(piece: int, *, last: bool) -> bytes:
    return struct.pack(">7xIB", piece, last)


def _refusal(path: Path, reason: str) -> StoreError:
    return StoreError(f"{path}: {reason}, so it is not used; it is made again by the next run of nearfar index")
