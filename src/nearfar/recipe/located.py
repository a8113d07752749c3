"""Plain values that remember where they were written, so that every complaint can name a file and a line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

KeyPath = tuple[str | int, ...]
"""Keys and list positions from the root of a recipe down to one value."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value was written.

    Attributes:
        source: the file's name, or the whole `--set key=value`.
        line: 1-based line in the file; None for a `--set`.
    """

    source: str
    line: int | None

    def __str__(self) -> str:
        """The place as it stands at the start of a message."""
        return self.source if self.line is None else f"{self.source}:{self.line}"

    @property
    def is_override(self) -> bool:
        """Whether the value came from the command line."""
        return self.line is None


@dataclass(slots=True)
class Located:
    """A tree of dicts, lists and scalars, and the origin of each of its values."""

    data: Any
    origins: dict[KeyPath, Origin] = field(default_factory=dict)

    def origin(self, path: KeyPath) -> Origin:
        """Where the value at `path` was written; for one that was not written, where the block around it was."""
        while path not in self.origins:
            path = path[:-1]
        return self.origins[path]

    def forget(self, path: KeyPath) -> None:
        """Drop the origins of the value at `path` and of all below it."""
        for known in [p for p in self.origins if p[: len(path)] == path]:
            del self.origins[known]


def below(data: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Yield (path, value) for `data` and everything inside it, parents first."""
    yield path, data
    if isinstance(data, dict):
        for key, value in data.items():
            yield from below(value, (*path, key))
    elif isinstance(data, list):
        for position, value in enumerate(data):
            yield from below(value, (*path, position))


def show_name(name: str, limit: int = 120) -> str:
    """`name` as it can safely stand in a message: on one line, bounded, control characters escaped."""
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in name)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def show_path(path: KeyPath) -> str:
    """`path` the way `--set` spells it: `data.pairings.0.kind`."""
    return show_name(".".join(show_name(str(segment), 60) for segment in path), 200)


def show_value(value: Any) -> str:
    """What the user wrote, in YAML's words and bounded in length."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"'{show_name(value, 60)}'"
    if isinstance(value, dict):
        return f"a block of {len(value)} key{'s' * (len(value) != 1)}" if value else "an empty block"
    if isinstance(value, list):
        return f"a list of {len(value)}" if value else "an empty list"
    if isinstance(value, int) and value.bit_length() > 200:
        return "a number of more than 60 digits"
    return repr(value)
