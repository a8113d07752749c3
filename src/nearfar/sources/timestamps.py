"""Dates and times as files write them to seconds since 1970-01-01 UTC, a whole column at once."""

from __future__ import annotations

import re
from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import numpy.typing as npt

from nearfar.errors import DataError

FORMS = "2026-03-31 23:59:58.125, 2026-03-31T23:59:58Z, 2026/03/31 23:59, 31.03.2026 23:59:58 or seconds since 1970"
"""What is read, for messages."""

Bytes = npt.NDArray[np.bytes_]
Seconds = npt.NDArray[np.float64]

_LOOKS_LIKE = re.compile(rb"\s*(\d{4}[-/.]\d\d[-/.]\d\d|\d\d\.\d\d\.\d{4})([T ]+\d\d:\d\d.*)?\s*$")
_DATE_ALONE = re.compile(r"\s*(?:\d{4}[-/.]\d\d[-/.]\d\d|\d\d\.\d\d\.\d{4})\s*$")
_CLOCK = re.compile(r"\s*\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?\s*(?:[zZ]|UTC|[+-]\d\d:?(?:\d\d)?)?\s*$")
_ZONE = re.compile(rb"\s*(?:[zZ]|UTC|([+-])(\d\d):?(\d\d)?)$")
_MONTH_DAYS = np.array([0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
_QUARTER = 900.0  # seconds; clocks are set at such times and by such amounts
_UNITS = {"s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_UNITS |= {"min": 60.0, "minutes": 60.0, "h": 3600.0, "hours": 3600.0, "d": 86400.0, "days": 86400.0}


def looks_like_time(cell: str) -> bool:
    """Whether a cell reads like a date, with or without a time of day."""
    return _LOOKS_LIKE.match(cell.encode("utf-8", "replace")) is not None


def is_date_alone(cell: str) -> bool:
    """Whether a cell is a date without a time of day."""
    return _DATE_ALONE.match(cell) is not None


def is_clock(cell: str) -> bool:
    """Whether a cell is a time of day without a date."""
    return _CLOCK.match(cell) is not None


def known_zone(name: str) -> ZoneInfo:
    """The time zone of a name.

    Raises:
        DataError: this system knows none of that name.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise DataError(
            f'timezone "{name}" is not known here: use a name like Europe/Berlin, or UTC. Systems without a time zone '
            "database need the package tzdata"
        ) from error


def unit_of_numbers(unit: str, typical: float) -> float:
    """Seconds of a step of 1 in a column of times that are numbers.

    Args:
        unit: from the header, such as `ms`; may be empty.
        typical: one of the numbers. Without a unit its size tells: from about 1e11 on milliseconds, 1e14 microseconds, 1e17
            nanoseconds since 1970 (these sizes are years after 1970 in one unit only); smaller ones are seconds.
    """
    if unit.lower() in _UNITS:
        return _UNITS[unit.lower()]
    size = abs(typical)
    return 1e-9 if size >= 1e17 else 1e-6 if size >= 1e14 else 1e-3 if size >= 1e11 else 1.0


def parse_times(cells: Bytes, zone: ZoneInfo) -> Seconds:
    """Read a column of dates with times.

    A date without time is its midnight. Fractions of a second may follow a point or a comma. A second 60 (a leap second) is the
    first of the next minute, as POSIX counts.

    Args:
        cells: bytes (n,).
        zone: of those that name no zone. Where a clock that is set back shows an hour twice, the rows' order tells which it is.

    Returns:
        float64 (n,), NaN where a cell cannot be read.
    """
    seconds = np.full(len(cells), np.nan)
    local = np.zeros(len(cells), bool)
    # Almost always all cells of a file are written alike: each way of writing is read at once.
    stripped = np.char.strip(cells)
    codes = _layouts(stripped)
    for code in np.unique(codes):
        rows = np.flatnonzero(codes == code)
        seconds[rows], local[rows] = _parse_alike(stripped[rows])
    return _from_local(seconds, local, zone)


def from_local(seconds: Seconds, zone: ZoneInfo) -> Seconds:
    """Take seconds (n,) of a clock on the wall, counted from its 1970-01-01, to seconds since 1970-01-01 UTC."""
    return _from_local(seconds, np.isfinite(seconds), zone)


def _layouts(cells: Bytes) -> npt.NDArray[np.int64]:
    """(n,) numbers that are equal for cells that are written alike: digits count as equal, all else as it is."""
    width = cells.dtype.itemsize
    if not len(cells) or not width:
        return np.zeros(len(cells), np.int64)
    signs = np.ascontiguousarray(cells).view(np.uint8).reshape(len(cells), width)
    shape = np.where((signs >= 48) & (signs <= 57), np.uint8(48), signs)
    if (shape == shape[0]).all():
        return np.zeros(len(cells), np.int64)
    _, codes = np.unique(np.ascontiguousarray(shape).view(f"S{width}").reshape(-1), return_inverse=True)
    return codes.astype(np.int64)


def _parse_alike(cells: Bytes) -> tuple[Seconds, npt.NDArray[np.bool_]]:
    """Seconds of cells that are written alike, and whether they are of a clock without a zone."""
    nothing = np.full(len(cells), np.nan), np.zeros(len(cells), bool)
    first = bytes(cells[0])
    if not _LOOKS_LIKE.match(first):
        return nothing
    rest = first[10:].lstrip(b"T ")
    at = len(first) - len(rest)
    zone = _ZONE.search(rest) if rest else None
    clock = rest[: zone.start()] if zone else rest
    signs = np.ascontiguousarray(cells).view(np.uint8).reshape(len(cells), -1)

    def number(begin: int, digits: int) -> npt.NDArray[np.int64]:
        value = np.zeros(len(cells), np.int64)
        for at in range(begin, begin + digits):
            value *= 10
            value += signs[:, at]
            value -= 48
        return value

    iso = first[:4].isdigit()
    year, month, day = (number(0, 4), number(5, 2), number(8, 2)) if iso else (number(6, 4), number(3, 2), number(0, 2))
    good = (month >= 1) & (month <= 12) & (day >= 1) & (year >= 1)
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    good &= day <= _MONTH_DAYS[np.where(good, month, 0)] - ((month == 2) & ~leap)
    seconds = _days(year, month, day) * 86400.0
    if clock:
        found = re.fullmatch(rb"\d\d:\d\d(:\d\d([.,]\d{1,12})?)?", clock)
        if not found:
            return nothing
        hour, minute = number(at, 2), number(at + 3, 2)
        good &= (hour <= 23) & (minute <= 59)
        seconds += hour * 3600.0 + minute * 60.0
        if found[1]:
            second = number(at + 6, 2)
            good &= second <= 60
            seconds += second
        if found[2]:
            digits = len(found[2]) - 1
            seconds += number(at + 9, digits) / 10.0**digits
    if zone and zone[1]:
        begin = at + zone.start(1)
        offset = number(begin + 1, 2) * 3600.0
        if zone[3]:
            offset += number(at + zone.start(3), 2) * 60.0
        seconds -= offset if zone[1] == b"+" else -offset
    return np.where(good, seconds, np.nan), np.full(len(cells), zone is None) & good


def _days(
    year: npt.NDArray[np.int64], month: npt.NDArray[np.int64], day: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Days since 1970-01-01 in the Gregorian calendar, by counting years from March on, so that leap days come last."""
    shifted = year - (month <= 2)
    since_march = (month + 9) % 12
    of_years = 365 * shifted + shifted // 4 - shifted // 100 + shifted // 400
    return of_years + (153 * since_march + 2) // 5 + day - 1 - 719_468


def _from_local(seconds: Seconds, local: npt.NDArray[np.bool_], zone: ZoneInfo) -> Seconds:
    if zone.key == "UTC" or not local.any():
        return seconds
    clock = seconds[local]
    quarters, inverse = np.unique(np.floor(clock / _QUARTER), return_inverse=True)
    offsets = np.array([[_offset(q * _QUARTER, zone, fold) for fold in (0, 1)] for q in quarters.tolist()])[inverse]
    twice = offsets[:, 0] > offsets[:, 1]
    chosen = offsets[:, 0].copy()
    if twice.any():
        chosen[_second_time(clock, twice)] = offsets[_second_time(clock, twice), 1]
    converted = seconds.copy()
    converted[local] = clock - chosen
    return converted


def _offset(clock: float, zone: ZoneInfo, fold: int) -> float:
    moment = np.datetime64(int(clock), "s").astype(datetime).replace(tzinfo=zone, fold=fold)
    offset = moment.utcoffset()
    return offset.total_seconds() if offset is not None else 0.0


def _second_time(clock: Seconds, twice: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Which of the times that the clock showed twice are the second ones: those after it went back."""
    back = np.zeros(len(clock), bool)
    back[1:] = (np.diff(clock) < -_QUARTER) & twice[1:] & twice[:-1]
    begins = twice & ~np.concatenate(([False], twice[:-1]))
    count = np.cumsum(back)
    at_begin = np.maximum.accumulate(np.where(begins, count, 0))
    second: npt.NDArray[np.bool_] = twice & (count > at_begin)
    return second
