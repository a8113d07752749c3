"""Lines of a table with sensor values, taken as they come: wide (a column a channel) or long (a row a value)."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from nearfar.connect.arrivals import Arrival, Times
from nearfar.connect.clock import read_times
from nearfar.errors import DataError
from nearfar.sources.document import ReadReport
from nearfar.sources.numbers import is_missing, number_of, numbers_of
from nearfar.sources.series_columns import split_unit
from nearfar.sources.timestamps import known_zone, looks_like_time

_TIME_NAME = re.compile(
    r"(?:time|timestamp|date[ _]?time|date|ts|t|zeit|zeitstempel|datum|epoch|unix|seconds)(?:_(?P<unit>s|ms|us|ns))?$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class StreamColumns:
    """Which columns of the lines hold what; None where the header shall tell.

    Attributes:
        time: date and time or seconds; by default one that is called so.
        channel: of a long table, the name of the channel.
        value: of a long table, the value.
        machine: which machine a row is of.
        only: the machine whose rows are read.
        timezone: of times that name none.
    """

    time: str | None = None
    channel: str | None = None
    value: str | None = None
    machine: str | None = None
    only: str | None = None
    timezone: str = "UTC"


@dataclass(slots=True)
class _Layout:
    """Where the parts of a row are."""

    header: list[str]
    width: int
    time: int | None
    machine: int | None
    values: list[int] = field(default_factory=list)
    channels: tuple[str, ...] = ()
    channel: int | None = None  # of a long table
    value: int = 0


class CsvStream:
    """Turns lines into samples of known channels; what cannot be read is counted and passed over."""

    def __init__(
        self, channels: Sequence[str], columns: StreamColumns | None = None, *, where: str = "the stream"
    ) -> None:
        """Wait for lines.

        Args:
            channels: the names that the bundle knows.
            columns: what holds what.
            where: for messages.
        """
        self._known = tuple(channels)
        self._columns = columns or StreamColumns()
        if self._columns.only is not None and self._columns.machine is None:
            raise DataError(f"{where}: to read one machine only, say which column names it")
        self._where = where
        self._layout: _Layout | None = None
        self._delimiter = ","
        self._line = 0
        self._zone = known_zone(self._columns.timezone)
        self._unit = ""
        self.report = ReadReport()
        """What was passed over."""
        self.notes: list[str] = []
        """What the header does not have, or has too much."""

    def arrivals(self, lines: Iterable[Sequence[str]]) -> Iterator[Arrival]:
        """The samples of blocks of lines, a block each.

        Raises:
            DataError: the header does not fit the bundle.
        """
        for block in lines:
            arrival = self.feed(block)
            if arrival is not None:
                yield arrival

    def feed(self, lines: Sequence[str]) -> Arrival | None:
        """The samples of some whole lines; None where there are none.

        Raises:
            DataError: the header does not fit the bundle.
        """
        if not lines:
            return None
        first = self._line + 1
        self._line += len(lines)
        if self._layout is None:
            self._delimiter = _delimiter(lines[0])
        rows = self._rows(lines, first)
        if self._layout is None:
            rows = self._begin(rows)
        layout = self._layout
        assert layout is not None
        good = [(number, row) for number, row in rows if len(row) == layout.width and row != layout.header]
        if len(good) < len(rows):
            for number, row in rows:
                if len(row) != layout.width:
                    self._skip("rows with another number of cells than the header", number)
        if layout.machine is not None:
            good = [(number, row) for number, row in good if row[layout.machine].strip() == self._columns.only]
        if not good:
            return None
        times = None if layout.time is None else self._times([row[layout.time] for _, row in good])
        if times is not None and (unreadable := np.flatnonzero(np.isnan(times))).size:
            for place in unreadable:
                self._skip("unreadable times", good[place][0])
            readable = ~np.isnan(times)
            good, times = [pair for pair, keep in zip(good, readable, strict=True) if keep], times[readable]
            if not good:
                return None
        return self._wide(good, times, layout) if layout.channel is None else self._long(good, times, layout)

    def _rows(self, lines: Sequence[str], first: int) -> list[tuple[int, list[str]]]:
        """The cells of lines, with the number of each; one bad line must neither end the watching nor swallow those after it."""
        rows: list[tuple[int, list[str]]] = []
        if self._layout is None:  # only names may reach over several lines, as spreadsheets write them
            head = csv.reader(lines, delimiter=self._delimiter)
            try:
                rows.append((first, next(head)))
            except csv.Error as error:
                raise DataError(
                    f"{self._where}, line {first}: this is no line of CSV ({error}): the first line names the columns"
                ) from None
            first, lines = first + head.line_num, lines[head.line_num :]
        try:
            whole = list(csv.reader(lines, delimiter=self._delimiter))
        except csv.Error:
            whole = []
        if len(whole) == len(lines):
            return rows + list(enumerate(whole, first))
        # Something is wrong in some line, perhaps a quote that nothing ends: only now is each worth a reader of its own.
        for number, line in enumerate(lines, first):
            try:
                rows += [(number, row) for row in csv.reader([line], delimiter=self._delimiter)]
            except csv.Error:
                self._skip("lines that are no CSV", number)
        return rows

    def _begin(self, rows: list[tuple[int, list[str]]]) -> list[tuple[int, list[str]]]:
        """Read the header, or do without; gives the rows behind it."""
        _, head = rows[0]
        if not any(cell.strip() for cell in head):
            raise DataError(f"{self._where}, line 1: an empty header: the first line names the columns")
        if not any(_is_name(cell) for cell in head):
            self._layout = self._without_header(head)
            return rows
        self._layout = self._with_header([cell.strip() for cell in head])
        self._layout.header = head
        return rows[1:]

    def _without_header(self, head: list[str]) -> _Layout:
        """Numbers from the first line on: the channels of the bundle in their order, perhaps behind a time."""
        count = len(self._known)
        if len(head) not in (count, count + 1):
            raise DataError(
                f"{self._where}, line 1: numbers and no names, {len(head)} of them, but the bundle has {count} channels: "
                f"begin with a line of names: {','.join(('time', *self._known))}"
            )
        timed = len(head) == count + 1
        self.notes.append(
            f"no header: taken for {'time and then ' if timed else ''}the channels of the bundle in their order ({', '.join(self._known)})"
        )
        return _Layout([], len(head), 0 if timed else None, None, list(range(int(timed), len(head))), self._known)

    def _with_header(self, names: list[str]) -> _Layout:
        columns = self._columns
        lower = [name.lower() for name in names]
        channel = (
            self._place(columns.channel, names) if columns.channel else _first(lower, ("channel", "sensor", "tag"))
        )
        value = self._place(columns.value, names) if columns.value else _first(lower, ("value",))
        bare = [split_unit(name) for name in names]
        times = [
            place for place, part in enumerate(bare) if _TIME_NAME.match(part.name) and part.name not in self._known
        ]
        time = self._place(columns.time, names) if columns.time else next(iter(times), None)
        if time is not None:
            named = _TIME_NAME.match(bare[time].name)
            self._unit = bare[time].unit or (named["unit"] if named else None) or ""
        machine = self._place(columns.machine, names) if columns.machine else None
        layout = _Layout([], len(names), time, machine)
        places = {name: place for place, name in enumerate(names) if place not in (time, machine)}
        matched = {place: found for name, place in places.items() if (found := self._channel(name)) is not None}
        if channel is not None and value is not None and not matched:
            layout.channel, layout.value = channel, value
            return layout
        if not matched:
            raise DataError(
                f"{self._where}, line 1: no column is a channel of the bundle. Columns: {', '.join(names)}. "
                f"Channels: {', '.join(self._known)}"
            )
        layout.values, layout.channels = list(matched), tuple(matched.values())
        if len(set(layout.channels)) < len(layout.channels):
            twice = next(name for name in layout.channels if layout.channels.count(name) > 1)
            raise DataError(f"{self._where}, line 1: more than one column is the channel {twice}: rename the others")
        if absent := [name for name in self._known if name not in layout.channels]:
            self.notes.append(f"no column for {', '.join(absent)}: taken for missing")
        places = {name: place for name, place in places.items() if place not in times}
        if other := [name for name, place in places.items() if place not in matched]:
            self.notes.append(f"not a channel of the bundle, and not read: {', '.join(other)}")
        if time is None:
            self.notes.append("no column with times")
        return layout

    def _place(self, wanted: str, names: list[str]) -> int:
        if wanted not in names:
            raise DataError(f"{self._where}, line 1: there is no column {wanted!r}; there are {', '.join(names)}")
        return names.index(wanted)

    def _channel(self, name: str) -> str | None:
        """The channel that a column is, its unit left out: `temperature [°C]`."""
        bare = split_unit(name).name
        for wanted in (name, bare):
            if wanted in self._known:
                return wanted
        folded = [known for known in self._known if known.lower() == bare.lower()]
        return folded[0] if len(folded) == 1 else None

    def _wide(self, rows: list[tuple[int, list[str]]], times: Times | None, layout: _Layout) -> Arrival:
        values = np.empty((len(rows), len(layout.values)), np.float32)
        for column, place in enumerate(layout.values):
            values[:, column] = self._numbers(rows, place)
        return Arrival(times, values, layout.channels)

    def _long(self, rows: list[tuple[int, list[str]]], times: Times | None, layout: _Layout) -> Arrival | None:
        """Rows of the same time beside each other, in the order of time."""
        assert layout.channel is not None
        names = [self._channel(row[layout.channel].strip()) for _, row in rows]
        keep = [place for place, name in enumerate(names) if name is not None]
        if len(keep) < len(rows):
            self._skip("values of channels that the bundle does not know", rows[0][0])
        if not keep:
            return None
        rows = [rows[place] for place in keep]
        found = self._numbers(rows, layout.value)
        channels = tuple(dict.fromkeys(name for name in names if name is not None))
        columns = np.array([channels.index(names[place] or "") for place in keep])
        if times is None:
            moments, lines = None, np.arange(len(keep))
        else:
            moments, lines = np.unique(times[keep], return_inverse=True)
        values = np.full((len(keep) if moments is None else len(moments), len(channels)), np.nan, np.float32)
        values[lines, columns] = found
        return Arrival(moments, values, channels)

    def _numbers(self, rows: list[tuple[int, list[str]]], place: int) -> npt.NDArray[np.float32]:
        cells = [row[place] for _, row in rows]
        # A comma that does not part the cells stands before a fraction.
        decimal = "," if self._delimiter != "," and any("," in cell for cell in cells) else "."
        values, unreadable = numbers_of(cells, decimal)
        for row in unreadable:
            self._skip("cells that are no numbers, taken for missing", rows[row][0])
        with np.errstate(over="ignore"):
            return values.astype(np.float32)

    def _times(self, cells: list[str]) -> Times:
        return read_times(cells, self._zone, self._unit)

    def _skip(self, reason: str, line: int) -> None:
        self.report.skip(f"{self._where}:{line}", reason)


def _delimiter(line: str) -> str:
    """The sign that parts the cells of the first line: of several the one it has most of."""
    bare = re.sub(r'"[^"]*"', "", line)
    return max((",", ";", "\t"), key=bare.count)


def _is_name(cell: str) -> bool:
    """Whether a cell of the first line is no value and no time."""
    if is_missing(cell) or looks_like_time(cell):
        return False
    return bool(np.isnan(number_of(cell, ".")) and np.isnan(number_of(cell, ",")))


def _first(names: list[str], wanted: tuple[str, ...]) -> int | None:
    return next((names.index(name) for name in wanted if name in names), None)
