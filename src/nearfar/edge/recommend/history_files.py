"""A history as a file that people and other programs read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from difflib import get_close_matches
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
PARTS: Final = (*COLUMNS, "user")
"""Of an event in a file: what a column can hold."""
_SHOWN: Final = 5
_LONGEST: Final = 40  # characters of a name in a message


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
    columns: Mapping[str, str],
    frontend: EventsFrontend,
    latest: float,
    *,
    user: str | None,
    action: str,
    timezone: str,
) -> tuple[list[Event], ReadReport]:
    """Read what one user did.

    Args:
        path: a .csv, .jsonl or .parquet file, or a folder of such.
        columns: part of an event -> the column that holds it. Others are in the columns of their name, as far as the file has these.
        frontend: says which kinds of action are known.
        latest: seconds since 1970; what is said to have happened later is passed over.
        user: whose rows are taken; None where they are all of one.
        action: kind of all events; empty where the file says it, or where no kinds are told apart.
        timezone: of times that name none.

    Returns:
        The events in the order of the file, and what was passed over.

    Raises:
        DataError: it cannot be read, has rows of several users, or none that can be used.
    """
    frontend.kind_weight(action or next(iter(frontend.settings.actions), ""))
    log = EventLog(path, _names(path, columns, frontend, action), timezone=timezone)
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
            action or table.action_names[table.actions[row]],
            float(table.times[row]),
            _known(table.dwells[row]),
            _known(table.ratings[row]),
        )
        try:
            events.append(checked_event(event, frontend, latest))
        except DataError as error:
            # What was wrong differs from row to row, and reasons are counted.
            reason = "a time that is still to come" if table.times[row] > latest else "no event that can be recorded"
            log.report.skip(f"{path.name}, {event.item[:_LONGEST]!r}", reason, detail=str(error))
    if not events:
        first = f" The first that was passed over: {log.report.examples[0]}" if log.report.examples else ""
        raise DataError(f"{path}: there is no event in it that can be recorded.{first}")
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


def _names(path: Path, columns: Mapping[str, str], frontend: EventsFrontend, action: str) -> EventNames:
    """Which column holds what: as was said, and otherwise the one of that name."""
    if strange := [part for part in columns if part not in PARTS]:
        near = get_close_matches(strange[0], PARTS, n=1)
        suggestion = f"did you mean {near[0]!r}? Known" if near else "known"
        raise DataError(f"columns: {strange[0]!r} is no part of an event; {suggestion} are {', '.join(PARTS)}")
    there = _columns_of(path)
    settings = frontend.settings
    kinds = not action and (settings.actions or settings.other is not None)  # otherwise the bundle tells none apart

    def named(part: str, *usual: str) -> str | None:
        return columns.get(part) or next((name for name in (part, *usual) if name in there), None)

    return EventNames(
        item=named("item") or "item",
        timestamp=named("time", "timestamp") or "time",
        user=named("user"),
        action=named("action") if kinds else None,
        dwell=named("dwell"),
        rating=named("rating"),
    )


def _columns_of(path: Path) -> Collection[str]:
    """The columns that a file has, the first of a folder; none where it is for the reader to say what is wrong."""
    file = path
    if path.is_dir():
        file = next(walk_files(path, lambda name: kind_of(Path(name)) is not None, ReadReport()), path)
    kind = kind_of(file)
    if kind is None or not file.is_file():
        return ()
    _, first = next(read_rows(file, kind, (), ReadReport(), every_column=True), (0, {}))
    return first


def _number_of(path: Path, table: EventTable, user: str) -> int:
    if user not in table.user_names:
        has = f"it has {', '.join(table.user_names[:_SHOWN])}" if table.user_names else "it has no column of users"
        raise DataError(f"{path}: no row is of the user {user!r}; {has}")
    return table.user_names.index(user)


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
