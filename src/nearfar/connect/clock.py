"""Times as lines and messages say them."""

from __future__ import annotations

from collections.abc import Sequence
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from nearfar.sources.numbers import numbers_of
from nearfar.sources.timestamps import looks_like_time, parse_times, unit_of_numbers


def read_times(cells: Sequence[str], zone: ZoneInfo, unit: str = "") -> npt.NDArray[np.float64]:
    """Seconds since 1970-01-01 UTC.

    Args:
        cells: n texts, dates or numbers.
        zone: of dates that name none.
        unit: of numbers, such as `ms`; where it is empty their size tells seconds from milli-, micro- and nanoseconds.

    Returns:
        float64 (n,), NaN where a cell is no time.
    """
    numbers = np.zeros(0) if looks_like_time(cells[0]) else numbers_of(cells, ".")[0]
    known = numbers[np.isfinite(numbers)]
    if not len(known):
        return parse_times(np.array([cell.encode("utf-8", "replace") for cell in cells]), zone)
    return np.where(np.isfinite(numbers), numbers * unit_of_numbers(unit, float(known[0])), np.nan)
