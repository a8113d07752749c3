"""What a person looks for: a text, lines of texts, or one item of another kind."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nearfar.connect import ServerIndex
    from nearfar.edge import SearchIndex

_OPTIONS = {"image": "--image", "audio": "--audio", "series": "--series", "table": "--row"}
"""Kind of a tower -> the option with an item of it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The queries of one command.

    Attributes:
        kind: of the tower that they are for.
        items: as `SearchIndex.search_many` takes them.
        names: what to call each.
        pictures: of each, what to show of it beside its name; None of anything but pictures.
        several: they came line by line.
    """

    kind: str
    items: Sequence[Any]
    names: Sequence[str]
    pictures: Sequence[Path | None]
    several: bool = False


def queries_of(text: str | None, others: Mapping[str, Path | str | None]) -> Asked:
    """The query that the arguments of a command give; without any, a text a line from standard input.

    Args:
        text: in the user's own words.
        others: kind -> a path, or the JSON of a row.

    Raises:
        DataError: there are several, a file is not there, or a row is no JSON object.
    """
    from nearfar.errors import DataError

    given = {kind: value for kind, value in others.items() if value is not None}
    if len(given) + (text is not None) > 1:
        named = [*(["a text"] if text is not None else []), *(_OPTIONS[kind] for kind in given)]
        raise DataError(f"a search has one query, and this has {' and '.join(named)}: give one of them")
    if text is not None:
        return Asked("text", [text], [text], [None])
    if not given:
        lines = [line.strip() for line in sys.stdin if line.strip()]
        return Asked("text", lines, lines, [None] * len(lines), several=True)
    ((kind, value),) = given.items()
    if kind == "table":
        return Asked(kind, [_row(str(value))], [str(value)], [None])
    path = Path(value)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise DataError(f"{path} {what}: give {_OPTIONS[kind]} the file to look for")
    return Asked(kind, [path], [str(path)], [path if kind == "image" else None])


def settings_of(index: SearchIndex | ServerIndex, asked: Asked, tower: str | None, among: str | None) -> dict[str, Any]:
    """The arguments of `search_many` that say which towers are meant; none where the index is of texts alone.

    Raises:
        DataError: there is no such tower, or the index is on a server, which has texts alone.
    """
    from nearfar.connect import ServerIndex
    from nearfar.errors import DataError

    if isinstance(index, ServerIndex):
        if asked.kind != "text" or tower is not None or among is not None:
            raise DataError(
                "an index on a server is searched by texts alone: search the index itself for anything else"
            )
        return {}
    settings: dict[str, Any] = {"tower": index.tower_for(asked.kind, tower)}
    if among is not None:
        settings["among"] = [name.strip() for name in among.split(",") if name.strip()]
    return settings


def _row(text: str) -> dict[str, Any]:
    from nearfar.errors import DataError

    try:
        row = json.loads(text)
    except ValueError as error:
        raise DataError(f"--row is not JSON ({error}): give an object such as '{{\"size\": 3}}'") from error
    if not isinstance(row, dict):
        raise DataError(f"--row is no JSON object but {type(row).__name__}: give one such as '{{\"size\": 3}}'")
    return row
