"""What of a mapping somebody wrote can be kept as the metadata of a document."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from nearfar.sources.document import Scalar
from nearfar.sources.plain import storable

MAX_VALUE_CHARS = 1_000
_MAX_VALUES = 200


def plain_values(found: Mapping[Any, object]) -> dict[str, Scalar | tuple[Scalar, ...]]:
    """Return what of a mapping can be stored as metadata: scalars and lists of them, dates as ISO text."""
    known: dict[str, Scalar | tuple[Scalar, ...]] = {}
    for key, value in list(found.items())[:_MAX_VALUES]:
        name = storable(str(key)).strip()
        if not name:
            continue
        if isinstance(value, list | tuple | set):
            values = tuple(scalar for item in list(value)[:_MAX_VALUES] if (scalar := _scalar(item)) is not None)
            if values:
                known[name] = values
        elif (scalar := _scalar(value)) is not None:
            known[name] = scalar
    return known


def _scalar(value: object) -> Scalar | None:
    """Return a value that can be stored, or None for what is empty or has parts."""
    if isinstance(value, date):  # a datetime is one too
        return value.isoformat()
    if isinstance(value, str):
        return storable(value).strip()[:MAX_VALUE_CHARS] or None
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    # Integers beyond 64 bits are no numbers to a database.
    return value if isinstance(value, bool) or (isinstance(value, int) and abs(value) < 2**63) else None
