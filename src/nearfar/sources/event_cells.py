"""The columns of an event log, a piece at a time: cells of Python or columns of Arrow, to numbers and to codes of names."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from nearfar.sources.numbers import is_missing, numbers_of
from nearfar.sources.plain import storable
from nearfar.sources.series_arrow import bytes_of
from nearfar.sources.timestamps import from_local, looks_like_time, parse_times, unit_of_numbers

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

ABSENT = -1
"""Code of a cell that names nothing."""

_NAMELESS = ("", "nan", "null", "<na>")
_LATEST = 253_402_300_800.0  # seconds: the end of the year 9999; what lies beyond is another unit, or no time


def name_of(cell: Any) -> str:
    """What a cell calls somebody or something: 5, 5.0 and " 5" are "5", True is "true"; empty for a cell that names nothing."""
    if isinstance(cell, str):
        text = storable(cell).strip()
        lower = text.lower()
        return "" if lower in _NAMELESS else lower if lower in ("true", "false") else text
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 2**63:
        return str(int(cell))
    if isinstance(cell, bytes):
        return storable(cell.decode("utf-8", "surrogateescape")).strip()
    return storable(str(cell)).strip()


class Names:
    """Gives each name a number, in the order in which they come."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._of_texts: dict[str, int] = {}  # cells as they were written: few are looked at twice

    @property
    def names(self) -> list[str]:
        """By number."""
        return list(self._numbers)

    def copy(self) -> Names:
        """The same numbers, to go on from."""
        other = Names()
        other._numbers, other._of_texts = dict(self._numbers), dict(self._of_texts)
        return other

    def codes(self, cells: Any) -> Ints:
        """Numbers (n,) of the names in a column, a sequence of cells or an Arrow array; ABSENT for cells that name nothing."""
        if hasattr(cells, "dictionary_encode"):
            return self._of_arrow(cells)
        return np.fromiter((self._number(cell) for cell in cells), np.int64, len(cells))

    def _of_arrow(self, column: Any) -> Ints:
        import pyarrow as pa

        if pa.types.is_nested(column.type):
            return self.codes(column.to_pylist())
        coded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        places = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        # One more at the end for the nulls, whose place is -1. A dictionary may hold names that no cell has.
        used = np.unique(places[places >= 0])
        cells = coded.dictionary.take(pa.array(used)).to_pylist()
        numbers = np.full(len(coded.dictionary) + 1, ABSENT, np.int64)
        first = np.full(len(coded.dictionary), len(places), np.int64)
        np.minimum.at(first, places[places >= 0], np.flatnonzero(places >= 0))
        for at in np.argsort(first[used], kind="stable").tolist():
            numbers[used[at]] = self._number(cells[at])
        codes: Ints = numbers[places]
        return codes

    def _number(self, cell: Any) -> int:
        known = self._of_texts.get(cell) if type(cell) is str else None
        if known is not None:
            return known
        name = name_of(cell)
        number = self._numbers.setdefault(name, len(self._numbers)) if name else ABSENT
        if type(cell) is str:
            self._of_texts[cell] = number
        return number


def as_cells(column: Any) -> Sequence[Any]:
    """A column as Python has it."""
    cells: Sequence[Any] = column.to_pylist() if hasattr(column, "to_pylist") else column
    return cells


def numbers_in(column: Any) -> tuple[Floats, Iterable[int]]:
    """The numbers of a column.

    Args:
        column: n cells, or an Arrow array.

    Returns:
        float64 (n,), NaN where there is none; and the rows of cells that hold something else, infinity and NaN as text apart.
    """
    if hasattr(column, "to_pylist"):
        import pyarrow as pa

        kind = column.type
        if pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind):
            floats = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
            return floats, np.flatnonzero(np.isinf(floats)).tolist()
    cells = as_cells(column)
    values, _ = numbers_of(["" if cell is None else str(cell) for cell in cells], ".")
    wrong = np.flatnonzero(~np.isfinite(values)).tolist()
    return values, [row for row in wrong if not _is_empty(cells[row])]


