"""Folders and files of sensor data to recordings: machines told apart, rows in the order of time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from nearfar.errors import DataError
from nearfar.sources.recording import Channel, Recording
from nearfar.sources.series_columns import ColumnNames, SeriesColumns, split_unit
from nearfar.sources.series_csv import read_csv
from nearfar.sources.series_parquet import read_parquet
from nearfar.sources.series_table import EmptyTableError, SampleTable, SeriesReport, Texts
from nearfar.sources.timestamps import known_zone
from nearfar.sources.walk import files_of, shown

SERIES_SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")
"""Files that are read."""

_FIRST_DATE = 1e8  # seconds; times that end before 1973 are counted from a start, not from 1970
_PAUSE = 3600.0

_HEALTHY = ("", "0", "0.0", "false", "no", "none", "null", "nan", "normal", "ok", "healthy", "good")
"""What a label may say of a row without a fault, in any case."""


def open_series(
    path: str | Path,
    *,
    columns: ColumnNames | None = None,
    machine: Literal["one", "file", "folder"] = "one",
    units: Mapping[str, str] | None = None,
    rate: float | None = None,
    timezone: str = "UTC",
    arrow: bool = True,
) -> SeriesReader:
    """Open files with samples of sensors over time.

    Args:
        path: a .csv, .tsv (either also .gz) or .parquet file, or a folder that is read recursively in name order.
        columns: which column holds what; what is not said is found out.
        machine: without a column of machines, whether all files are of one machine, each file is a machine, or each folder is.
        units: channel -> unit, where the name of a column does not say it, as in `temperature [°C]`.
        rate: samples a second of data without times.
        timezone: of times that name none.
        arrow: whether CSV may be read by pyarrow; what is read is the same.

    Raises:
        DataError: the path does not exist, is of another kind, or the time zone is not known.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path} does not exist: name a .csv, .tsv or .parquet file, or a folder of them")
    if path.is_file() and not path.name.lower().endswith(SERIES_SUFFIXES):
        raise DataError(
            f"{path} is of a kind that is not read: name a .csv, .tsv or .parquet file, or a folder of them"
        )
    known_zone(timezone)
    return SeriesReader(path, columns or SeriesColumns(), machine, units or {}, rate, timezone, arrow)


class SeriesReader:
    """Reads file by file, so that memory holds one at a time.

    Attributes:
        report: what was passed over and mended so far.
    """

    def __init__(
        self,
        path: Path,
        columns: ColumnNames,
        machine: Literal["one", "file", "folder"],
        units: Mapping[str, str],
        rate: float | None,
        timezone: str,
        arrow: bool,
    ) -> None:
        self.path, self._columns, self._machine = path, columns, machine
        self._units, self._rate, self._timezone, self._arrow = units, rate, timezone, arrow
        self.report = SeriesReport()

    def recordings(self) -> Iterator[Recording]:
        """Yield the recordings of each file, file by file in name order.

        A wide file (a column a channel) is one recording for each of its machines. In a long one (a row a value) channels that
        were taken at the same times are one recording, and the others recordings of their own.

        Times without a date (seconds since the start, or none at all) begin anew in each file: a recording that would lie on an
        earlier one of the same channels is put an hour or two after its end, so that no window reaches from one into the other.

        Raises:
            DataError: a column that was named is missing, nothing tells the time, or no row can be used; the message says where.
            MissingExtraError: Parquet without pyarrow.
        """
        report = self.report = SeriesReport()
        files, ends = 0, _Ends()
        for path, name in files_of(self.path, SERIES_SUFFIXES, report):
            files += 1
            try:
                table = self._read(path, report)
            except EmptyTableError:
                if self.path.is_file():
                    raise
                report.skip(shown(path), "a file without rows")
                continue
            for column, why in table.roles.passed_over.items():
                report.passed_over.setdefault(column, why)
            report.recognised.update(table.roles.recognised)
            whose = _machine_of(name, self._machine)
            for recording in _recordings(table, whose, self._units, self._rate, shown(path), report):
                yield ends.after(recording, report)
        if report.read:
            return
        if not files:
            raise DataError(f"{self.path} holds no file to read: looked for {', '.join(SERIES_SUFFIXES)}")
        first = "; ".join(report.examples) or "they hold no rows"
        raise DataError(f"{self.path}: no row can be used. The first: {first}")

    def _read(self, path: Path, report: SeriesReport) -> SampleTable:
        zone = known_zone(self._timezone)
        if path.name.lower().endswith(".parquet"):
            return read_parquet(path, self._columns, self._units, self._rate, zone, report)
        return read_csv(path, self._columns, self._units, self._rate, zone, report, arrow=self._arrow)


class _Ends:
    """When the channels of each machine were last seen in data without dates."""

    def __init__(self) -> None:
        self._ends: dict[tuple[str, str], float] = {}

    def after(self, recording: Recording, report: SeriesReport) -> Recording:
        """Put a recording after earlier ones, where it lies on them."""
        if not len(recording.times) or recording.times[-1] >= _FIRST_DATE:
            return recording
        keys = [(recording.machine, channel.name) for channel in recording.channels]
        last = max((self._ends[key] for key in keys if key in self._ends), default=None)
        if last is not None and recording.times[0] <= last:
            begin = _PAUSE * math.ceil(last / _PAUSE + 1)
            recording = replace(recording, times=recording.times - recording.times[0] + begin)
            report.moved += 1
        self._ends.update(dict.fromkeys(keys, float(recording.times[-1])))
        return recording


