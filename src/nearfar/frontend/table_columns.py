"""What the columns of a table are, found by looking at every cell, and how their values are brought to one scale."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from nearfar.errors import DataError
from nearfar.frontend.cells import MISSING, as_category, as_days, as_number, is_missing
from nearfar.frontend.settings import CategoryColumn, DateColumn, IgnoredColumn, NumberColumn, TableSettings
from nearfar.frontend.table import Column

Type = Literal["number", "category", "date"]
Scale = Literal["quantile", "robust"]

_MANY = 20_000  # different values of a column, beyond which they are no categories
_WORDS, _OF_SENTENCES = 5, 0.1  # texts of so many words are free text though some of them repeat: fewer must differ
_FEW_TEXTS = 8  # texts that all differ are no categories, from so many on
_FEW_ROWS = 20  # in so few rows different values say nothing
_SOUND = 0.99  # share of the cells that must be numbers, or dates, for a column of them
_PARTS = 64  # of the quantile scale
_SPREADS = 5.0  # the robust scale is cut there, both ways

_NONE, _LOST = -1, -2  # codes of a missing cell, and of one whose value is not remembered

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ColumnChoice:
    """What somebody has said of columns; the rest is found out.

    Attributes:
        numbers: columns of numbers.
        categories: columns of categories, numbers among them too.
        dates: columns of dates.
        ignore: columns that are not to be looked at.
    """

    numbers: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    dates: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()

    def type_of(self, name: str) -> Type | None:
        """What was said of a column."""
        said: dict[Type, tuple[str, ...]] = {
            "number": self.numbers,
            "category": self.categories,
            "date": self.dates,
        }
        return next((kind for kind, names in said.items() if name in names), None)

    @property
    def names(self) -> tuple[str, ...]:
        """All columns that were named."""
        return (*self.numbers, *self.categories, *self.dates, *self.ignore)


class ColumnSummary(NamedTuple):
    """A column as it is shown to a person.

    Attributes:
        name: of the column.
        type: `number`, `category`, `date` or `ignored`.
        missing: share of the rows without a value.
        what: its range, its commonest values, or why it is ignored.
    """

    name: str
    type: str
    missing: float
    what: str


class TableLook:
    """Looks at rows one by one and remembers of each column what its type and scale depend on.

    Memory is three numbers a cell, and the different texts of each column as long as there are not very many.

    Args:
        missing: texts that stand for nothing.
    """

    def __init__(self, missing: Collection[str] = MISSING) -> None:
        self.missing = tuple(missing)
        self._missing = frozenset(missing)
        self._columns: dict[str, _ColumnLook] = {}
        self.rows = 0

    def add(self, cells: Mapping[str, Any]) -> None:
        """Look at one row; a column that it lacks is missing in it."""
        for name, cell in cells.items():
            column = self._columns.get(name)
            if column is None:
                column = self._columns[name] = _ColumnLook(self.rows)
            column.add(None if is_missing(cell, self._missing) else cell)
        self.rows += 1
        for column in self._columns.values():
            if len(column.codes) < self.rows:
                column.add(None)

    def settings(
        self,
        choice: ColumnChoice = ColumnChoice(),
        *,
        train: npt.NDArray[np.bool_] | None = None,
        scale: Scale = "quantile",
        most_categories: int = 100,
    ) -> TableSettings:
        """What each column is, its scale taken from the training rows.

        Args:
            choice: what somebody has said of columns.
            train: (n,) bool, which rows to take scales and categories from; None for all.
            scale: of numbers. `quantile`: the share of training values below, evenly spread; `robust`: distance from the
                median, cut at five spreads.
            most_categories: of a column only so many are told apart, the commonest; the others are unknown.

        Raises:
            DataError: there is nothing to learn from, or a column was named that is not there or does not hold what was said.
        """
        absent = [name for name in choice.names if name not in self._columns]
        if absent:
            raise DataError(
                f'there is no column "{absent[0]}" in the table; its columns are: {", ".join(self._columns) or "none"}'
            )
        rows = np.ones(self.rows, bool) if train is None else train
        columns: list[Column] = []
        ignored: list[IgnoredColumn] = []
        for name, look in self._columns.items():
            if name in choice.ignore:
                ignored.append(IgnoredColumn(name=name, why="by the recipe"))
                continue
            found = choice.type_of(name) or look.type(name)
            if isinstance(found, IgnoredColumn):
                ignored.append(found)
                continue
            fitted = look.fitted(name, found, rows, scale, most_categories)
            if isinstance(fitted, IgnoredColumn) and choice.type_of(name):
                raise DataError(f'column "{name}" is to be a {found}, but has {fitted.why}: take it out of columns')
            if isinstance(fitted, IgnoredColumn):
                ignored.append(fitted)
            else:
                columns.append(fitted)
        if not columns:
            reasons = "; ".join(f"{one.name}: {one.why}" for one in ignored[:10]) or "it has no columns"
            raise DataError(f"no column of the table can be learned from ({reasons})")
        return TableSettings(columns=tuple(columns), ignored=tuple(ignored), missing=self.missing)

    def summaries(self, settings: TableSettings) -> list[ColumnSummary]:
        """Every column as it is shown to a person, those that are ignored last."""
        shown = [self._columns[column.name].summary(column) for column in settings.columns]
        for one in settings.ignored:
            look = self._columns.get(one.name)
            shown.append(ColumnSummary(one.name, "ignored", look.missing if look else 0.0, one.why))
        return shown


class _ColumnLook:
    """One column: of each cell the number and the date that it may be, and which of the different texts it is."""

    def __init__(self, rows_before: int) -> None:
        nothing = [float("nan")] * rows_before
        self.numbers, self.days = array("d", nothing), array("d", nothing)
        self.codes = array("l", [_NONE] * rows_before)
        self.names: dict[str, int] = {}
        self.many = self.nested = False
        self.logical = True  # nothing but true and false

    def add(self, cell: Any) -> None:
        number, days, code = None, None, _NONE
        if isinstance(cell, list | tuple | dict | set | bytes):
            self.nested = True
        elif cell is not None:
            number = as_number(cell)
            days = as_days(cell) if number is None else None
            text = as_category(cell)
            self.logical = self.logical and text in ("true", "false")
            code = _LOST if self.many else self.names.setdefault(text, len(self.names))
            if len(self.names) > _MANY:
                self.many, self.names = True, {}
        self.numbers.append(float("nan") if number is None else number)
        self.days.append(float("nan") if days is None else days)
        self.codes.append(code)

    @property
    def missing(self) -> float:
        codes = np.array(self.codes)
        return float(np.mean(codes == _NONE)) if len(codes) else 0.0

    def type(self, name: str) -> Type | IgnoredColumn:
        """What the column looks like."""

        def no(why: str) -> IgnoredColumn:
            return IgnoredColumn(name=name, why=why)

        codes, numbers, days = np.array(self.codes), np.array(self.numbers), np.array(self.days)
        seen = int((codes != _NONE).sum())
        if self.nested:
            return no("lists or bytes")
        if not seen:
            return no("no value in any row")
        different = len(self.names)
        if different == 1 and seen == len(codes):
            return no(f"the same value in every row ({_short(next(iter(self.names)))})")
        finite = numbers[np.isfinite(numbers)]
        if not self.logical and len(finite) >= _SOUND * seen and (self.many or different > 2):
            whole = len(finite) >= _FEW_ROWS and bool((finite == np.round(finite)).all())
            steps = np.diff(finite)
            if whole and len(finite) == len(codes) and (steps == steps[0]).all():
                return no("a running number")
            if (
                whole
                and len(np.unique(finite)) == len(finite)
                and (name.lower() == "id" or name.lower().endswith(("_id", " id", "-id")))
            ):
                return no("another number in every row: an id")
            return "number"
        if np.isfinite(days).sum() >= _SOUND * seen:
            return "date"
        all_differ = different == seen and seen >= _FEW_TEXTS
        if self.many or all_differ or (different > _FEW_ROWS and different > self._repeating() * seen):
            if len(finite) > seen / 2:
                return no(
                    f"numbers, but for {1 - len(finite) / seen:.1%} of its texts: mend these, or name it among numbers or categories"
                )
            number = f"more than {_MANY:,}" if self.many else f"{different:,}"
            return no(f"{number} different texts in {seen:,} rows: free text or an id")
        return "category"

    def _repeating(self) -> float:
        """Which share of the cells may be different texts, for these to be categories."""
        words = sum(len(text.split()) for text in self.names) / max(1, len(self.names))
        return _OF_SENTENCES if words >= _WORDS else 0.5

    def fitted(
        self, name: str, type: Type, rows: npt.NDArray[np.bool_], scale: Scale, most: int
    ) -> Column | IgnoredColumn:
        """The column with its scale or its categories."""
        if type == "category":
            counts = np.bincount((codes := np.array(self.codes)[rows])[codes >= 0], minlength=len(self.names))
            order = sorted(((-int(counts[code]), text) for text, code in self.names.items() if counts[code]))
            if self.many or not order:
                return IgnoredColumn(name=name, why="too many values" if self.many else "no value to learn from")
            return CategoryColumn(name=name, values=tuple(text for _, text in order[:most]))
        found = np.array(self.numbers if type == "number" else self.days)[rows]
        found = found[np.isfinite(found)]
        if not len(found):
            return IgnoredColumn(name=name, why=f"no {type} to learn from")
        knots, levels = (quantile_scale if scale == "quantile" else robust_scale)(found)
        ends = {"name": name, "knots": tuple(knots.tolist()), "levels": tuple(levels.tolist())}
        return NumberColumn(**ends) if type == "number" else DateColumn(**ends, cycles=_cycles(found))

    def summary(self, column: Column) -> ColumnSummary:
        if isinstance(column, CategoryColumn):
            counts = np.bincount((codes := np.array(self.codes))[codes >= 0], minlength=len(self.names))
            first = ", ".join(f"{_short(v)} {counts[self.names[v]] / len(codes):.0%}" for v in column.values[:3])
            others = sum(1 for text in self.names if text not in set(column.values))
            rest = f", {others} others as unknown" if others else ""
            return ColumnSummary(column.name, "category", self.missing, f"{len(column.values)} values: {first}{rest}")
        found = np.array(self.numbers if isinstance(column, NumberColumn) else self.days)
        odd = int((np.isnan(found) & (np.array(self.codes) != _NONE)).sum())
        low, middle, high = (_shown(column, x) for x in np.quantile(found[np.isfinite(found)], (0, 0.5, 1)))
        cycles = f"; place in {', '.join(column.cycles)}" if isinstance(column, DateColumn) and column.cycles else ""
        strange = f"; {odd:,} cells are no {column.type} and count as missing" if odd else ""
        return ColumnSummary(
            column.name, column.type, self.missing, f"{low} to {high}, median {middle}{cycles}{strange}"
        )


def quantile_scale(values: Floats) -> tuple[Floats, Floats]:
    """Knots and levels that spread values evenly, with mean 0 and variance 1: a rank transform that costs no table of ranks.

    Args:
        values: (n,) finite, at least one.

    Returns:
        Knots, ascending, at most 65, and their levels; a value that many rows have stands at the middle of its ranks.
    """
    shares = np.linspace(0, 1, _PARTS + 1)
    knots, place = np.unique(np.quantile(values, shares), return_inverse=True)
    levels = np.bincount(place, weights=shares) / np.bincount(place)
    return knots, (levels - 0.5) * np.sqrt(12)


def robust_scale(values: Floats) -> tuple[Floats, Floats]:
    """Knots and levels of the distance from the median in spreads (1.4826 times the median distance), cut at five.

    Where more than half of the values are equal the spread is the standard deviation.

    Args:
        values: (n,) finite, at least one.
    """
    centre = float(np.median(values))
    spread = 1.4826 * float(np.median(np.abs(values - centre))) or float(np.std(values))
    spread = max(spread, 1e-9, 1e-9 * abs(centre))
    ends = np.array([-_SPREADS, _SPREADS])
    return centre + ends * spread, ends


def _cycles(days: Floats) -> tuple[Literal["year", "week", "day"], ...]:
    """Which cycles the dates of a column tell apart."""
    span, whole = float(np.ptp(days)), np.floor(days)
    found: list[Literal["year", "week", "day"]] = []
    if span > 90:
        found.append("year")
    if span > 14 and len(np.unique(whole % 7)) > 2:
        found.append("week")
    if len(np.unique(np.round((days - whole) * 24) % 24)) > 2:
        found.append("day")
    return tuple(found)


def _shown(column: Column, value: float) -> str:
    if isinstance(column, DateColumn):
        return str(np.datetime64(round(value), "D"))
    return f"{value:,.6g}"


def _short(text: str, most: int = 24) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"
