"""Samples of sensors in CSV, as loggers and spreadsheets write it: separator and decimal sign are found out."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from nearfar.errors import DataError
from nearfar.sources.lines import read_lines
from nearfar.sources.numbers import is_missing, number_of, numbers_of
from nearfar.sources.plain import storable
from nearfar.sources.series_arrow import read_clean_csv
from nearfar.sources.series_columns import ColumnNames, Roles, find_roles, what_is_held
from nearfar.sources.series_table import MAX_SHOWN, EmptyTableError, SampleTable, SeriesReport, Texts, as_float32
from nearfar.sources.timestamps import FORMS, looks_like_time, parse_times
from nearfar.sources.walk import shown

_SEPARATORS = (";", "\t", ",", "|")
_HEAD = 1000  # lines that are looked at before a file is read
_ROWS = 65_536
_DECIMAL_COMMA = re.compile(r"\s*[+-]?\d+,\d+(?:[eE][+-]?\d+)?\s*$")
_DECIMAL_POINT = re.compile(r"\s*[+-]?\d*\.\d+(?:[eE][+-]?\d+)?\s*$")


@dataclass(frozen=True)
class Layout:
    """How a CSV file is written.

    Attributes:
        header: names of the columns.
        separator: between fields.
        decimal: before the fraction of a number, `.` or `,`.
    """

    header: tuple[str, ...]
    separator: str
    decimal: str


def read_csv(
    path: Path,
    columns: ColumnNames,
    units: Mapping[str, str],
    rate: float | None,
    zone: ZoneInfo,
    report: SeriesReport,
    *,
    arrow: bool = True,
) -> SampleTable:
    """Read one CSV file.

    Files in which every cell is sound are read by pyarrow where it is installed. All others, and all without it, are read here,
    with the same result: each cell that is no number and each row that does not fit is counted with its line.

    Args:
        path: the file; UTF-8, or as its byte order mark says; gzip is undone.
        columns: what the user said of columns.
        units: channel -> unit.
        rate: samples a second of data without times.
        zone: of times that name none.
        report: receives what is passed over.
        arrow: whether pyarrow may be used.

    Raises:
        DataError: the file or a column is missing, or nothing in it can be used.
    """
    layout, head = _look(path)
    named = [name for name in layout.header if name.strip()]
    at = {name: layout.header.index(name) for name in named}
    cells = {name: [row[at[name]] for row in head] for name in named}
    held = {name: what_is_held(some, layout.decimal) for name, some in cells.items()}
    numbers = {name: numbers_of(cells[name], layout.decimal)[0] for name in named if held[name] == "number"}
    roles = find_roles(shown(path), held, numbers, columns, units, rate)
    table = read_clean_csv(path, roles, layout.separator, layout.decimal, zone) if arrow else None
    return table or _Reader(path, layout, roles, zone, report).read()


class _Reader:
    """Reads a file row by row, and remembers where it was."""

    def __init__(self, path: Path, layout: Layout, roles: Roles, zone: ZoneInfo, report: SeriesReport) -> None:
        self._path, self._layout, self._roles, self._zone, self._report = path, layout, roles, zone, report
        self._at = {name: layout.header.index(name) for name in layout.header}

    def read(self) -> SampleTable:
        """Read it whole, in blocks of rows."""
        roles = self._roles
        times: list[npt.NDArray[np.float64]] = []
        dates: list[npt.NDArray[np.bytes_]] = []
        lines: list[npt.NDArray[np.int64]] = []
        values: list[npt.NDArray[np.float32]] = [np.zeros((0, len(roles.values)), np.float32)]
        texts: dict[str, list[list[str]]] = {name: [] for name in roles.texts}
        for rows, numbers in self._blocks():
            lines.append(np.array(numbers, np.int64))
            values.append(np.stack([as_float32(self._numbers(rows, numbers, name)) for name in roles.values], axis=1))
            for name, parts in texts.items():
                parts.append([row[self._at[name]] for row in rows])
            if roles.time is not None and roles.time_step is None:
                dates.append(_as_bytes([self._date(row) for row in rows]))
            elif roles.time is not None and roles.time_step is not None:
                times.append(self._numbers(rows, numbers, roles.time) * roles.time_step)
        all_times = None
        if dates:
            together = np.concatenate(dates)
            all_times = parse_times(together, self._zone)
            for row in np.flatnonzero(np.isnan(all_times)).tolist():
                self._unread(int(np.concatenate(lines)[row]), bytes(together[row]).decode("utf-8", "replace"))
        elif times:
            all_times = np.concatenate(times)
        elif roles.time is not None:
            all_times = np.zeros(0)
        return SampleTable(
            roles, all_times, np.concatenate(values), {name: Texts.of(parts) for name, parts in texts.items()}
        )

    def _date(self, row: Sequence[str]) -> str:
        date = row[self._at[self._roles.time or ""]]
        return date if self._roles.clock is None else f"{date.strip()} {row[self._at[self._roles.clock]].strip()}"

    def _unread(self, line: int, cell: str) -> None:
        if is_missing(cell):
            self._report.skip(f"{shown(self._path)}:{line}", "a row without a time")
        else:
            self._report.skip(
                f"{shown(self._path)}:{line}",
                "a time that cannot be read",
                detail=f'"{cell[:MAX_SHOWN]}" in "{self._roles.time}"; times are written like {FORMS}',
            )

    def _numbers(self, rows: Sequence[Sequence[str]], lines: Sequence[int], name: str) -> npt.NDArray[np.float64]:
        at = self._at[name]
        cells = [row[at] for row in rows]
        values, bad = numbers_of(cells, self._layout.decimal)
        if name == self._roles.time:
            for row in np.flatnonzero(~np.isfinite(values)).tolist():
                self._unread(lines[row], cells[row])
            return values
        for row in bad:
            detail = f'"{storable(cells[row][:MAX_SHOWN])}" in "{storable(name)}"'
            self._report.skip(f"{shown(self._path)}:{lines[row]}", "a value that is not a number", detail=detail)
        return values

    def _blocks(self) -> Iterator[tuple[list[list[str]], list[int]]]:
        """Yield rows that fit the header, with the lines that they begin on."""
        rows: list[list[str]] = []
        lines: list[int] = []
        width = len(self._layout.header)
        records = _records(self._path, self._layout.separator, self._report)
        next(records, None)
        for line, fields in records:
            if len(fields) != width:
                if any(field.strip() for field in fields[width:]) or len(fields) < width:
                    detail = f"{len(fields)} instead of {width}"
                    self._report.skip(
                        f"{shown(self._path)}:{line}", "another number of fields than the header", detail=detail
                    )
                    continue
                fields = fields[:width]  # a separator at the end of the row
            rows.append(fields)
            lines.append(line)
            if len(rows) == _ROWS:
                yield rows, lines
                rows, lines = [], []
        if rows:
            yield rows, lines


def _records(path: Path, separator: str, report: SeriesReport | None) -> Iterator[tuple[int, list[str]]]:
    """Yield each record with the line that it begins on; blank lines are none."""

    def lines() -> Iterator[str]:
        for number, line in read_lines(path, ends=("\n", "\r")):
            if line is None:
                raise DataError(f"{path}:{number}: a line this long is no CSV row; check the file")
            yield line

    reader = csv.reader(lines(), delimiter=separator, strict=True)
    before = 0
    while True:
        try:
            for fields in reader:
                start, before = before + 1, reader.line_num
                if fields:
                    yield start, fields
        except csv.Error as error:
            if report is not None:
                detail = f"lines {before + 1} to {reader.line_num}: {error}"
                report.skip(f"{shown(path)}:{before + 1}", "not valid CSV", detail=detail)
            before = reader.line_num
            continue
        return


def _look(path: Path) -> tuple[Layout, list[list[str]]]:
    """Find out how a file is written, and return rows of its beginning that fit the header."""
    lines = [
        line for _, line in islice(read_lines(path, ends=("\n", "\r")), _HEAD) if line is not None and line.strip()
    ]
    if not lines:
        raise EmptyTableError(f"{path} is empty: check that it is the right file")
    if "\0" in lines[0]:
        raise DataError(f"{path}:1: this is no text, so it is no CSV file: check the file")
    separator = max(_SEPARATORS, key=lambda sign: _fit(lines, sign))
    records = [fields for fields in csv.reader(lines, delimiter=separator) if fields]
    header, rows = records[0], [fields[: len(records[0])] for fields in records[1:] if len(fields) >= len(records[0])]
    if any(map(looks_like_time, header)) or all(not np.isnan(number_of(name, ".")) for name in header):
        raise DataError(f"{path}:1: the first line holds values, not names of columns: add a line of names above it")
    for name in header:
        if name.strip() and header.count(name) > 1:
            raise DataError(
                f'{path}:1: the header has the column "{storable(name)}" {header.count(name)} times: rename all but one'
            )
    if not rows:
        raise EmptyTableError(f"{path} holds no rows below its header: check that it is the right file")
    commas = sum(_DECIMAL_COMMA.match(cell) is not None for row in rows for cell in row)
    points = sum(_DECIMAL_POINT.match(cell) is not None for row in rows for cell in row)
    return Layout(tuple(header), separator, "," if commas > points else "."), rows


def _fit(lines: Sequence[str], separator: str) -> tuple[bool, float, int]:
    """How well a separator fits: whether it parts the header at all, how many rows it parts alike, and into how many fields."""
    counts = [len(fields) for fields in csv.reader(lines[:100], delimiter=separator) if fields]
    alike = sum(count == counts[0] for count in counts) / len(counts)
    return counts[0] > 1, round(alike, 2), counts[0]


def _as_bytes(cells: Sequence[str]) -> npt.NDArray[np.bytes_]:
    return np.array([cell.encode("utf-8", "replace") for cell in cells], np.bytes_)