def _machine_of(name: str, by: Literal["one", "file", "folder"]) -> str:
    """The machine that a file is of, by its name below the source."""
    if by == "one":
        return ""
    if by == "folder":
        return name.rpartition("/")[0]
    lower = name.lower()
    return name[
        : -len(next((s for s in sorted(SERIES_SUFFIXES, key=len, reverse=True) if lower.endswith(s)), "")) or None
    ]


def _recordings(
    table: SampleTable,
    machine: str,
    units: Mapping[str, str],
    rate: float | None,
    location: str,
    report: SeriesReport,
) -> Iterator[Recording]:
    roles = table.roles
    rows = np.arange(len(table.values)) if table.times is None else np.flatnonzero(np.isfinite(table.times))
    for name, of_machine in _groups(None if roles.machine is None else table.texts[roles.machine], rows):
        whose = machine if roles.machine is None else name
        if roles.channel is None:
            yield _recording(table, of_machine, whose, roles.channels, rate, location, report)
            continue
        yield from _long(table, of_machine, whose, units, rate, location, report)


def _long(
    table: SampleTable,
    rows: npt.NDArray[np.int64],
    machine: str,
    units: Mapping[str, str],
    rate: float | None,
    location: str,
    report: SeriesReport,
) -> Iterator[Recording]:
    """Give each channel of a long table its column; those with the same times come together."""
    roles = table.roles
    assert roles.channel is not None
    alone = []
    for name, of_channel in _groups(table.texts[roles.channel], rows):
        if not name:
            report.count(location, "a value without the name of a channel", len(of_channel))
            continue
        channel = split_unit(name)
        unit = channel.unit
        if roles.unit is not None:
            said = [found for found, _ in _groups(table.texts[roles.unit], of_channel) if found]
            if len(set(said)) > 1:
                raise DataError(f'{location}: channel "{name}" comes in {" and in ".join(said)}: convert one of them')
            unit = said[0] if said else unit
        whole = Channel(channel.name, units.get(channel.name, unit))
        alone.append(_recording(table, of_channel, machine, (whole,), rate, location, report))
    together: list[list[Recording]] = []
    for recording in alone:
        for group in together:
            if np.array_equal(group[0].times, recording.times):
                group.append(recording)
                break
        else:
            together.append([recording])
    for group in together:
        labels = [recording.labels for recording in group if recording.labels is not None]
        yield Recording(
            machine,
            tuple(channel for recording in group for channel in recording.channels),
            group[0].times,
            np.concatenate([recording.values for recording in group], axis=1),
            np.max(labels, axis=0) if labels else None,
            group[0].regime,
            location,
        )


def _groups(texts: Texts | None, rows: npt.NDArray[np.int64]) -> Iterator[tuple[str, npt.NDArray[np.int64]]]:
    """Yield each text with those of the rows that have it, in the order in which the texts first came."""
    if texts is None:
        yield "", rows
        return
    codes = texts.codes[rows]
    order = np.argsort(codes, kind="stable")
    ends = np.searchsorted(codes[order], np.arange(len(texts.names) + 1))
    for code, name in enumerate(texts.names):
        if ends[code + 1] > ends[code]:
            yield name, rows[order[ends[code] : ends[code + 1]]]


def _recording(
    table: SampleTable,
    rows: npt.NDArray[np.int64],
    machine: str,
    channels: tuple[Channel, ...],
    rate: float | None,
    location: str,
    report: SeriesReport,
) -> Recording:
    """Put rows in the order of time; of several at one time the last is kept."""
    if table.times is None:
        assert rate is not None
        times = np.arange(len(rows)) / rate
    else:
        times = table.times[rows]
        if len(times) > 1 and (np.diff(times) <= 0).any():
            report.sorted += int((times[1:] < np.maximum.accumulate(times)[:-1]).sum())
            order = np.argsort(times, kind="stable")
            rows, times = rows[order], times[order]
            last = np.append(times[1:] != times[:-1], True)
            report.count(location, "a row at the time of a later one", int((~last).sum()))
            rows, times = rows[last], times[last]
    report.read += len(rows)
    roles = table.roles
    return Recording(
        machine,
        channels,
        times,
        table.values[rows],
        None if roles.label is None else _labels(table.texts[roles.label].take(rows)),
        None if roles.regime is None else table.texts[roles.regime].take(rows).cells(),
        location,
    )


def _labels(texts: Texts) -> npt.NDArray[np.int8]:
    faulty = np.array([not _is_healthy(name) for name in texts.names] or [False], np.int8)
    return faulty[texts.codes]


def _is_healthy(label: str) -> bool:
    if label.lower() in _HEALTHY:
        return True
    try:
        return float(label.replace(",", ".")) == 0.0
    except ValueError:
        return False
