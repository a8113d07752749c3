"""What is left in a sealed file of what was removed from it, looked for in all bytes that lie on the medium."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path

_WINDOW = 8
"""Bytes that are looked for: no part of a row or a tag that is so long is there by chance."""


def parts(file: Path) -> set[bytes]:
    """All that the file holds now, but for the entries of an audit log: tags, rows, head, profile."""
    connection = sqlite3.connect(file)
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    rows = [row for table in tables if table != "audit" for row in connection.execute(f"SELECT * FROM {table}")]
    connection.close()
    return {value for row in rows for value in row if isinstance(value, bytes)}


def traces(file: Path, written: set[bytes]) -> int:
    """Places in the file, and in those that SQLite keeps beside it, where something lies that was written once and is no more."""
    now = parts(file)
    gone = _windows(written - now) - _windows(now)
    content = [beside.read_bytes() for beside in file.parent.glob(f"{file.name}*")]
    return sum(part[at : at + _WINDOW] in gone for part in content for at in range(len(part) - _WINDOW + 1))


def _windows(values: Iterable[bytes]) -> set[bytes]:
    return {value[at : at + _WINDOW] for value in values for at in range(len(value) - _WINDOW + 1)}
