"""Samples of sensors in Parquet files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from nearfar.errors import DataError, MissingExtraError
from nearfar.sources.numbers import is_missing, numbers_of
from nearfar.sources.plain import storable
from nearfar.sources.series_columns import ColumnNames, Held, Roles, find_roles, what_is_held
from nearfar.sources.series_table import MAX_SHOWN, EmptyTableError, SampleTable, SeriesReport, Texts, as_float32
from nearfar.sources.timestamps import FORMS, from_local, parse_times
from nearfar.sources.walk import shown

_ROWS = 65_536
_HEAD = 1000


def read_parquet(
    path: Path,
    columns: ColumnNames,
    units: Mapping[str, str],
    rate: float | None,
    zone: ZoneInfo,
    report: SeriesReport,
) -> SampleTable:
    """Read one Parquet file; arguments are those of `read_csv`.

    Raises:
        DataError: the file is damaged, a column is missing, or nothing in it can be used.
        MissingExtraError: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtraError("parquet", f"reading {path.name}") from error
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            for name in names:
                if names.count(name) > 1:
                    raise DataError(
                        f'{path}: there are {names.count(name)} columns "{storable(name)}": rename all but one'
                    )
            head = next(file.iter_batches(batch_size=_HEAD), None)
            if head is None or not head.num_rows:
                raise EmptyTableError(f"{path} holds no rows: check that it is the right file")
            held = {name: _held(head.column(name)) for name in names}
            numbers = {name: _first(head.column(name)) for name in names if held[name] == "number"}
            roles = find_roles(shown(path), held, numbers, columns, units, rate)
            return _read(file, path, roles, zone, report)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a sound Parquet file: {error}") from error


def _read(file: Any, path: Path, roles: Roles, zone: ZoneInfo, report: SeriesReport) -> SampleTable:
    wanted = [*roles.values, *roles.texts, *([roles.time] if roles.time is not None else [])]
    values: list[npt.NDArray[np.float32]] = []
    times: list[npt.NDArray[np.float64]] = []
    texts: dict[str, list[list[str]]] = {name: [] for name in roles.texts}
    row = 0
    for batch in file.iter_batches(batch_size=_ROWS, columns=list(dict.fromkeys(wanted))):
        block = [as_float32(_numbers(batch.column(name), name, path, row, report)) for name in roles.values]
        values.append(np.stack(block, axis=1))
        if roles.time is not None:
            times.append(_times(batch.column(roles.time), roles, path, row, zone, report))
        for name, parts in texts.items():
            parts.append(["" if cell is None else str(cell) for cell in batch.column(name).to_pylist()])
        row += batch.num_rows
    all_times = None if roles.time is None else np.concatenate(times)
    return SampleTable(
        roles, all_times, np.concatenate(values), {name: Texts.of(parts) for name, parts in texts.items()}
    )


def _held(column: Any) -> Held:
    import pyarrow.types as kinds

    kind = column.type
    if column.null_count == len(column):
        return "nothing"
    if kinds.is_floating(kind) or kinds.is_integer(kind) or kinds.is_boolean(kind) or kinds.is_decimal(kind):
        return "number"
    if kinds.is_timestamp(kind) or kinds.is_date(kind):
        return "time"
    told = what_is_held(_cells(column), ".") if _is_text(kind) else "text"
    return "time" if told == "date" else told  # a time of day of its own is not looked for


def _is_text(kind: Any) -> bool:
    import pyarrow.types as kinds

    inner = kind.value_type if kinds.is_dictionary(kind) else kind
    return bool(kinds.is_string(inner) or kinds.is_large_string(inner) or kinds.is_string_view(inner))


def _cells(column: Any) -> list[str]:
    return ["" if cell is None else cell for cell in column.to_pylist()]


def _first(column: Any) -> npt.NDArray[np.float64]:
    return numbers_of(_cells(column), ".")[0] if _is_text(column.type) else _floats(column)


def _floats(column: Any) -> npt.NDArray[np.float64]:
    import pyarrow as pa

    floats: npt.NDArray[np.float64] = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return floats


def _numbers(column: Any, name: str, path: Path, first: int, report: SeriesReport) -> npt.NDArray[np.float64]:
    if not _is_text(column.type):
        return _floats(column)
    cells = _cells(column)
    values, bad = numbers_of(cells, ".")
    for row in bad:
        detail = f'"{storable(cells[row][:MAX_SHOWN])}" in "{storable(name)}"'
        report.skip(f"{shown(path)}:{first + row + 1}", "a value that is not a number", detail=detail)
    return values


def _times(
    column: Any, roles: Roles, path: Path, first: int, zone: ZoneInfo, report: SeriesReport
) -> npt.NDArray[np.float64]:
    import pyarrow as pa
    import pyarrow.types as kinds

    cells: list[str] | None = None
    if kinds.is_timestamp(column.type) or kinds.is_date(column.type):
        local = getattr(column.type, "tz", None) is None
        whole = column.cast(pa.timestamp("us", getattr(column.type, "tz", None)), safe=False).cast(pa.int64())
        seconds = _floats(whole) / 1e6
        seconds = from_local(seconds, zone) if local else seconds
    elif _is_text(column.type):
        cells = _cells(column)
        if roles.time_step is None:
            seconds = parse_times(np.array([cell.encode("utf-8", "replace") for cell in cells], np.bytes_), zone)
        else:
            seconds = numbers_of(cells, ".")[0] * roles.time_step
    else:
        seconds = _floats(column) * (roles.time_step or 1.0)
    for row in np.flatnonzero(~np.isfinite(seconds)).tolist():
        place = f"{shown(path)}:{first + row + 1}"
        if cells is None or is_missing(cells[row]):
            report.skip(place, "a row without a time")
        else:
            detail = f'"{storable(cells[row][:MAX_SHOWN])}" in "{roles.time}"; times are written like {FORMS}'
            report.skip(place, "a time that cannot be read", detail=detail)
    return seconds
