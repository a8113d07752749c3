"""What an item is, as a digest and in bytes of memory, before anything decodes it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nearfar.embedder import Item
from nearfar.errors import DataError


def item_digest(item: Item) -> bytes:
    """A digest of the content of an item: of a path that of the file, so that a file with another name is the same item.

    Raises:
        DataError: the file cannot be read, or it is no item.
    """
    if isinstance(item, str | os.PathLike):
        path = Path(os.fsdecode(item))
        try:
            if path.exists() and not path.is_file():  # a named pipe would never end
                raise DataError(f"{path}: cannot be read: not a regular file")
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").digest()
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror or type(error).__name__}") from error
    digest = hashlib.sha256()
    for part in _parts(item):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.digest()


def item_bytes(item: Item) -> int:
    """What an item takes of memory where it is; a file takes none."""
    if isinstance(item, tuple | list):
        return sum(map(item_bytes, item))
    if isinstance(item, np.ndarray):
        return int(item.nbytes)
    return len(item) if isinstance(item, bytes | bytearray | memoryview) else 0


def _parts(item: Item) -> list[bytes]:
    if isinstance(item, bytes | bytearray | memoryview):
        return [b"bytes", bytes(item)]
    if isinstance(item, np.ndarray):
        return [b"array", item.dtype.str.encode(), repr(item.shape).encode(), np.ascontiguousarray(item).tobytes()]
    if isinstance(item, Mapping):
        return [b"row", json.dumps({str(key): _plain(cell) for key, cell in item.items()}, sort_keys=True).encode()]
    if isinstance(item, tuple | list):
        return [b"several", *(part for one in item for part in _parts(one))]
    if isinstance(item, int | float | np.number):
        return [b"number", repr(float(item)).encode()]
    raise DataError(
        f"an item is a path, the bytes of a file, an array, an array with its rate, or a mapping of columns to cells, not "
        f"{type(item).__name__}"
    )


def _plain(cell: Any) -> Any:
    return cell if cell is None or isinstance(cell, str | int | float | bool) else repr(cell)
