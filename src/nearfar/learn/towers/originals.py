"""Items as they came, to be given to the device's own code later: texts, paths, encoded bytes, arrays and rows in one flat file."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from nearfar.learn.data.textfile import FlatFile, FlatWriter

_TEXT, _PATH, _BYTES, _ARRAY, _ROW = b"t", b"p", b"b", b"a", b"r"


class OriginalsWriter:
    """Appends items to `<stem>.bin`. Of a path only the path is kept, so that no disk is filled with photographs twice."""

    def __init__(self, stem: Path) -> None:
        self._file = FlatWriter(stem)

    def add_text(self, text: str) -> None:
        """A text, as a string may otherwise be a path."""
        self._append(_TEXT, text.encode("utf-8", "surrogatepass"))

    def add(self, content: Any) -> None:
        """A path, encoded bytes, an array, or a row (a mapping of columns to cells)."""
        if isinstance(content, Mapping):
            self._append(_ROW, row_text(content).encode("utf-8", "surrogatepass"))
        elif isinstance(content, (str, os.PathLike)):
            self._append(_PATH, os.fsencode(Path(os.fsdecode(content)).absolute()))
        elif isinstance(content, (bytes, bytearray, memoryview)):
            self._append(_BYTES, bytes(content))
        else:
            whole = io.BytesIO()
            np.save(whole, np.asarray(content), allow_pickle=False)
            self._append(_ARRAY, whole.getvalue())

    def _append(self, kind: bytes, content: bytes) -> None:
        self._file.append(kind + content, 1 + len(content))

    def close(self) -> None:
        """Write what waits."""
        self._file.close()


class Originals:
    """Items by number, as `OriginalsWriter` took them: paths as `Path`, rows as mappings."""

    def __init__(self, stem: Path) -> None:
        self._file = FlatFile(stem, np.uint8)

    def __len__(self) -> int:
        return len(self._file)

    def __getitem__(self, number: int) -> Any:
        record = self._file.record(number).tobytes()
        kind, content = record[:1], record[1:]
        if kind == _TEXT:
            return content.decode("utf-8", "surrogatepass")
        if kind == _PATH:
            return Path(os.fsdecode(content))
        if kind == _ROW:
            return json.loads(content.decode("utf-8", "surrogatepass"))
        return content if kind == _BYTES else np.load(io.BytesIO(content), allow_pickle=False)


def row_text(row: Mapping[str, Any], *, ordered: bool = False) -> str:
    """A row as JSON; a `TableFrontend` makes the same features of what is read from it.

    Args:
        row: columns to cells.
        ordered: columns by name, so that equal rows are equal texts in whatever order they come.
    """
    names = sorted(row) if ordered else row
    return json.dumps({name: _plain(row[name]) for name in names}, ensure_ascii=False)


def _plain(cell: Any) -> Any:
    """A cell as JSON knows it. Dates, decimals and the like become the text that stands for them in a table."""
    if isinstance(cell, np.generic):
        cell = cell.item()
    if cell is None or isinstance(cell, (bool, int, float, str)):
        return cell
    if isinstance(cell, Decimal) and cell.is_nan():
        return None
    # No column of lists or bytes is learned from: it is enough to see that it is one.
    return [] if isinstance(cell, (list, tuple, dict, set, bytes, bytearray, np.ndarray)) else str(cell)
