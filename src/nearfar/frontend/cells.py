"""What a cell of a table says: a number, a date, a category, or nothing. The same in training and on the device."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

MISSING = ("", "?", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "Null", "null", "None", "none")
"""What people write into a cell that holds nothing."""

_NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?\Z", re.ASCII)
_LEADING_ZERO = re.compile(r"[-+]?0\d")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}(?:\Z|[T ]\d{2}:\d{2})")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = 86_400.0


def is_missing(cell: Any, missing: Collection[str] = MISSING) -> bool:
    """Whether a cell holds nothing: None, NaN, or one of the texts in `missing`."""
    if cell is None:
        return True
    if isinstance(cell, str):
        return cell.strip() in missing
    return isinstance(cell, float | Decimal) and math.isnan(cell)


def as_number(cell: Any) -> float | None:
    """The number that a cell holds, finite; None where it is none. `00123` is a code and no number."""
    if isinstance(cell, bool):
        return float(cell)
    if isinstance(cell, str):
        text = cell.strip()
        if not _NUMBER.match(text) or _LEADING_ZERO.match(text):
            return None
        cell = text
    elif not isinstance(cell, int | float | Decimal) and not hasattr(cell, "__float__"):
        return None
    try:
        value = float(cell)
    except (TypeError, ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None


def as_days(cell: Any) -> float | None:
    """The date or time that a cell holds, in days since 1970-01-01 UTC; None where it is none.

    Text must be as ISO 8601 has it, `2024-05-31` or `2024-05-31 13:45`. A time without a zone is taken for UTC.
    """
    if isinstance(cell, str):
        text = cell.strip()
        if not _DATE.match(text):
            return None
        try:
            cell = datetime.fromisoformat(text)
        except ValueError:
            return None
    if isinstance(cell, date) and not isinstance(cell, datetime):
        cell = datetime(cell.year, cell.month, cell.day, tzinfo=UTC)
    if not isinstance(cell, datetime):
        return None
    moment = cell if cell.tzinfo is not None else cell.replace(tzinfo=UTC)
    return (moment - _EPOCH).total_seconds() / _DAY


def as_category(cell: Any) -> str:
    """A cell as the name of a category: `True` is `true`, and 3.0 is `3`, however they were stored."""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 2**53:
        return str(int(cell))
    text = str(cell).strip()
    return text.lower() if text.lower() in ("true", "false") else text
