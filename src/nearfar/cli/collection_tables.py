"""Items of a collection on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from nearfar.edge.collections.collection import Entry

_NUMBERS = ("", "items", "outliers")


def brief(entry: Entry, most: int = 60) -> str:
    """What a person recognises an item by: its title, the beginning of its text, or its name."""
    words = " ".join((entry.title or entry.text).split())
    return words[:most] if words else entry.id


def named(entry: Entry) -> str:
    """Its name, and what a person recognises it by."""
    words = " ".join((entry.title or entry.text).split())
    return f"{entry.id}  {words[:80]}" if words and words != entry.id else entry.id


def plain_table(*names: str) -> Table:
    """A table without lines; numbers stand to the right."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in names:
        table.add_column(name, justify="right" if name in _NUMBERS else "left", overflow="ellipsis")
    return table


def add_row(table: Table, *cells: str) -> None:
    """Add a row whose cells mean what they say, also where they hold square brackets."""
    table.add_row(*map(escape, cells))
