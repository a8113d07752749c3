"""Cells of tables whose rows are pictures or recordings."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nearfar.errors import DataError
from nearfar.sources.document import ReadReport
from nearfar.sources.labelled_folder import unreadable
from nearfar.sources.picture import SPLITS
from nearfar.sources.plain import storable
from nearfar.sources.walk import shown, walk_files

_FILE_OF_A_SPLIT = re.compile(r"([a-z]+)(?:[-_.].*)?\.(?:parquet|(?:csv|jsonl|ndjson)(?:\.gz)?)", re.IGNORECASE)


class CellError(Exception):
    """A row lacks something that it must have; `reason` is one of a few, `detail` is about this row."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


def bytes_of(value: Any, column: str) -> bytes:
    """The bytes of a file in a cell, or in the field `bytes` of one.

    Raises:
        CellError: there are none.
    """
    content = value.get("bytes") if isinstance(value, dict) else value
    if content is None:
        raise CellError(f'"{column}" is missing')
    if not content:
        raise CellError(f'"{column}" is empty')
    if not isinstance(content, bytes):
        raise CellError(f'"{column}" holds no bytes of a file', f"got {type(content).__name__}")
    return content


def content_of(value: Any, column: str, folder: Path, what: str) -> Path | bytes:
    """What a cell holds or names: the bytes of a file, a struct that has them as `bytes` or its name as `path`, or the path of a file.

    Args:
        value: the cell.
        column: its name, for messages.
        folder: where relative paths start.
        what: it should be, for messages.

    Raises:
        CellError: it holds nothing or something else, or there is no such file to read.
    """
    if isinstance(value, dict) and value.get("bytes") is None:
        value = value.get("path")
    if not isinstance(value, str):
        if value is not None and not isinstance(value, (bytes, dict)):
            raise CellError(f'"{column}" is no {what}', f"got {type(value).__name__}")
        return bytes_of(value, column)
    name = value.strip()
    if not name:
        raise CellError(f'"{column}" is empty')
    if "\0" in name:
        raise CellError("no such file", name.replace("\0", "\\0"))
    path = folder / name
    try:
        os.fsencode(path)
    except UnicodeEncodeError:  # half a surrogate pair, as JSON can write it
        raise CellError("no such file", storable(name)) from None
    try:
        if not path.exists():
            raise CellError("no such file", shown(path))
        if not path.is_file():
            raise CellError("not a regular file", shown(path))
    except OSError as error:  # a name too long for a path
        raise CellError("no such file", error.strerror or type(error).__name__) from None
    if reason := unreadable(path):
        raise CellError(reason, shown(path))
    return path


def text_of(row: Mapping[str, Any], column: str | None) -> str:
    """A cell of text or a whole number as text; empty where there is no column or it holds nothing.

    Raises:
        CellError: it is something else.
    """
    value = None if column is None else row.get(column)
    if value is None:
        return ""
    if not isinstance(value, (str, int)):
        raise CellError(f'"{column}" is neither text nor a whole number', f"got {type(value).__name__}")
    return str(value).lower() if isinstance(value, bool) else storable(str(value)).strip()


def table_files(path: Path, report: ReadReport, suffixes: tuple[str, ...]) -> Iterator[tuple[Path, str]]:
    """Yield the file, or each of a folder in name order, with its name relative to `path`.

    Args:
        path: a file or a folder.
        report: receives what cannot be read.
        suffixes: of the files of a folder, with the dot, in lower case.

    Raises:
        DataError: it does not exist, or holds none.
    """
    kinds = " or ".join(suffixes)
    if path.is_file():
        yield path, shown(path.name)
        return
    if not path.is_dir():
        raise DataError(f"{shown(path)} does not exist: name a {kinds} file, or a folder of them")
    found = False
    for file in walk_files(path, lambda name: name.lower().endswith(suffixes) and not name.startswith("."), report):
        found = True
        yield file, shown(file.relative_to(path).as_posix())
    if not found:
        raise DataError(f"{shown(path)} holds no {kinds} file: name another folder")


def split_of_file(file: Path) -> str:
    """The split that files such as `train.parquet` and `test-00000-of-00001.parquet` name; empty for any other."""
    match = _FILE_OF_A_SPLIT.fullmatch(file.name)
    return SPLITS.get(match[1].lower(), "") if match else ""
