"""The rows of JSONL, CSV and Parquet files, streamed, each with its place; what is not a row is reported."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from nearfar.errors import DataError, MissingExtraError
from nearfar.sources.document import ReadReport
from nearfar.sources.lines import is_broken, read_lines
from nearfar.sources.plain import storable
from nearfar.sources.walk import shown

TableKind = Literal["jsonl", "csv", "parquet"]
Row = tuple[int, dict[str, Any]]
"""Line number (row number in Parquet), from 1, and the columns by name."""

MAX_FIELD_CHARS = 16_000_000

_KINDS: dict[str, TableKind] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".jsonl.gz": "jsonl",
    ".ndjson.gz": "jsonl",
    ".csv": "csv",
    ".csv.gz": "csv",
    ".parquet": "parquet",
}
_ROWS_TO_KNOW_COLUMNS = 100  # a JSONL row may leave out what it does not have; this many cannot all be exceptions
_PARQUET_BATCH = 256


def kind_of(path: Path) -> TableKind | None:
    """Return the kind of table that the name of a file says it is, or None."""
    name = path.name.lower()
    return next((kind for suffix, kind in _KINDS.items() if name.endswith(suffix)), None)


def read_rows(
    path: Path, kind: TableKind, columns: Sequence[str], report: ReadReport, *, every_column: bool = False
) -> Iterator[Row]:
    """Yield the rows of a table in order, one in memory at a time (in Parquet, one small batch).

    Args:
        path: the table.
        kind: how it is written.
        columns: the columns that must exist; a Parquet reader loads only these.
        report: receives what is not a row: broken JSON, CSV rows that do not fit the header, bytes that are not UTF-8.
        every_column: that a Parquet reader shall load the other columns too.

    Raises:
        DataError: there is no such file, no such column, or the file is damaged as a whole.
        MissingExtraError: Parquet without pyarrow.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist: check the path")
    if not path.is_file():
        raise DataError(f"{path} is not a file: name one .jsonl, .csv or .parquet file")
    if kind == "parquet":
        return _parquet_rows(path, columns, report, every_column)
    return (_jsonl_rows if kind == "jsonl" else _csv_rows)(path, columns, report)


def _require(path: Path, wanted: Sequence[str], present: Sequence[str], hint: str = "") -> None:
    """Raise a DataError for the first column of `wanted` that the table does not have."""
    for column in wanted:
        if column not in present:
            near = get_close_matches(column, present, n=1, cutoff=0.5)
            suggestion = f'; did you mean "{storable(near[0])}"?' if near else ""
            listed = ", ".join(f'"{storable(name)}"' for name in present[:30]) + (", ..." if len(present) > 30 else "")
            raise DataError(
                f'{path}: there is no column "{column}"{suggestion or "."} The columns are: {listed or "none"}.{hint}'
            )


def _jsonl_rows(path: Path, columns: Sequence[str], report: ReadReport) -> Iterator[Row]:
    first = islice(_jsonl_objects(path, ReadReport()), _ROWS_TO_KNOW_COLUMNS)
    names = dict.fromkeys(name for _, row in first for name in row)
    if names:
        _require(path, columns, list(names))
    yield from _jsonl_objects(path, report)


def _jsonl_objects(path: Path, report: ReadReport) -> Iterator[Row]:
    name = shown(path)
    for number, line in read_lines(path):
        place = f"{name}:{number}"
        if line is None:
            report.skip(place, "line too long")
        elif is_broken(line):
            report.skip(place, "not UTF-8")
        elif not line.isspace():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                report.skip(place, "not valid JSON", detail=str(error))
                continue
            if isinstance(row, dict):
                yield number, row
            else:
                report.skip(place, "not a JSON object", detail=f"got {type(row).__name__}")


def _csv_rows(path: Path, columns: Sequence[str], report: ReadReport) -> Iterator[Row]:
    name, last_line = shown(path), 0

    def lines() -> Iterator[str]:
        nonlocal last_line
        for last_line, line in read_lines(path, ends=("\n", "\r")):
            if line is None:
                raise DataError(f"{path}:{last_line}: a line this long is no CSV row; check the file")
            yield line

    reader = csv.reader(lines(), strict=True)
    header: list[str] | None = None
    while True:
        start = last_line + 1
        place = f"{name}:{start}"
        try:
            fields = _next_record(reader)
        except csv.Error as error:
            if "field limit" in str(error) or header is None:
                raise DataError(f"{place}: {error}. Is a quote opened here and never closed?") from error
            report.skip(place, "not valid CSV", detail=f"lines {start} to {last_line}: {error}")
            continue
        if fields is None:
            return
        if not fields:
            continue
        if header is None:
            header = fields
            _check_header(path, header, columns)
        elif len(fields) != len(header):
            report.skip(
                place, "another number of fields than the header", detail=f"{len(fields)} instead of {len(header)}"
            )
        elif any(is_broken(field) for field in fields):
            report.skip(place, "not UTF-8")
        else:
            yield start, dict(zip(header, fields, strict=True))


def _next_record(reader: Iterator[list[str]]) -> list[str] | None:
    """Read one CSV record with our own limit on fields: the limit is a global of the csv module, so it is put back at once."""
    previous = csv.field_size_limit(MAX_FIELD_CHARS)
    try:
        return next(reader, None)
    finally:
        csv.field_size_limit(previous)


def _check_header(path: Path, header: list[str], columns: Sequence[str]) -> None:
    separator = next((s for s in (";", "\t", "|") if len(header) == 1 and s in header[0]), None)
    hint = f" It looks separated by {separator!r}; nearfar reads commas." if separator else ""
    _require(path, columns, header, hint)
    for column in columns:
        if header.count(column) > 1:
            raise DataError(
                f'{path}:1: the header has the column "{column}" {header.count(column)} times: rename all but one'
            )


def _parquet_rows(path: Path, columns: Sequence[str], report: ReadReport, every_column: bool) -> Iterator[Row]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtraError("parquet", f"reading {path.name}") from error
    wanted = list(dict.fromkeys(columns))
    number = 0
    try:
        with pq.ParquetFile(path) as file:
            _require(path, wanted, file.schema_arrow.names)
            if every_column:
                wanted = list(dict.fromkeys(file.schema_arrow.names))
            for batch in file.iter_batches(batch_size=_PARQUET_BATCH, columns=wanted, use_threads=False):
                cells = [batch.column(name) for name in wanted]
                for i in range(batch.num_rows):
                    number += 1
                    try:
                        yield number, {name: column[i].as_py() for name, column in zip(wanted, cells, strict=True)}
                    except UnicodeDecodeError:
                        report.skip(f"{shown(path)}:{number}", "not UTF-8")
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a sound Parquet file (after row {number}): {error}") from error
