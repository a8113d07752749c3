"""The short way through CSV files in which every cell is sound, by pyarrow: many times faster than row by row."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from nearfar.sources.numbers import MISSING
from nearfar.sources.series_columns import Roles
from nearfar.sources.series_table import SampleTable, Texts, as_float32
from nearfar.sources.timestamps import parse_times

_BLOCK = 4 << 20  # bytes
_NULLS = sorted({form for word in (*MISSING, "NaN") for form in (word, word.upper(), word.capitalize())})


def read_clean_csv(path: Path, roles: Roles, separator: str, decimal: str, zone: ZoneInfo) -> SampleTable | None:
    """Read a CSV file, or return None where anything in it needs a closer look, or pyarrow is not installed.

    Args:
        path: the file.
        roles: of its columns.
        separator: between fields.
        decimal: before fractions.
        zone: of times that name none.
    """
    try:
        import pyarrow as pa
        from pyarrow import csv
    except ImportError:
        return None
    types = dict.fromkeys(roles.values, pa.float64()) | dict.fromkeys(roles.texts, pa.string())
    if roles.time is not None:
        types[roles.time] = pa.string() if roles.time_step is None else pa.float64()
    if roles.clock is not None:
        types[roles.clock] = pa.string()
    values: list[npt.NDArray[np.float32]] = [np.zeros((0, len(roles.values)), np.float32)]
    times: list[npt.NDArray[Any]] = []
    texts: dict[str, list[list[str]]] = {name: [] for name in roles.texts}
    try:
        with csv.open_csv(
            path,
            read_options=csv.ReadOptions(block_size=_BLOCK),
            parse_options=csv.ParseOptions(delimiter=separator),
            convert_options=csv.ConvertOptions(
                column_types=types, include_columns=list(types), null_values=_NULLS, decimal_point=decimal
            ),
        ) as batches:
            for batch in batches:
                values.append(_numbers(batch, roles.values))
                if roles.time is not None:
                    column = batch.column(roles.time)
                    if roles.time_step is not None:
                        times.append(_floats(column) * roles.time_step)
                    elif roles.clock is not None:
                        clocks = np.char.add(b" ", np.char.strip(bytes_of(batch.column(roles.clock))))
                        times.append(np.char.add(np.char.strip(bytes_of(column)), clocks))
                    else:
                        times.append(bytes_of(column))
                for name, parts in texts.items():
                    parts.append(batch.column(name).to_pylist())
    except (pa.ArrowException, UnicodeError, OSError):
        return None
    all_times = None
    if roles.time is not None:
        together = np.concatenate([np.zeros(0, "S1" if roles.time_step is None else np.float64), *times])
        all_times = parse_times(together, zone) if roles.time_step is None else together
        if not np.isfinite(all_times).all():
            return None
    return SampleTable(
        roles, all_times, np.concatenate(values), {name: Texts.of(parts) for name, parts in texts.items()}
    )


def _numbers(batch: Any, names: tuple[str, ...]) -> npt.NDArray[np.float32]:
    values = np.empty((batch.num_rows, len(names)), np.float32)
    for column, name in enumerate(names):
        values[:, column] = as_float32(_floats(batch.column(name)))
    return values


def _floats(column: Any) -> npt.NDArray[np.float64]:
    floats: npt.NDArray[np.float64] = column.to_numpy(zero_copy_only=False)
    return floats.astype(np.float64, copy=False)


def bytes_of(column: Any) -> npt.NDArray[np.bytes_]:
    """The cells of an Arrow array of text as bytes (n,), without a Python object each where all are of one length."""
    _, offsets, data = column.buffers()
    if not len(column) or data is None or column.offset:
        return np.array([cell.encode() for cell in column.to_pylist()], np.bytes_)
    ends = np.frombuffer(offsets, np.int32)[: len(column) + 1]
    lengths = np.diff(ends)
    if lengths[0] == 0 or (lengths != lengths[0]).any():
        return np.array([cell.encode() for cell in column.to_pylist()], np.bytes_)
    return np.frombuffer(data, f"S{lengths[0]}", len(column), int(ends[0])).copy()
