"""Rows as items of a collection: their cells as lines, what two of them have in common, and what tells clusters apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from zlib import crc32

import numpy as np

from nearfar.errors import DataError
from nearfar.frontend.cells import as_category, as_days, as_number, is_missing
from nearfar.frontend.settings import CategoryColumn, NumberColumn, TableSettings

_NOTHING = "-"


def row_text(cells: Mapping[str, Any], settings: TableSettings) -> str:
    """A line `column: cell` for each column that the encoder looks at, in their order; `-` where the cell is missing."""
    return "\n".join(f"{_line(column.name)}: {_shown(cells.get(column.name), settings)}" for column in settings.columns)


def check_cells(cells: Mapping[str, Any], settings: TableSettings) -> None:
    """Refuse what the encoder would take for missing though somebody has written it: text in a column of numbers or dates.

    Raises:
        DataError: names the column.
    """
    missing = frozenset(settings.missing)
    for column in settings.columns:
        cell = cells.get(column.name)
        if is_missing(cell, missing) or isinstance(column, CategoryColumn):
            continue
        is_number = isinstance(column, NumberColumn)
        if (as_number(cell) if is_number else as_days(cell)) is None:
            kind, such = ("numbers", "41 or 3.5") if is_number else ("dates", "2024-05-31")
            raise DataError(
                f'column "{column.name}" is of {kind}, and {cell!r} is none: write it like {such}, or leave it out'
            )


def cells_of(text: str, settings: TableSettings) -> list[str]:
    """The cells of `row_text`, one for each column."""
    lines = text.split("\n")
    return [line[len(_line(column.name)) + 2 :] for line, column in zip(lines, settings.columns, strict=True)]


def alike(texts: Iterable[str]) -> Callable[[int, int], float]:
    """What tells the share of the columns in which two rows, by number, have the same cell.

    Memory is four bytes a cell.

    Args:
        texts: n rows as `row_text` gives them.
    """
    keys = np.array([[crc32(line.encode()) for line in text.split("\n")] for text in texts], dtype=np.uint32)
    return lambda one, other: float(np.count_nonzero(keys[one] == keys[other])) / keys.shape[1]


def top_cells(
    texts: Iterable[str], clusters: Sequence[int], settings: TableSettings, *, count: int = 5
) -> list[list[str]]:
    """What tells the rows of each cluster from the others: categories, and numbers in the lower or upper third of all.

    They are ordered by what they add to the divergence of the cluster from all rows, `p log(p / q)`, where p is their share in the
    cluster and q that in all.

    Args:
        texts: n rows as `row_text` gives them.
        clusters: n numbers, from 0.
        settings: what the columns are.
        count: of each cluster.

    Returns:
        A list for each cluster, such as `["relationship: Own-child", "age <= 28"]`.
    """
    rows = [cells_of(text, settings) for text in texts]
    of = np.asarray(clusters)
    groups = [Counter[str]() for _ in range(int(of.max()) + 1 if len(of) else 0)]
    for number, column in enumerate(settings.columns):
        cells = [row[number] for row in rows]
        if isinstance(column, CategoryColumn):
            said = [f"{_line(column.name)}: {cell}" for cell in cells]
        elif isinstance(column, NumberColumn):
            said = _thirds(_line(column.name), [as_number(cell) for cell in cells])
        else:
            continue
        for cluster, words in zip(of.tolist(), said, strict=True):
            if words:
                groups[cluster][words] += 1
    everywhere = Counter[str]()
    for group in groups:
        everywhere.update(group)
    sizes = np.bincount(of, minlength=len(groups))
    named = []
    for group, size in zip(groups, sizes.tolist(), strict=True):
        gains = {
            words: many / size * np.log((many / size) / (everywhere[words] / len(of))) for words, many in group.items()
        }
        best = sorted(gains, key=lambda words: (-gains[words], words))
        named.append([words for words in best if gains[words] > 0][:count])
    return named


def _thirds(name: str, numbers: Sequence[float | None]) -> list[str]:
    """Whether each number is in the lower or upper third of those that are not the commonest; empty where neither, or missing."""
    found = np.array([number for number in numbers if number is not None])
    if not len(found):
        return [""] * len(numbers)
    low, high = np.quantile(found, (1 / 3, 2 / 3))
    if low == high:  # more than a third are alike: what differs is told apart from them
        below, above = (found[found < low], found[found > high])
        low, high = (below.max() if len(below) else -np.inf), (above.min() if len(above) else np.inf)
    return [
        ""
        if number is None
        else f"{name} <= {low:g}"
        if number <= low
        else f"{name} >= {high:g}"
        if number >= high
        else ""
        for number in numbers
    ]


def _shown(cell: Any, settings: TableSettings) -> str:
    return _NOTHING if is_missing(cell, frozenset(settings.missing)) else _line(as_category(cell))


def _line(text: str) -> str:
    return " ".join(text.split())
