"""The files that are derived from the store: written whole or not at all, and opened with what the store says of them."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from nearfar.edge.store.derived_record import Derived, DerivedRecord
from nearfar.edge.store.schema import DERIVED_PATTERN
from nearfar.errors import StoreError
from nearfar.index.derived_file import derived_file


def write_derived(
    directory: Path,
    kind: Derived,
    generation: int,
    write: Callable[[BinaryIO], None],
    *,
    last_row: int,
    rows: int,
    key: bytes | None,
) -> DerivedRecord:
    """Write a derived file, sealed where the store has a key.

    Args:
        directory: of the index.
        kind: what it holds.
        generation: of the store; makes the name a new one.
        write: writes the content; the file can be sought.
        last_row: the last row that it covers.
        rows: how many rows it covers.
        key: of the derived files of an encrypted store.

    Returns:
        What the store shall remember of it.

    Raises:
        OSError: it could not be written; nothing is left behind.
    """
    path = directory / f"{DERIVED_PATTERN.replace('*', str(generation))}.{kind}"
    if key is None:
        with derived_file(path) as file:
            write(file)
    else:
        from nearfar.edge.store.sealed_file import sealed_file

        plain = io.BytesIO()  # a sealed file is written from beginning to end
        write(plain)
        with sealed_file(path, key=key) as file:
            file.write(plain.getbuffer())
    return DerivedRecord(kind, path.name, path.stat().st_size, digest_of(path), last_row, rows)


def check_size(directory: Path, record: DerivedRecord) -> Path:
    """The path of a derived file that is there in its full size.

    Raises:
        StoreError: it is missing or of another size.
    """
    path = directory / record.file
    try:
        size = path.stat().st_size
    except OSError as error:
        raise StoreError(f"{path}: cannot read this file of the index: {error.strerror or error}") from error
    if size != record.bytes:
        raise StoreError(
            f"{path}: this file of the index is cut off or another one ({size:,} bytes, not {record.bytes:,})"
        )
    return path


def content_of(directory: Path, record: DerivedRecord, key: bytes | None) -> npt.NDArray[np.uint8]:
    """The content of a derived file, uint8 (bytes,): mapped into memory, or decrypted.

    Raises:
        StoreError: it is missing, of another size, or not genuine.
    """
    path = check_size(directory, record)
    if key is not None:
        from nearfar.edge.store.sealed_file import unseal

        return unseal(path, key=key)
    try:
        return np.memmap(path, dtype=np.uint8, mode="r")
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: cannot read this file of the index: {error}") from error


def digest_of(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove_derived(directory: Path, *, keep: set[str]) -> None:
    """Delete the derived files of former states, and what a killed process was writing."""
    for pattern in (DERIVED_PATTERN, f".{DERIVED_PATTERN}.part"):
        for path in directory.glob(pattern):
            if path.name not in keep:
                with suppress(OSError):  # a reader on Windows may still have it open; the next run removes it
                    path.unlink()
