"""Results as a file that other programs read."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nearfar.errors import DataError

SUFFIXES = (".csv", ".jsonl")


def check_result_path(path: Path | None) -> None:
    """Refuse a file that could not be written in the end, before hours are spent.

    Raises:
        DataError: it is of another kind, or there is no such folder.
    """
    if path is None:
        return
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(f"{path}: results are written as {' or '.join(SUFFIXES)}: give -o such a name")
    if not path.absolute().parent.is_dir():
        raise DataError(f"{path}: there is no folder {path.parent}: make it first")


def write_rows(path: Path, columns: tuple[str, ...], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows to a CSV or JSONL file, so that it is either what it was or complete.

    Args:
        path: its suffix says which.
        columns: the keys of each row, in their order.
        rows: one at a time.

    Raises:
        DataError: the file cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            if path.suffix.lower() == ".csv":
                table = csv.writer(file)
                table.writerow(columns)
                table.writerows([_cell(row[key]) for key in columns] for row in rows)
            else:
                for row in rows:
                    file.write(json.dumps({key: row[key] for key in columns}, ensure_ascii=False) + "\n")
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise DataError(f"{path}: cannot be written ({error.strerror}): check the permissions and the space") from error


def write_figures(path: Path, figures: Mapping[str, Any]) -> None:
    """Write figures to a JSON file.

    Raises:
        DataError: the file cannot be written.
    """
    try:
        path.write_text(json.dumps(figures, ensure_ascii=False, indent=1) + "\n", "utf-8")
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror}): check folder and permissions") from error


def _cell(value: Any) -> Any:
    """As JSON writes it, or a table would say True in one kind of file and true in the other."""
    return str(value).lower() if isinstance(value, bool) else value
