"""Event logs by pyarrow: columns of many rows at once, without a Python object a cell."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nearfar.errors import DataError, MissingExtraError
from nearfar.sources.document import ReadReport
from nearfar.sources.rows import read_rows

_BLOCK = 8 << 20  # bytes
_ROWS = 1 << 18
_FIRST_LINE = 2  # below the header
_GZIP_MAGIC = b"\x1f\x8b"


def arrow_pieces(
    path: Path, kind: Literal["csv", "jsonl", "parquet"], columns: Sequence[str]
) -> Iterator[tuple[npt.NDArray[np.int64], Mapping[str, Any]]]:
    """Yield the numbers of some rows, and their columns as Arrow arrays, in order.

    Numbers are rows in Parquet, from 1. In CSV they are lines, and right only where `a_line_each` says so.

    Args:
        path: the file.
        kind: `csv` or `parquet`.
        columns: which to read; all cells of CSV are text.

    Raises:
        DataError: there is no such column, or the file is not sound.
        MissingExtraError: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
    except ImportError as error:
        raise MissingExtraError("parquet", f"reading {path.name}") from error
    done = 0 if kind == "parquet" else _FIRST_LINE - 1
    try:
        for batch in _parquet(path, columns) if kind == "parquet" else _csv(path, columns):
            numbers = np.arange(done + 1, done + 1 + batch.num_rows, dtype=np.int64)
            yield numbers, {name: batch.column(name) for name in columns}
            done += batch.num_rows
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a sound {kind} file (after row {done}): {error}") from error


def a_line_each(path: Path, rows: int) -> bool:
    """Whether each of the rows of a CSV file is one line below the header: no empty lines, no line ends within cells."""
    lines, last = 0, b"\n"
    with path.open("rb") as file:
        zipped = file.read(2) == _GZIP_MAGIC
        file.seek(0)
        with gzip.GzipFile(fileobj=file) if zipped else file as content:
            while block := content.read(_BLOCK):
                lines += block.count(b"\n")
                last = block[-1:]
    return lines + (last != b"\n") == rows + 1


def _parquet(path: Path, columns: Sequence[str]) -> Iterator[Any]:
    import pyarrow.parquet as pq

    # Of columns that are not there, and of damage, the reader of rows says what other tables say.
    for _ in read_rows(path, "parquet", columns, ReadReport()):
        break
    with pq.ParquetFile(path) as file:
        yield from file.iter_batches(batch_size=_ROWS, columns=list(columns))


def _csv(path: Path, columns: Sequence[str]) -> Iterator[Any]:
    import pyarrow as pa
    from pyarrow import csv

    with csv.open_csv(
        path,
        read_options=csv.ReadOptions(block_size=_BLOCK),
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(
            column_types=dict.fromkeys(columns, pa.string()), include_columns=list(columns), strings_can_be_null=False
        ),
    ) as batches:
        yield from batches
