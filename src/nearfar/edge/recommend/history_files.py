"""A history as a file that people and other programs read."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np

from nearfar.edge.recommend.answers import Event
from nearfar.edge.recommend.stored_event import checked_event
from nearfar.errors import DataError
from nearfar.frontend.events import EventsFrontend
from nearfar.index.derived_file import derived_file
from nearfar.sources.document import ReadReport
from nearfar.sources.event_log import EventLog, EventNames
from nearfar.sources.event_table import EventTable
from nearfar.sources.rows import kind_of, read_rows
from nearfar.sources.walk import walk_files

COLUMNS: Final = ("item", "action", "time", "dwell", "rating")
_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class HistoryImport:
    """What came of an import.

    Attributes:
        read: events that could be used.
        new: of these, those that were not recorded before.
        skipped: reason -> rows that could not be used.
        examples: the first few of those, with their place.
    """

    read: int
    new: int
    skipped: dict[str, int]
    examples: tuple[str, ...]


def read_events(
    path: Path,
    names: EventNames | None,
    frontend: EventsFrontend,
    latest: float,
    *,
    user: str | None,
    timezone: str,
) -> tuple[list[Event], ReadReport]:
    """Read what one user did.

    Args:
        path: a .csv, .jsonl or .parquet file, or a folder of such.
        names: which column holds what; None for the names that `write_events` gives them, as far as the file has such columns.
        frontend: says which kinds of action are known.
        latest: seconds since 1970; what is said to have happened later is passed over.
        user: whose rows are taken; None where they are all of one.
        timezone: of times that name none.

    Returns:
        The events in the order of the file, and what was passed over.

    Raises:
        DataError: it cannot be read, has rows of several users, or none that can be used.
    """
    log = EventLog(path, names or _usual_names(path, frontend), timezone=timezone)
    table = log.read()
    rows = np.arange(len(table)) if user is None else np.flatnonzero(table.users == _number_of(path, table, user))
    if user is None and len(table.user_names) > 1:
        raise DataError(
            f"{path}: has rows of {len(table.user_names):,} users, and a history is of one; say whose (--user), such as {table.user_names[0]}"
        )
    events: list[Event] = []
    for row in rows.tolist():
        event = Event(
            table.item_names[table.items[row]],
            table.action_names[table.actions[row]],
            float(table.times[row]),
            _known(table.dwells[row]),
            _known(table.ratings[row]),
        )
        try:
            events.append(checked_event(event, frontend, latest))
        except DataError as error:
            log.report.skip(f"{path.name}: {event.item[:40]!r}", str(error))
    return events, log.report


def write_events(path: Path, events: list[Event]) -> int:
    """Write events to a file that only its owner can read; after a crash it is what it was, or complete.

    Args:
        path: of a .csv or .jsonl file.
        events: with their times.

    Returns:
        How many.

    Raises:
        DataError: the file is of another kind, or cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".jsonl"):
        raise DataError(f"{path}: a history is written as .csv or .jsonl; give such a name")
    text = io.StringIO(newline="")
    if suffix == ".csv":
        table = csv.writer(text)
        table.writerow(COLUMNS)
        table.writerows([asdict(event)[name] for name in COLUMNS] for event in events)
    else:
        text.writelines(json.dumps(asdict(event), ensure_ascii=False) + "\n" for event in events)
    try:
        with derived_file(path) as file:
            Path(file.name).chmod(0o600)
            file.write(text.getvalue().encode("utf-8", "surrogatepass"))
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written ({error.strerror or error}): check folder and permissions"
        ) from error
    return len(events)


def _usual_names(path: Path, frontend: EventsFrontend) -> EventNames:
    """The columns of a file whose names say what they hold."""
    file = path
    if path.is_dir():
        file = next(walk_files(path, lambda name: kind_of(Path(name)) is not None, ReadReport()), path)
    kind = kind_of(file)
    if kind is None or not file.is_file():
        return EventNames()  # the reader says what is wrong
    _, first = next(read_rows(file, kind, (), ReadReport(), every_column=True), (0, {}))
    settings = frontend.settings
    kinds = settings.actions or settings.other is not None  # otherwise the bundle tells none apart
    return EventNames(
        timestamp="timestamp" if "timestamp" in first else "time",
        user="user" if "user" in first else None,
        action="action" if kinds and "action" in first else None,
        dwell="dwell" if "dwell" in first else None,
        rating="rating" if "rating" in first else None,
    )


def _number_of(path: Path, table: EventTable, user: str) -> int:
    if user not in table.user_names:
        has = f"it has {', '.join(table.user_names[:_SHOWN])}" if table.user_names else "it has no column of users"
        raise DataError(f"{path}: no row is of the user {user!r}; {has}")
    return table.user_names.index(user)


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
