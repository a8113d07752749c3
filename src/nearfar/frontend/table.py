"""Rows of a table to what a graph takes: one object, used by training, evaluation and the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nearfar.embedder import Item, Side
from nearfar.errors import DataError
from nearfar.frontend.cells import as_category, as_days, as_number, is_missing
from nearfar.frontend.frontend import Feed, GraphInput
from nearfar.frontend.settings import CategoryColumn, DateColumn, NumberColumn, TableSettings

ABSENT, PRESENT = 0, 1
"""Codes of a number or date: nothing there, or a value."""
MISSING, UNKNOWN, FIRST = 0, 1, 2
"""Codes of a category: nothing there, a value that training did not have, the first of the known ones."""

_PERIODS = {"year": 365.2425, "week": 7.0, "day": 1.0}
_MONDAY = 4.0  # 1970-01-05, in days since 1970-01-01

Column = NumberColumn | DateColumn | CategoryColumn


class Features(NamedTuple):
    """Rows as a graph takes them.

    Attributes:
        values: float32 (n, F), scaled numbers; 0 where there is none, and for categories.
        codes: int64 (n, F), which category, or whether a number is there.
    """

    values: npt.NDArray[np.float32]
    codes: npt.NDArray[np.int64]


_Writer = Callable[[Sequence[Any], Features], None]
"""Takes the cells of one column, None where missing, and fills in its features."""


class TableFrontend:
    """Makes features of rows: mappings of a column's name to its cell. Columns that it does not know are passed over.

    A number or category is one feature. A date is one, and two more (sine and cosine) for each of its cycles.

    Attributes:
        settings: what the columns are.
        widths: F numbers, how many codes each feature has.
        column_of_feature: F numbers, the column that each feature is of.
    """

    def __init__(self, settings: TableSettings) -> None:
        self.settings = settings
        widths: list[int] = []
        owners: list[int] = []
        self._writers: dict[str, _Writer] = {}
        for number, column in enumerate(settings.columns):
            place = len(widths)
            if isinstance(column, CategoryColumn):
                widths.append(FIRST + len(column.values))
                self._writers[column.name] = _category_writer(column, place)
            else:
                cycles = column.cycles if isinstance(column, DateColumn) else ()
                widths += [2] * (1 + 2 * len(cycles))
                self._writers[column.name] = _scaled_writer(column, place)
            owners += [number] * (len(widths) - place)
        self.widths, self.column_of_feature = tuple(widths), tuple(owners)
        self._missing = frozenset(settings.missing)

    def encode(self, items: Sequence[Item]) -> Features:
        """Make features of rows.

        Args:
            items: n mappings; a column that a row lacks is missing.

        Raises:
            DataError: an item is no mapping, or has none of the columns; the message says which.
        """
        self.check(items)
        return self._encoded(items, range(len(items)))

    @property
    def inputs(self) -> Mapping[str, GraphInput]:
        """What the graph takes."""
        return {"values": GraphInput("tensor(float)", 2), "codes": GraphInput("tensor(int64)", 2)}

    @property
    def contract(self) -> str:
        """The same in words."""
        return f"values, float32 (n, {len(self.widths)}), and codes, int64 (n, {len(self.widths)})"

    @property
    def unit(self) -> str:
        """What a batch is counted in."""
        return "features"

    @property
    def sides_differ(self) -> bool:
        """A row that is searched for and one that is found are prepared alike."""
        return False

    def check(self, items: Sequence[Item]) -> None:
        """Refuse one row where a list is needed.

        Raises:
            DataError: `items` is one mapping, or text.
        """
        if isinstance(items, Mapping | str | bytes):
            raise DataError('got one row where a list of rows is needed: wrap it as [row], a row as {"column": cell}')

    def feeds(self, items: Sequence[Item], side: Side, batch_size: int) -> Iterator[tuple[list[int], Feed]]:
        """Encode and yield rows batch by batch, in their order; see `Frontend.feeds`."""
        for start in range(0, len(items), batch_size):
            positions = range(start, min(start + batch_size, len(items)))
            values, codes = self._encoded(items, positions)
            yield list(positions), {"values": values, "codes": codes}

    def trials(self, side: Side) -> Feed:
        """Two rows, one where everything is missing and one with the last category and the highest number of each column."""
        values = np.zeros((2, len(self.widths)), np.float32)
        codes = np.zeros((2, len(self.widths)), np.int64)
        codes[1] = np.array(self.widths) - 1
        for feature, owner in enumerate(self.column_of_feature):
            column = self.settings.columns[owner]
            if not isinstance(column, CategoryColumn):
                values[1, feature] = column.levels[-1]
        return {"values": values, "codes": codes}

    def _encoded(self, items: Sequence[Item], positions: range) -> Features:
        rows = [items[position] for position in positions]
        for position, row in zip(positions, rows, strict=True):
            if not isinstance(row, Mapping):
                raise DataError(
                    f'row {position} is {type(row).__name__}, not a mapping of columns to cells such as {{"age": 41}}'
                )
            if row.keys().isdisjoint(self._writers):
                names = ", ".join(list(self._writers)[:10])
                raise DataError(f"row {position} has none of the columns that this encoder knows: {names}")
        features = Features(
            np.zeros((len(rows), len(self.widths)), np.float32), np.zeros((len(rows), len(self.widths)), np.int64)
        )
        for name, write in self._writers.items():
            cells = [row.get(name) for row in rows]
            write([None if is_missing(cell, self._missing) else cell for cell in cells], features)
        return features


def _category_writer(column: CategoryColumn, place: int) -> _Writer:
    codes_of = {value: code for code, value in enumerate(column.values, start=FIRST)}

    def write(cells: Sequence[Any], features: Features) -> None:
        features.codes[:, place] = [
            MISSING if cell is None else codes_of.get(as_category(cell), UNKNOWN) for cell in cells
        ]

    return write


def _scaled_writer(column: NumberColumn | DateColumn, place: int) -> _Writer:
    """What cannot be read as a number or date counts as missing."""
    knots, levels = np.array(column.knots), np.array(column.levels)
    read = as_days if isinstance(column, DateColumn) else as_number
    periods = [_PERIODS[cycle] for cycle in column.cycles] if isinstance(column, DateColumn) else []

    def write(cells: Sequence[Any], features: Features) -> None:
        found = [None if cell is None else read(cell) for cell in cells]
        there = np.array([value is not None for value in found], bool)
        numbers = np.array([value or 0.0 for value in found], np.float64)
        scaled = [np.interp(numbers, knots, levels)]
        for period in periods:
            angles = 2 * np.pi * ((numbers - _MONDAY) / period % 1.0)
            scaled += [np.sin(angles), np.cos(angles)]
        columns = slice(place, place + len(scaled))
        features.values[:, columns] = np.where(there[:, None], np.stack(scaled, axis=1), 0.0)
        features.codes[:, columns] = np.where(there, PRESENT, ABSENT)[:, None]

    return write
