"""Finding items that are the same or nearly so, and which one of each group to keep."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nearfar.edge.collections.collection import Rows
from nearfar.progress import Stages, Tick, silent

_ROWS, _COLUMNS = 512, 4096

Confirm = Callable[[int, int], bool]
"""Whether two rows that are near by cosine are duplicates after all."""


class Duplicate(NamedTuple):
    """An item that may go.

    Attributes:
        row: its row.
        cosine: with the item that is kept; 1 for an exact copy.
        exact: it is the same in every byte.
    """

    row: int
    cosine: float
    exact: bool


class Group(NamedTuple):
    """An item that stays, and its duplicates, nearest first.

    Attributes:
        kept: row of the item that stays.
        duplicates: at least one.
    """

    kept: int
    duplicates: tuple[Duplicate, ...]


def find_duplicates(
    vectors: Rows,
    threshold: float,
    *,
    digests: Sequence[bytes] | None = None,
    preference: npt.ArrayLike | None = None,
    confirm: Confirm | None = None,
    stages: Stages = silent,
) -> list[Group]:
    """Groups of near-identical items, one kept of each.

    Pairs with a cosine of at least `threshold` link items to components (union-find). A component may be a chain whose ends
    have nothing in common, so it is split: the most preferred item is kept and takes what is near to itself; the rest goes
    the same way. Hence every duplicate is a duplicate of the very item that is kept. Exact copies are never compared.

    All pairs are looked at, so time grows with n squared; memory beside the inputs is about 50 MB and some numbers an item.

    Args:
        vectors: (n, d), rows of unit length.
        threshold: least cosine of near-identical items, above -1 and at most 1.
        digests: n digests of the contents; equal ones are exact copies. Without them there are none.
        preference: (n,) numbers; of a group the item with the largest is kept, of equal ones the first.
        confirm: asked for each near pair of a kept item and another; what it refuses stays.
        stages: told how far it is.

    Returns:
        The groups, in the order of the items kept.

    Raises:
        ValueError: shapes do not fit, or the threshold is out of range.
    """
    if vectors.ndim != 2 or not -1 < threshold <= 1:
        raise ValueError(f"vectors must be (n, d) and threshold in (-1, 1], got {vectors.shape} and {threshold}")
    count = len(vectors)
    wanted = np.zeros(count) if preference is None else np.asarray(preference, dtype=np.float64)
    if wanted.shape != (count,) or (digests is not None and len(digests) != count):
        raise ValueError(f"{count} vectors need as many digests and preferences")
    order = np.lexsort((np.arange(count), -wanted))
    copies = _exact_copies(order, digests)
    single = np.array([row for row in order.tolist() if row in copies], dtype=np.int64)
    groups = {row: [Duplicate(copy, 1.0, True) for copy in same] for row, same in copies.items()}
    tick = stages("comparing", len(single))
    for component in _components(vectors, np.sort(single), threshold, tick):
        rank = np.lexsort((component, -wanted[component]))
        for kept, near in _stars(vectors, component[rank], threshold, confirm):
            for other, cosine in near:
                groups[kept].append(Duplicate(other, cosine, False))
                groups[kept] += [Duplicate(copy, cosine, False) for copy in copies[other]]
                del groups[other]
    found = [
        Group(kept, tuple(sorted(rest, key=lambda one: (-one.cosine, one.row))))
        for kept, rest in groups.items()
        if rest
    ]
    return sorted(found)


def _exact_copies(order: npt.NDArray[np.int64], digests: Sequence[bytes] | None) -> dict[int, list[int]]:
    """The most preferred row of each content -> the other rows with it."""
    if digests is None:
        return {row: [] for row in order.tolist()}
    first: dict[bytes, int] = {}
    copies: dict[int, list[int]] = {}
    for row in order.tolist():
        known = first.setdefault(digests[row], row)
        if known == row:
            copies[row] = []
        else:
            copies[known].append(row)
    return copies


def _components(
    vectors: Rows, rows: npt.NDArray[np.int64], threshold: float, tick: Tick
) -> Iterator[npt.NDArray[np.int64]]:
    """Rows that are linked by near pairs, two or more at a time, in ascending order."""
    of = np.arange(len(rows))
    for start in range(0, len(rows), _ROWS):
        ours = np.asarray(vectors[rows[start : start + _ROWS]], dtype=np.float32)
        for begin in range(start, len(rows), _COLUMNS):
            others = np.asarray(vectors[rows[begin : begin + _COLUMNS]], dtype=np.float32)
            left, right = np.nonzero(ours @ others.T >= threshold)
            _link(of, left + start, right + begin)
        tick(len(ours))
    order = np.argsort(of, kind="stable")
    borders = np.flatnonzero(np.diff(of[order])) + 1
    for component in np.split(order, borders):
        if len(component) > 1:
            yield rows[component]


def _link(of: npt.NDArray[np.int64], left: npt.NDArray[np.int64], right: npt.NDArray[np.int64]) -> None:
    """Join the components of pairs; `of` names for each row the lowest row of its component.

    A union-find without a loop over pairs, of which a block of equal items has millions: every component takes the lowest name
    it is linked to, names are followed to their end, and so on until no pair is apart.
    """
    while True:
        one, other = of[left], of[right]
        apart = one != other
        if not apart.any():
            return
        left, right, one, other = left[apart], right[apart], one[apart], other[apart]
        above = np.arange(len(of))
        np.minimum.at(above, np.maximum(one, other), np.minimum(one, other))
        while not np.array_equal(further := above[above], above):
            above = further
        of[:] = above[of]


def _stars(
    vectors: Rows, rows: npt.NDArray[np.int64], threshold: float, confirm: Confirm | None
) -> Iterator[tuple[int, list[tuple[int, float]]]]:
    """Each kept row of a component, most preferred first, with the rows that it stands for."""
    left = np.asarray(vectors[rows], dtype=np.float32)
    stays = np.ones(len(rows), dtype=bool)
    for place in range(len(rows) - 1):
        if not stays[place]:
            continue
        others = slice(place + 1, None)
        cosines = np.minimum(left[others] @ left[place], 1.0)
        kept = int(rows[place])
        near = [int(one) for one in np.flatnonzero((cosines >= threshold) & stays[others])]
        if confirm is not None:
            near = [one for one in near if confirm(kept, int(rows[place + 1 + one]))]
        if near:
            yield kept, [(int(rows[place + 1 + one]), float(cosines[one])) for one in near]
        stays[[place + 1 + one for one in near]] = False
