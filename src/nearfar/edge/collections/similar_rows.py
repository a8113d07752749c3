"""The rows of a table that are most like one of them, or like a row that is not in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nearfar.edge.collections.collection import Collection
from nearfar.embedder import Embedder
from nearfar.errors import DataError


class Similar(NamedTuple):
    """A row that was found.

    Attributes:
        row: its place in the collection.
        cosine: with what it is similar to.
    """

    row: int
    cosine: float


def row_called(ids: Iterable[str], name: str) -> int:
    """The place of a row by its id; `17` is also the row on line 17, where no row has that id.

    Args:
        ids: of the rows, in their order; at least one.
        name: an id, or the number of a line.

    Raises:
        DataError: there is no such row.
    """
    ends = f"#{name}"
    first, numbered, count = "", None, 0
    for place, one in enumerate(ids):
        if one == name:
            return place
        if numbered is None and one.endswith(ends):
            numbered = place
        first, count = first or one, place + 1
    if numbered is None:
        raise DataError(
            f"there is no row {name!r} among {count:,}: give an id such as {first!r}, or the number of a line"
        )
    return numbered


def similar_to_row(collection: Collection, row: int, k: int = 10) -> list[Similar]:
    """The k rows most like one of the collection, best first, without itself."""
    found = _nearest(collection, np.asarray(collection.vectors[row], np.float32), k + 1)
    return [one for one in found if one.row != row][:k]


def similar_to_cells(
    collection: Collection, cells: Mapping[str, Any], embedder: Embedder, k: int = 10
) -> list[Similar]:
    """The k rows most like a row that is given by its cells, best first.

    Raises:
        DataError: the cells are of no column that the encoder knows.
    """
    return _nearest(collection, embedder.embed([cells])[0], k)


def _nearest(collection: Collection, vector: npt.NDArray[np.float32], k: int) -> list[Similar]:
    cosines = np.empty(len(collection), np.float32)
    for start in range(0, len(collection), 16_384):
        some = slice(start, start + 16_384)
        cosines[some] = np.asarray(collection.vectors[some], np.float32) @ vector
    best = np.argsort(-cosines, kind="stable")[:k]
    return [Similar(int(row), min(float(cosines[row]), 1.0)) for row in best]
