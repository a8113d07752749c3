"""An event as it is kept: in one spelling, so that the same one given twice is found to be the same."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Final, NamedTuple

from nearfar.edge.recommend.answers import Event
from nearfar.errors import DataError
from nearfar.frontend.events import EventsFrontend

_LONGEST: Final = 1000
_LATEST: Final = 253_402_300_800.0  # the year 10000, beyond which no calendar here follows


class StoredEvent(NamedTuple):
    """An event of a history.

    Attributes:
        number: in the order in which they were recorded.
        event: with its time.
    """

    number: int
    event: Event

    @property
    def order(self) -> tuple[float, int]:
        """What events are told apart by when one was before another: by time, then as they were recorded."""
        return self.event.time or 0.0, self.number


def checked_event(event: Event, frontend: EventsFrontend, latest: float) -> Event:
    """The event with numbers as floats.

    Args:
        event: as it was given.
        frontend: says which kinds of action are known.
        latest: seconds since 1970, beyond which nothing can have happened yet.

    Raises:
        DataError: a name or a number cannot be one, the kind of action is not known, or the time is still to come.
    """
    for what, text in (("item", event.item), ("action", event.action)):
        if not isinstance(text, str) or len(text) > _LONGEST or "\n" in text or "\0" in text:
            raise DataError(f"{what} {str(text)[:60]!r}: give a name of one line and at most {_LONGEST:,} characters")
    if not event.item:
        raise DataError("an event without an item: say what was acted on")
    time = None if event.time is None else checked_time("time", event.time)
    dwell = _number("dwell", event.dwell)
    if time is not None and time > latest:
        moment = datetime.fromtimestamp(time, UTC)
        raise DataError(
            f"time {moment:%Y-%m-%d %H:%M} UTC: lies ahead of this device's clock; set one of the two right"
        )
    if dwell is not None and dwell < 0:
        raise DataError(f"dwell {dwell:g}: give seconds from 0 on, or leave it out")
    frontend.kind_weight(event.action)
    return Event(event.item, event.action, time, dwell, _number("rating", event.rating))


def checked_time(name: str, value: float) -> float:
    """Seconds since 1970.

    Args:
        name: of what it is, for the message.
        value: as it was given.

    Raises:
        DataError: it is no number, or of no year that a calendar has.
    """
    time = _number(name, value)
    if time is None or abs(time) >= _LATEST:
        raise DataError(f"{name} {value!r}: give seconds since 1970; milliseconds are a thousand times too many")
    return time


def event_text(event: Event) -> bytes:
    """All of an event that `checked_event` has seen; different ones have different texts."""
    parts = [event.item, event.action, event.time, event.dwell, event.rating]
    return json.dumps(parts, separators=(",", ":")).encode()


def read_event(text: bytes) -> Event:
    """Undo `event_text`; `text` was found genuine."""
    item, action, time, dwell, rating = json.loads(text)
    return Event(item, action, time, dwell, rating)


def _number(name: str, value: float | None) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"{name} {value!r}: give a finite number, or leave it out")
    return number + 0.0  # + 0.0: there is no -0
