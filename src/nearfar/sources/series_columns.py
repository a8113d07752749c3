"""Which column of sensor data holds what: from what the user said, the header, and the first rows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from nearfar.errors import DataError
from nearfar.sources.numbers import is_missing, number_of
from nearfar.sources.plain import storable
from nearfar.sources.recording import Channel
from nearfar.sources.timestamps import FORMS, is_clock, is_date_alone, looks_like_time, unit_of_numbers

Held = Literal["number", "time", "date", "clock", "text", "nothing"]
"""What the first rows of a column hold; a date alone and a time of day alone make a time together."""

Numbers = npt.NDArray[np.float64]

_WITH_UNIT = re.compile(r"(?P<name>.*?)\s*(?:\[(?P<square>[^\[\]]*)\]|\((?P<round>[^()]*)\))\s*$")
_TIME_NAMES = re.compile(
    r"(?:date|time|datetime|date[ _]?time|timestamp|time[ _]?stamp|ts|(?-i:t)|zeit|zeitstempel|datum|epoch|unix|seconds)"
    r"(?:_(?P<unit>s|ms|us|ns))?$",
    re.IGNORECASE,
)


_LABEL_NAMES = ("label", "anomaly")
_REGIME_NAME = "regime"


class ColumnNames(Protocol):
    """What a user may say of columns; `nearfar.recipe.series.SeriesColumns` is one."""

    @property
    def time(self) -> str | None:
        """Column of dates and times."""
        ...

    @property
    def channels(self) -> Sequence[str]:
        """Columns with measured values."""
        ...

    @property
    def machine(self) -> str | None:
        """Column of machines."""
        ...

    @property
    def channel(self) -> str | None:
        """Column of names of channels, in a long table."""
        ...

    @property
    def value(self) -> str | None:
        """Column of values, in a long table."""
        ...

    @property
    def unit(self) -> str | None:
        """Column of units, in a long table."""
        ...

    @property
    def label(self) -> str | None:
        """Column of known faults."""
        ...

    @property
    def regime(self) -> str | None:
        """Column of operating points."""
        ...

    @property
    def ignore(self) -> Sequence[str]:
        """Columns that are not read."""
        ...


@dataclass(frozen=True, slots=True)
class SeriesColumns:
    """Columns of a table of samples, all to be found out by themselves.

    Attributes:
        time: column with date and time, or with numbers of seconds.
        channels: columns with measured values.
        machine: column that says which machine a row is of.
        channel: of a long table (a row a value), the column with the name of the channel.
        value: of a long table, the column with the value.
        unit: of a long table, the column with the unit.
        label: column that is not 0 where a fault is known.
        regime: column that names the operating point.
        ignore: columns that are not read.
    """

    time: str | None = None
    channels: tuple[str, ...] = ()
    machine: str | None = None
    channel: str | None = None
    value: str | None = None
    unit: str | None = None
    label: str | None = None
    regime: str | None = None
    ignore: tuple[str, ...] = ()


@dataclass(frozen=True)
class Roles:
    """The part of each column of one file; names are as the header writes them.

    Attributes:
        time: None where there is none.
        time_step: seconds of a step of 1 where times are numbers; None where they are dates.
        clock: the time of day, where `time` holds only the date.
        values: columns of numbers, in the order of the file; the one of values in a long table.
        channels: what is measured in `values`; empty in a long table.
        machine, channel, unit, label, regime: columns of text.
        passed_over: columns that are not read -> why, apart from those that the user ignores.
        recognised: columns that are taken by their name as what nobody said they were -> `label` or `regime`.
    """

    time: str | None
    time_step: float | None
    values: tuple[str, ...]
    channels: tuple[Channel, ...]
    machine: str | None = None
    channel: str | None = None
    unit: str | None = None
    label: str | None = None
    regime: str | None = None
    clock: str | None = None
    passed_over: Mapping[str, str] = field(default_factory=dict)
    recognised: Mapping[str, str] = field(default_factory=dict)

    @property
    def texts(self) -> tuple[str, ...]:
        """The columns of text, each once."""
        named = (self.machine, self.channel, self.unit, self.label, self.regime)
        return tuple(dict.fromkeys(name for name in named if name is not None))


def what_is_held(cells: Sequence[str], decimal: str) -> Held:
    """Tell what the first cells of a column hold: what at least half of those that hold something are."""
    told = [cell for cell in cells if not is_missing(cell)]
    if not told:
        return "nothing"
    if 2 * sum(not np.isnan(number_of(cell, decimal)) for cell in told) >= len(told):
        return "number"
    if 2 * sum(is_clock(cell) for cell in told) >= len(told):
        return "clock"
    if 2 * sum(looks_like_time(cell) for cell in told) < len(told):
        return "text"
    return "date" if all(is_date_alone(cell) or not looks_like_time(cell) for cell in told) else "time"


def split_unit(header: str) -> Channel:
    """Part the name of a column from its unit, as in `temperature [°C]` or `pressure (bar)`."""
    found = _WITH_UNIT.match(header)
    if found and found["name"].strip():
        return Channel(storable(found["name"].strip()), storable((found["square"] or found["round"] or "").strip()))
    return Channel(storable(header.strip()))


def find_roles(
    place: str,
    held: Mapping[str, Held],
    numbers: Mapping[str, Numbers],
    columns: ColumnNames,
    units: Mapping[str, str],
    rate: float | None,
) -> Roles:
    """Find the part of each column.

    A column of the name `label` or `anomaly` that nobody gave a part says where faults are known, if it holds 0 and 1 or text; one of
    the name `regime` names the operating point, if it holds whole numbers or text. The former is never a channel: what was learned
    from it would know the answer.

    Args:
        place: the file, for messages.
        held: what each column holds, in the order of the file.
        numbers: the first of each column of numbers, NaN where there is none.
        columns: what the user said; a column may be named with or without its unit.
        units: channel -> unit, before what the header says.
        rate: samples a second of data without times.

    Raises:
        DataError: a column that the user named is not there, nothing tells the time, or nothing is measured.
    """
    resolve = _Resolver(place, list(held))
    ignored = {name for wanted in columns.ignore if (name := resolve.optional(wanted))}
    machine, channel, value, unit, label, regime = (
        None if name is None else resolve(name)
        for name in (columns.machine, columns.channel, columns.value, columns.unit, columns.label, columns.regime)
    )
    if (channel is None) != (value is None):
        missing, given = ("value", "channel") if value is None else ("channel", "value")
        raise DataError(f"{place}: a long table needs both columns: `{given}` is said, but `{missing}` is not")
    taken = {name for name in (machine, channel, value, unit, label, regime) if name is not None} | ignored
    recognised, passed_over = _by_name(held, numbers, [name for name in held if name not in taken], columns, resolve)
    label = label or next((name for name, part in recognised.items() if part == "label"), None)
    regime = regime or next((name for name, part in recognised.items() if part == "regime"), None)
    taken |= {*recognised, *passed_over}
    time = _time_column(place, held, columns, resolve, taken, rate)
    step = None
    clock = None
    if time is not None and held[time] == "date":
        clock = next((name for name in held if held[name] == "clock" and name not in taken), None)
    elif time is not None and held[time] != "time":
        named = _TIME_NAMES.match(split_unit(time).name)
        step = unit_of_numbers(
            split_unit(time).unit or (named["unit"] if named else None) or "", _typical(numbers.get(time))
        )
    if channel is not None and value is not None:
        return Roles(time, step, (value,), (), machine, channel, unit, label, regime, clock, recognised=recognised)
    if columns.channels:
        chosen = [resolve(name) for name in columns.channels]
        for name in chosen:
            if held[name] not in ("number", "nothing"):
                raise DataError(f'{place}: the channel "{name}" holds no numbers: leave it out of `channels`')
    else:
        others = [name for name in held if name not in (*taken, time, clock)]
        chosen = [name for name in others if held[name] in ("number", "nothing") and not _second_clock(name, held)]
        passed_over |= {name: _why(held[name]) for name in others if name not in chosen}
    if not chosen:
        raise DataError(
            f"{place}: no column holds numbers. The columns are: {resolve.listed}. Is the decimal sign a comma in some rows only?"
        )
    parts = [split_unit(name) for name in chosen]
    named_channels = tuple(Channel(part.name, units.get(part.name, part.unit)) for part in parts)
    if len({part.name for part in parts}) < len(parts):  # such as `speed [rpm]` beside `speed [Hz]`
        named_channels = tuple(
            Channel(storable(name.strip()), units.get(name.strip(), part.unit))
            for name, part in zip(chosen, parts, strict=True)
        )
    return Roles(
        time, step, tuple(chosen), named_channels, machine, None, None, label, regime, clock, passed_over, recognised
    )


def sentence_of(column: str, part: str) -> str:
    """What to tell of a column in `Roles.recognised`."""
    what = {"label": "as label: what is not 0 in it is a known fault", "regime": "as the name of the operating point"}
    return f'column "{storable(column)}" is taken {what[part]}'


def _by_name(
    held: Mapping[str, Held],
    numbers: Mapping[str, Numbers],
    free: Sequence[str],
    columns: ColumnNames,
    resolve: _Resolver,
) -> tuple[dict[str, str], dict[str, str]]:
    """Columns whose name says that they measure nothing: those with their part, and those that are not read with the reason."""
    recognised: dict[str, str] = {}
    passed_over: dict[str, str] = {}
    channels = {resolve(name) for name in columns.channels}
    named = {split_unit(name).name.lower(): name for name in reversed(free) if name not in channels}
    for wanted in _LABEL_NAMES:
        name = named.get(wanted)
        if name is None or held[name] in ("time", "date", "clock"):
            continue
        if columns.label is not None or "label" in recognised.values():
            passed_over[name] = "it is named like a label"
        elif np.isin(_known(numbers.get(name)), (0.0, 1.0)).all():
            recognised[name] = "label"
        else:
            passed_over[name] = "it is named like a label, but holds more than 0 and 1"
    name = named.get(_REGIME_NAME)
    if name is not None and columns.regime is None and held[name] in ("text", "number"):
        known = _known(numbers.get(name))
        if (known == np.round(known)).all():
            recognised[name] = "regime"
    return recognised, passed_over


def _known(numbers: Numbers | None) -> Numbers:
    return np.zeros(0) if numbers is None else numbers[np.isfinite(numbers)]


def _typical(numbers: Numbers | None) -> float:
    """One of the numbers, which tells seconds from milliseconds."""
    known = _known(numbers)
    return float(np.median(known)) if len(known) else 0.0


def _time_column(
    place: str, held: Mapping[str, Held], columns: ColumnNames, resolve: _Resolver, taken: set[str], rate: float | None
) -> str | None:
    if columns.time is not None:
        time = resolve(columns.time)
        if held[time] in ("text", "clock"):
            raise DataError(
                f'{place}: the column of times "{time}" holds none that can be read: they are written like {FORMS}'
            )
        return time
    if rate is not None:
        return None
    free = [name for name in held if name not in taken and name not in columns.channels]
    dates = [name for name in free if held[name] in ("time", "date")]
    numbers = [name for name in free if held[name] == "number" and _TIME_NAMES.match(split_unit(name).name)]
    found = next(iter(dates or numbers), None)
    if found is None:
        named = next((name for name in free if _TIME_NAMES.match(split_unit(name).name)), None)
        unread = "" if named is None else f' "{storable(named)}" is named like one, but what it holds is not read.'
        raise DataError(
            f"{place}: no column reads like a time.{unread} The columns are: {resolve.listed}. Name it as `time` (it is written like "
            f"{FORMS}), or give the `rate` in samples a second"
        )
    return found


def _second_clock(name: str, held: Mapping[str, Held]) -> bool:
    """Whether a column of numbers is another way to tell the time, which is no measurement."""
    return held[name] == "number" and _TIME_NAMES.match(split_unit(name).name) is not None


def _why(held: Held) -> str:
    return {"text": "it holds text", "number": "it is a clock"}.get(held, "it holds dates or times")


class _Resolver:
    """Finds columns by the name that a user gives them."""

    def __init__(self, place: str, headers: Sequence[str]) -> None:
        self._place = place
        self._headers = headers
        self._by_name: dict[str, list[str]] = {}
        for header in headers:
            for name in dict.fromkeys((header, header.strip(), split_unit(header).name)):
                self._by_name.setdefault(name, []).append(header)

    @property
    def listed(self) -> str:
        """The columns, for messages."""
        shown = ", ".join(f'"{storable(name)}"' for name in self._headers[:30])
        return shown + (", ..." if len(self._headers) > 30 else "")

    def optional(self, name: str) -> str | None:
        """The column of this name, or None: other files may have it."""
        return name if name in self._headers else next(iter(self._by_name.get(name, ())), None)

    def __call__(self, name: str) -> str:
        """The column of this name."""
        if name in self._headers:
            return name
        found = self._by_name.get(name, [])
        if len(found) == 1:
            return found[0]
        if found:
            raise DataError(f'{self._place}: "{name}" may be {" or ".join(found)}: write it as the header does')
        near = get_close_matches(name, list(self._by_name), n=1, cutoff=0.5)
        suggestion = f'; did you mean "{storable(near[0])}"?' if near else "."
        raise DataError(f'{self._place}: there is no column "{name}"{suggestion} The columns are: {self.listed}')
