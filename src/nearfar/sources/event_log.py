"""Logs of what users did with items, read in big pieces to arrays."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nearfar.errors import DataError, MissingExtraError
from nearfar.sources.document import ReadReport
from nearfar.sources.event_arrow import a_line_each, arrow_pieces
from nearfar.sources.event_cells import ABSENT, Moments, Names, as_cells, numbers_in
from nearfar.sources.event_table import EventTable, Numbering, Rows
from nearfar.sources.plain import storable
from nearfar.sources.rows import TableKind, kind_of, read_rows
from nearfar.sources.timestamps import FORMS, known_zone
from nearfar.sources.walk import shown, walk_files

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SUFFIXES = (".csv", ".jsonl", ".ndjson", ".parquet")

_ROWS = 65_536
_MAX_SHOWN = 40  # characters of a cell in a message


@dataclass(frozen=True)
class EventNames:
    """Which column holds what; None for what the log does not have.

    Attributes:
        item: what was acted on.
        timestamp: when.
        user: who.
        action: of which kind.
        dwell: for how many seconds.
        rating: what the user gave.
        propensity: how likely it was to be shown.
        context: what is known of the moment besides.
    """

    item: str = "item"
    timestamp: str = "timestamp"
    user: str | None = "user"
    action: str | None = None
    dwell: str | None = None
    rating: str | None = None
    propensity: str | None = None
    context: tuple[str, ...] = ()

    @property
    def columns(self) -> list[str]:
        """All that are read."""
        named = (self.item, self.timestamp, self.user, self.action, self.dwell, self.rating, self.propensity)
        return list(dict.fromkeys([name for name in named if name is not None] + list(self.context)))


class EventLog:
    """A log, or all logs of a folder in name order.

    A row is left out and counted if it has no user, item or time, if one of these or a number cannot be read, if its dwell time is
    below 0, or its propensity not above 0 and at most 1. Names are compared as text: the number 5, 5.0 and " 5" are the item "5".

    Args:
        path: a .csv, .jsonl (either also .gz) or .parquet file, or a folder of such.
        names: which column holds what.
        timezone: of times that name none.
        kinds: the known kinds of action; None takes any.

    Attributes:
        report: what the last reading passed over.
    """

    def __init__(
        self, path: Path, names: EventNames, *, timezone: str = "UTC", kinds: Collection[str] | None = None
    ) -> None:
        self.path, self.names = Path(path), names
        self.zone = known_zone(timezone)
        self.kinds = None if kinds is None else frozenset(kinds)
        self.report = ReadReport()

    def read(self, progress: Callable[[int], None] = lambda _: None, *, arrow: bool = True) -> EventTable:
        """Read it whole.

        Args:
            progress: called with the number of rows just read.
            arrow: whether CSV may be read by pyarrow, where every cell is sound; the result is the same, sooner.

        Raises:
            DataError: there is no such file or column, a file is damaged as a whole, there is no usable row, a kind of action is not
                known, or a column of the context holds lists.
            MissingExtraError: Parquet without pyarrow.
        """
        report = self.report = ReadReport()
        numbering = Numbering()
        parts: list[Rows] = []
        for file, kind in self._files(report):
            part = self._quick_part(file, numbering, report, progress) if arrow and kind == "csv" else None
            parts.append(part or self._part(file, kind, numbering, report, progress))
        report.read = sum(len(part.items) for part in parts)
        if not report.read:
            first = f" The first that was passed over: {report.examples[0]}" if report.examples else ""
            raise DataError(f"{self.path}: there is no event in it that can be used.{first}")
        return EventTable.of(
            Rows.join(parts), numbering, users=self.names.user is not None, kinds=self.names.action is not None
        )

    def _quick_part(
        self, file: Path, numbering: Numbering, report: ReadReport, progress: Callable[[int], None]
    ) -> Rows | None:
        """A CSV file by pyarrow; None for one that it cannot read, or in which something is wrong whose line it does not know."""
        next(read_rows(file, "csv", self.names.columns, ReadReport()), None)  # refuses headers as the slow way does
        before, trial, rows = numbering.copy(), ReadReport(), 0

        def counted(count: int) -> None:
            nonlocal rows
            rows += count
            progress(count)

        try:
            part = self._gathered(file, arrow_pieces(file, "csv", self.names.columns), before, trial, counted)
        except (DataError, MissingExtraError):
            progress(-rows)
            return None
        if trial.skipped and not a_line_each(file, rows):
            progress(-rows)
            return None
        numbering.take(before)
        report.add(trial)
        return part

    def _part(
        self,
        file: Path,
        kind: TableKind,
        numbering: Numbering,
        report: ReadReport,
        progress: Callable[[int], None],
    ) -> Rows:
        columns = self.names.columns
        pieces = arrow_pieces(file, kind, columns) if kind == "parquet" else _row_pieces(file, kind, columns, report)
        return self._gathered(file, pieces, numbering, report, progress)

    def _gathered(
        self,
        file: Path,
        pieces: Iterator[Piece],
        numbering: Numbering,
        report: ReadReport,
        progress: Callable[[int], None],
    ) -> Rows:
        """Take the pieces of one file in."""
        names, moments = self.names, Moments(self.zone)
        taken: list[Rows] = [Rows.empty(names.context)]
        lines: list[Ints] = []
        sound: list[npt.NDArray[np.bool_]] = []
        for numbers, columns in pieces:
            count = len(numbers)
            place = _Places(shown(file), numbers, report)
            good = np.ones(count, bool)
            users = self._named(columns, names.user, "user", numbering.users, place, good)
            items = self._named(columns, names.item, "item", numbering.items, place, good)
            actions = self._actions(columns, numbering, place, good)
            dwells = self._numbers(columns, names.dwell, place, good)
            place.drop(good, dwells < 0, "a dwell time below 0")
            ratings = self._numbers(columns, names.rating, place, good)
            odds = self._numbers(columns, names.propensity, place, good)
            place.drop(good, (odds <= 0) | (odds > 1), "a propensity that is not above 0 and at most 1")
            context = {name: _context(columns[name], name, place) for name in names.context}
            moments.add(columns[names.timestamp])
            taken.append(Rows(users, items, np.zeros(count), actions, dwells, ratings, odds, context))
            lines.append(numbers)
            sound.append(good)
            progress(count)
        part = replace(Rows.join(taken), times=moments.seconds())
        good = np.concatenate([np.zeros(0, bool), *sound])
        timeless = good & np.isnan(part.times)
        place = _Places(shown(file), np.concatenate([np.zeros(0, np.int64), *lines]), report)
        place.drop(good, timeless, f"no time that can be read in {names.timestamp}; times are {FORMS}")
        return part if good.all() else part.of(np.flatnonzero(good))

    def _named(
        self,
        columns: Mapping[str, Any],
        name: str | None,
        what: str,
        numbers: Names,
        place: _Places,
        good: npt.NDArray[np.bool_],
    ) -> Ints:
        if name is None:
            return np.zeros(len(good), np.int64)
        codes = numbers.codes(columns[name])
        place.drop(good, codes == ABSENT, f"no {what}")
        return codes

    def _actions(
        self, columns: Mapping[str, Any], numbering: Numbering, place: _Places, good: npt.NDArray[np.bool_]
    ) -> Ints:
        name = self.names.action
        if name is None:
            return np.zeros(len(good), np.int64)
        known = len(numbering.actions.names)
        codes = numbering.actions.codes(columns[name])
        for number, kind in enumerate(numbering.actions.names[known:], start=known):
            if self.kinds is not None and kind not in self.kinds:
                at = place.of(int(np.flatnonzero(codes == number)[0]))
                near = get_close_matches(kind, self.kinds, n=1)
                suggestion = f'did you mean "{near[0]}"? Else give' if near else "give"
                raise DataError(
                    f'{at}: "{kind[:_MAX_SHOWN]}" in {name} is a kind of action without a weight: {suggestion} it one in '
                    f"data.source.weights.actions, or one to all others in data.source.weights.other. "
                    f"Known are {', '.join(sorted(self.kinds)) or 'none'}"
                )
        place.drop(good, codes == ABSENT, "no kind of action")
        return codes

    def _numbers(
        self, columns: Mapping[str, Any], name: str | None, place: _Places, good: npt.NDArray[np.bool_]
    ) -> Floats:
        if name is None:
            return np.full(len(good), np.nan)
        values, wrong = numbers_in(columns[name])
        bad = np.zeros(len(good), bool)
        bad[list(wrong)] = True
        if bad.any():
            place.drop(good, bad, f"no number in {name}", cells=columns[name])
        return values

    def _files(self, report: ReadReport) -> Iterator[tuple[Path, TableKind]]:
        accepted = "name a .csv, .jsonl or .parquet file, or a folder of such"
        if not self.path.exists():
            raise DataError(f"{self.path} does not exist: {accepted}")
        if not self.path.is_dir():
            kind = kind_of(self.path)
            if kind is None:
                raise DataError(f"{self.path} is no event log: {accepted}")
            yield self.path, kind
            return
        files = list(walk_files(self.path, lambda name: kind_of(Path(name)) is not None, report))
        if not files:
            raise DataError(f"{self.path} holds no event log ({', '.join(SUFFIXES)})")
        for file in files:
            kind = kind_of(file)
            assert kind is not None
            yield file, kind


Piece = tuple[Ints, Mapping[str, Any]]
"""Line (or row) numbers of some rows, and their columns: cells, or Arrow arrays."""


def _row_pieces(file: Path, kind: TableKind, columns: list[str], report: ReadReport) -> Iterator[Piece]:
    """Some rows at a time, read one by one."""
    rows = read_rows(file, kind, columns, report)
    while some := list(islice(rows, _ROWS)):
        numbers = np.fromiter((number for number, _ in some), np.int64, len(some))
        yield numbers, {name: [cells.get(name) for _, cells in some] for name in columns}


class _Places:
    """Where the rows of a piece are, for the report."""

    def __init__(self, file: str, numbers: Ints, report: ReadReport) -> None:
        self._file, self._numbers, self._report = file, numbers, report

    def of(self, row: int) -> str:
        """Where a person finds a row."""
        return f"{self._file}:{self._numbers[row]}"

    def drop(
        self, good: npt.NDArray[np.bool_], bad: npt.NDArray[np.bool_], reason: str, cells: Any | None = None
    ) -> None:
        """Take rows out of the good ones, and count those that were still among them."""
        rows = np.flatnonzero(good & bad).tolist()
        if not rows:
            return
        shown_cells = as_cells(cells) if cells is not None else None
        for row in rows:
            detail = "" if shown_cells is None else f'"{storable(str(shown_cells[row]))[:_MAX_SHOWN]}"'
            self._report.skip(self.of(row), reason, detail=detail)
        good[rows] = False


def _context(column: Any, name: str, place: _Places) -> list[Any]:
    cells = list(as_cells(column))
    nested = next((row for row, cell in enumerate(cells) if isinstance(cell, list | tuple | dict)), None)
    if nested is not None:
        raise DataError(
            f"{place.of(nested)}: the column {name} of the context holds lists: give each of their members a column of its own, "
            "or leave it out of data.source.columns.context"
        )
    return cells