def _is_empty(cell: Any) -> bool:
    return (
        cell is None or (isinstance(cell, float) and math.isnan(cell)) or (isinstance(cell, str) and is_missing(cell))
    )


class Moments:
    """The times of one file, gathered piece by piece: the unit of numbers is known only when all have been seen.

    Args:
        zone: of times that name none.
    """

    def __init__(self, zone: ZoneInfo) -> None:
        self._zone = zone
        self._pieces: list[Floats] = []
        self._numeric: list[npt.NDArray[np.bool_]] = []

    def add(self, column: Any) -> None:
        """Take one piece of a column, cells or an Arrow array."""
        seconds, numeric = self._read(column)
        self._pieces.append(seconds)
        self._numeric.append(numeric)

    def seconds(self) -> Floats:
        """All times (n,) in seconds since 1970-01-01 UTC; NaN where a cell holds none.

        Numbers are seconds, or milliseconds, microseconds or nanoseconds where their median is of that size.
        """
        seconds = np.concatenate([np.zeros(0), *self._pieces])
        numeric = np.concatenate([np.zeros(0, bool), *self._numeric])
        some = seconds[numeric & np.isfinite(seconds)]
        if len(some):
            seconds = np.where(numeric, seconds * unit_of_numbers("", float(np.median(np.abs(some)))), seconds)
        return np.where(np.abs(seconds) < _LATEST, seconds, np.nan)

    def _read(self, column: Any) -> tuple[Floats, npt.NDArray[np.bool_]]:
        if hasattr(column, "to_pylist"):
            import pyarrow as pa

            kind = column.type
            if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
                # By way of microseconds, as float64 holds times of today no finer than a quarter of one.
                zone = getattr(kind, "tz", None)
                whole = column.cast(pa.timestamp("us", zone), safe=False).cast(pa.int64())
                seconds = whole.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False) / 1e6
                return seconds if zone else from_local(seconds, self._zone), np.zeros(len(column), bool)
            if pa.types.is_floating(kind) or pa.types.is_integer(kind):
                floats = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
                return floats, np.ones(len(column), bool)
            if pa.types.is_string(kind) and not column.null_count:
                return self._of_texts(column)
        return self._of_cells(as_cells(column))

    def _of_texts(self, column: Any) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """A column of text that is written alike throughout, as almost all are; else cell by cell."""
        if (found := _all_numbers(column)) is not None:
            return found, np.ones(len(column), bool)
        if len(column) and looks_like_time(column[0].as_py()):
            seconds = parse_times(bytes_of(column), self._zone)
            if np.isfinite(seconds).all():
                return seconds, np.zeros(len(column), bool)
        return self._of_cells(column.to_pylist())

    def _of_cells(self, cells: Sequence[Any]) -> tuple[Floats, npt.NDArray[np.bool_]]:
        texts = [_as_text(cell) for cell in cells]
        seconds, _ = numbers_of(texts, ".")
        numeric = np.isfinite(seconds)
        rest = np.flatnonzero(~numeric)
        if len(rest):
            dates = np.array([texts[row].encode("utf-8", "replace") for row in rest.tolist()], np.bytes_)
            seconds[rest] = parse_times(dates, self._zone)
        return seconds, numeric


def _all_numbers(column: Any) -> Floats | None:
    """A column of text of which every cell is a number; None where one is not."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        floats: Floats = pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        return None
    return floats if np.isfinite(floats).all() else None


def _as_text(cell: Any) -> str:
    if isinstance(cell, str):
        return cell
    if isinstance(cell, datetime):
        # Dates of Python, out of Arrow's nested or odd columns.
        return cell.astimezone(UTC).isoformat() if cell.tzinfo else cell.isoformat(" ")
    if cell is None or isinstance(cell, bool):
        return ""
    return cell.isoformat() if isinstance(cell, date) else str(cell)
