"""The rows of a Parquet file that holds pictures or recordings: a few in memory at a time, and any of them again."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

from nearfar.errors import DataError, MissingExtraError
from nearfar.sources.plain import storable
from nearfar.sources.walk import shown

_ROWS = 16  # in memory at the same time
_BUFFER = 2**20  # of a column that is read bit by bit instead of a row group at once


def parquet_rows(
    path: Path,
    columns: Sequence[str],
    check: Callable[[Any], None] = lambda _: None,
    only: Sequence[int] | None = None,
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield rows with their number from 1, a few in memory at a time (or one page, where the file has larger ones).

    Args:
        path: the file.
        columns: what to read.
        check: called once with the schema of the file (pyarrow's); raises what is wrong with it.
        only: ascending numbers; row groups without any are not read, nor is anything after the last.

    Raises:
        DataError: a column does not exist, or the file is damaged.
        MissingExtraError: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtraError("parquet", f"reading {path.name}") from error
    wanted = list(dict.fromkeys(columns))
    number = 0
    try:
        with pq.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False) as file:
            if absent := [name for name in wanted if name not in file.schema_arrow.names]:
                listed = ", ".join(f'"{storable(name)}"' for name in file.schema_arrow.names[:30])
                raise DataError(f'{shown(path)}: there is no column "{absent[0]}". The columns are: {listed or "none"}')
            check(file.schema_arrow)
            metadata = file.metadata
            for group in range(metadata.num_row_groups):
                end = number + metadata.row_group(group).num_rows
                chosen = None if only is None else set(only[bisect_right(only, number) : bisect_right(only, end)])
                if chosen is not None and not chosen:
                    number = end
                    continue
                last = end if chosen is None else max(chosen)
                for batch in file.iter_batches(_ROWS, row_groups=[group], columns=wanted, use_threads=False):
                    cells = [batch.column(name) for name in wanted]
                    for i in range(batch.num_rows):
                        number += 1
                        if chosen is None or number in chosen:
                            yield number, {name: _cell(column[i]) for name, column in zip(wanted, cells, strict=True)}
                    if number >= last:
                        break
                number = end
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{shown(path)}: not a sound Parquet file (after row {number}): {error}") from error


def rows_again(
    places: Sequence[tuple[Path, int]], read: Callable[[Path, Sequence[int]], Iterator[tuple[int, dict[str, Any]]]]
) -> Iterator[tuple[Path, int, dict[str, Any]]]:
    """Yield rows by their places, in any order and as often as they are named.

    In the order of the files no row group is read twice; every step back starts reading again.

    Args:
        places: file and number of each row.
        read: yields the rows of a file with these numbers, which ascend.

    Raises:
        DataError: a row is not there any more.
    """
    for path, wanted in groupby(places, key=lambda place: place[0]):
        numbers = [number for _, number in wanted]
        starts = [0, *(i for i in range(1, len(numbers)) if numbers[i] < numbers[i - 1]), len(numbers)]
        for begin, end in pairwise(starts):
            at = begin
            for number, row in read(path, numbers[begin:end]):
                while at < end and numbers[at] == number:
                    yield path, number, row
                    at += 1
            if at < end:
                raise row_gone(path, numbers[at])


def row_gone(path: Path, number: int) -> DataError:
    """What is wrong where a row of a table has become another."""
    return DataError(f"{shown(path)}: row {number} is not there any more: prepare the data again")


def named_places(files: Sequence[tuple[Path, str]], ids: Sequence[str]) -> dict[str, tuple[Path, int]]:
    """File and row of the ids of the form `<file>#<row>`; any other is left out.

    Args:
        files: each with its name.
        ids: of rows.
    """
    by_name = {name: path for path, name in files}
    places = {}
    for id in ids:
        name, _, number = id.rpartition("#")
        if name in by_name and number.isdecimal():
            places[id] = (by_name[name], int(number))
    return places


def encoded_files(kind: Any) -> bool:
    """Whether a column of this type (pyarrow's) can hold the bytes of files, or structs with them as `bytes`."""
    from pyarrow import types

    if types.is_struct(kind):
        at = kind.get_field_index("bytes")
        kind = kind.field(at).type if at >= 0 else kind
    if types.is_dictionary(kind):
        kind = kind.value_type
    kinds = (types.is_binary, types.is_large_binary, types.is_fixed_size_binary, types.is_binary_view)
    return any(is_kind(kind) for is_kind in kinds)


def _cell(value: Any) -> Any:
    try:
        return value.as_py()
    except UnicodeDecodeError:
        return value.cast("binary").as_py().decode("utf-8", "backslashreplace")
