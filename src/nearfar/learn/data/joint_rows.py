"""The rows of tables of partners as numbers: each cell is handed to the tower that takes it, which says what number it has."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nearfar.learn.data.noted import content_key
from nearfar.learn.data.split import SIDES
from nearfar.learn.data.textfile import text_key
from nearfar.learn.towers.tower import ItemWriter, RefusedItem
from nearfar.recipe.joint import AnyTower, PairFile
from nearfar.sources.document import ReadReport
from nearfar.sources.partners import PartnerRow, PartnerTable, SideColumns

Ints = npt.NDArray[np.int64]

_FILLED, _MISSING, _REFUSED = "filled", "missing", "refused"
_AT_A_TIME = 32  # rows between two signs of progress


@dataclass
class SideRead:
    """The items of one tower, row by row.

    Attributes:
        ends: where those of each row end in `items`.
        items: their numbers.
        columns: places of their columns.
        keys: number -> a key of what its cell said: the same wherever the data lies, and whatever else is in the table.
    """

    ends: array[int] = field(default_factory=lambda: array("q"))
    items: array[int] = field(default_factory=lambda: array("q"))
    columns: array[int] = field(default_factory=lambda: array("q"))
    keys: dict[int, int] = field(default_factory=dict)

    def add(self, items: Mapping[tuple[int, int], int]) -> None:
        """Append the items of the next row: (number, place of its column) -> key."""
        for (number, column), key in items.items():
            self.items.append(number)
            self.columns.append(column)
            self.keys.setdefault(number, key)
        self.ends.append(len(self.items))

    @property
    def starts(self) -> Ints:
        """(rows + 1,) where the items of each row begin."""
        return np.concatenate([np.zeros(1, np.int64), np.asarray(self.ends, np.int64)])

    @property
    def rows(self) -> Ints:
        """(m,) the row of each item."""
        return np.repeat(np.arange(len(self.ends)), np.diff(self.starts))

    @property
    def item_keys(self) -> Ints:
        """(m,) the key of each item."""
        return np.array([self.keys[number] for number in self.items], np.int64)


@dataclass
class RowsRead:
    """What was read of all tables.

    Attributes:
        files: place of each row's file.
        labels: what each is of; empty for nothing, as are `splits` and `groups`.
        sides: tower -> its items.
        texts: towers of texts.
        halves: tower -> how many cells were filled, missing and refused.
        alone: rows that were left out because fewer than two sides can be used.
        report: what was passed over.
    """

    files: array[int]
    labels: list[str]
    splits: list[str]
    groups: list[str]
    sides: dict[str, SideRead]
    texts: frozenset[str]
    halves: dict[str, dict[str, int]]
    alone: int
    report: ReadReport


def read_partners(
    files: tuple[PairFile, ...],
    towers: Mapping[str, AnyTower],
    writers: Mapping[str, ItemWriter],
    *,
    captions: bool,
    progress: Callable[[int], None] = lambda _: None,
) -> RowsRead:
    """Read tables once, row by row.

    Args:
        files: of the recipe.
        towers: of the recipe.
        writers: where the items of each go.
        captions: whether two texts of one row are a pair too.
        progress: called with the number of rows just read.

    Raises:
        DataError: a file or column does not exist, or is damaged as a whole.
    """
    sides = {name: SideRead() for name in towers}
    halves = {name: dict.fromkeys((_FILLED, _MISSING, _REFUSED), 0) for name in towers}
    texts = frozenset(name for name, tower in towers.items() if tower.kind == "text")
    read = RowsRead(array("q"), [], [], [], sides, texts, halves, 0, ReadReport())
    several = texts if captions else frozenset()
    for place, file in enumerate(files):
        table = open_partners(file, towers)
        for count, row in enumerate(table.rows(), start=1):
            if count % _AT_A_TIME == 0:
                progress(_AT_A_TIME)
            if row.split and row.split not in SIDES:
                # A word that is misspelt must not have a row of the test trained on.
                read.report.skip(row.location, "unknown split", detail=f"{row.split!r} is none of {', '.join(SIDES)}")
                continue
            _count(row, read)
            items: dict[str, dict[tuple[int, int], int]] = {}
            if _is_pair({name: len(found) for name, found in row.cells.items()}, several):
                items = _added(row, file.path.parent, writers, read)
            if not _is_pair({name: len({number for number, _ in found}) for name, found in items.items()}, several):
                read.alone += 1
                continue
            for name, side in sides.items():
                side.add(items.get(name, {}))
            read.files.append(place)
            read.labels.append(row.label)
            read.splits.append(row.split)
            read.groups.append(row.group)
        progress(table.report.read % _AT_A_TIME)
        read.report.read += table.report.read
        read.report.add(table.report)
    return read


def open_partners(file: PairFile, towers: Mapping[str, AnyTower]) -> PartnerTable:
    """What reads a table of a recipe."""
    sides = {name: SideColumns(towers[name].kind, columns) for name, columns in file.columns.items()}
    return PartnerTable(file.path, sides, label=file.label, split=file.split, group=file.group)


def _count(row: PartnerRow, read: RowsRead) -> None:
    """Note down what a row lacks."""
    for name, missing in row.missing.items():
        read.halves[name][_MISSING] += missing
    for cell in row.refused:
        read.halves[cell.side][_REFUSED] += 1
        read.report.skip(row.location, cell.reason, detail=cell.detail)


def _is_pair(counts: Mapping[str, int], texts: frozenset[str]) -> bool:
    """Whether items of so many of each tower can be partners."""
    sides = sum(count > 0 for count in counts.values())
    return sides > 1 or any(counts.get(name, 0) > 1 for name in texts)


def _added(
    row: PartnerRow, folder: Path, writers: Mapping[str, ItemWriter], read: RowsRead
) -> dict[str, dict[tuple[int, int], int]]:
    """Hand the items of a row to their towers: tower -> (number, place of its column) -> key."""
    added: dict[str, dict[tuple[int, int], int]] = {}
    for name, found in row.cells.items():
        mine = added.setdefault(name, {})
        refused = set()
        for content, column in found:
            try:
                number = writers[name].add(content, row.location)
            except RefusedItem as error:
                refused.add(column)
                read.report.skip(row.location, error.reason, detail=error.detail)
                continue
            mine[number, column] = _key(content, folder)
        read.halves[name][_REFUSED] += len(refused)
        read.halves[name][_FILLED] += len({column for _, column in found} - refused)
    return added


def _key(content: Any, folder: Path) -> int:
    if isinstance(content, bytes):
        return content_key(content)
    if isinstance(content, Path):
        return text_key(Path(os.path.relpath(content, folder)).as_posix())
    if isinstance(content, Mapping):
        return text_key(repr(sorted(content.items())))
    return text_key(str(content))
