"""The rows of tables that lie in a folder: documents made without being told what the columns mean."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nearfar.errors import DataError
from nearfar.sources.cut import Cutting, cut
from nearfar.sources.document import Document, ReadReport, Scalar
from nearfar.sources.metadata import plain_values
from nearfar.sources.plain import storable
from nearfar.sources.rows import TableKind, read_rows
from nearfar.sources.walk import shown

_TITLES = ("title", "name", "subject", "heading", "headline")
_MAX_LABEL_CHARS = 100
_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,17})(\.\d{1,17})?$")


def row_documents(path: Path, name: str, kind: TableKind, cutting: Cutting, report: ReadReport) -> Iterator[Document]:
    """Yield a document a row: its text is `column: value` lines, its metadata the numbers, switches and short texts.

    The title is the column called title, name, subject or heading, if there is one. Rows without text are skipped and
    reported, and so is what of a damaged file cannot be read.

    Args:
        path: the table.
        name: the id of the file; a row's is `name#line`.
        kind: CSV or JSONL.
        cutting: for rows with long texts.
        report: receives what is skipped, and counts what is yielded.
    """
    place = shown(path)
    facts: dict[str, Scalar] = {
        "path": name,
        "folder": name.rpartition("/")[0] or ".",
        "suffix": name.lower().removesuffix(".gz").rpartition(".")[2],
    }
    before = report.read + report.skipped_total
    try:
        for number, row in read_rows(path, kind, (), report):
            cells = {storable(column).strip(): value for column, value in row.items()}
            title = next((_line(v) for c, v in cells.items() if c.lower() in _TITLES and isinstance(v, str)), "")
            text = "\n".join(f"{column}: {said}" for column, value in cells.items() if (said := _said(value, kind)))
            if not text:
                report.skip(f"{place}:{number}", "a row without text")
                continue
            report.read += 1
            yield cut(
                Document(
                    id=f"{name}#{number}",
                    text=text,
                    title=title,
                    location=f"{place}:{number}",
                    group=name,
                    parent_title=name.rpartition("/")[2],
                    metadata={**facts, **metadata_of_row(cells, kind)},
                ),
                cutting,
            )
    except DataError as error:
        report.skip(place, "not a sound table", detail=str(error))
        return
    if report.read + report.skipped_total == before:
        report.skip(place, "a table without rows")


def metadata_of_row(cells: Mapping[str, Any], kind: TableKind) -> dict[str, Scalar | tuple[Scalar, ...]]:
    """Return what of a row can be filtered by: numbers, switches, short texts on one line, and lists of those.

    The cells of CSV are all text; what is written as a number is taken for one, unless zeros lead it (`00123`).
    """
    return {column: value for column, value in values_of_row(cells, kind).items() if _is_label(value)}


def values_of_row(cells: Mapping[str, Any], kind: TableKind) -> dict[str, Scalar | tuple[Scalar, ...]]:
    """Return the cells that can be stored as metadata, with the numbers of CSV as numbers."""
    if kind == "csv":
        return plain_values({column: _number(cell) for column, cell in cells.items()})
    return plain_values(cells)


def _is_label(value: Scalar | tuple[Scalar, ...]) -> bool:
    values = value if isinstance(value, tuple) else (value,)
    return all(not isinstance(v, str) or (len(v) <= _MAX_LABEL_CHARS and "\n" not in v) for v in values)


def _number(cell: str | None) -> Scalar | None:
    """Return a cell of CSV as the number that it is, or as it is."""
    if cell is None:
        return None
    found = _NUMBER.match(cell.strip())
    if not found:
        return cell
    return float(cell) if found[1] else int(cell)


def _said(value: object, kind: TableKind) -> str:
    """Return a cell as text to search; numbers, switches and what has parts of its own are none."""
    if isinstance(value, list):
        return ", ".join(_line(item) for item in value if isinstance(item, str) and item.strip())
    if not isinstance(value, str) or (kind == "csv" and _NUMBER.match(value.strip())):
        return ""
    return storable(value).strip()


def _line(text: str) -> str:
    return " ".join(storable(text).split())
