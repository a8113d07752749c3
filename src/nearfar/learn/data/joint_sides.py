"""What is held out of rows of partners: the split they came with, or one that is drawn; copies are on one side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nearfar.errors import DataError
from nearfar.learn.data.joint_rows import RowsRead, SideRead
from nearfar.learn.data.noted import content_key
from nearfar.learn.data.split import (
    DROPPED,
    SIDES,
    TEST,
    TRAIN,
    VALIDATION,
    components,
    sides_by_component,
    sides_by_group,
)
from nearfar.learn.data.textfile import text_key
from nearfar.recipe.data import Split
from nearfar.recipe.joint import AnyTower

Ints = npt.NDArray[np.int64]

_OFTEN = 8
_OFTEN_SHARE = 0.01
"""What stands in more rows of a file than both of these say is no copy: it names a class, such as the word of a digit."""


class Tie(NamedTuple):
    """What rows share.

    Attributes:
        rows: (m,) numbers of rows.
        keys: (m,) of what stands in them.
        copies: whether two rows with one key are copies of each other, of which one must not be trained on while the other is held out.
    """

    rows: Ints
    keys: Ints
    copies: bool


def sides_of_rows(
    read: RowsRead, towers: Mapping[str, AnyTower], split: Split, *, columns: Sequence[str | None], seed: int
) -> npt.NDArray[np.int8]:
    """Side of each row: that which its file says, else drawn.

    Rows that share a picture, a recording or a file of samples, or have just the same texts, are copies, as are those with equal
    cells; unless so many rows share it that it names a class. Drawn sides keep copies together, and what they are copies of in turn.
    What a file that tells its training rows apart does not have (validation, test) is drawn from these. What is held out is not
    trained on under another row, whatever the file says: such rows are dropped.

    Args:
        read: the rows.
        towers: of the recipe.
        split: the recipe's rule.
        columns: of each file the column with groups, for messages.
        seed: of what is drawn.

    Returns:
        int8 (n,) of TRAIN, VALIDATION, TEST, DROPPED.

    Raises:
        DataError: a split by group without groups.
    """
    files = np.asarray(read.files, np.int64)
    given = np.array([SIDES.get(name, -1) for name in read.splits], np.int8)
    ties = [_tie(name, side, towers[name], files) for name, side in read.sides.items()]
    keys = row_keys(read)
    whole = components(keys, [(keys[tie.rows], tie.keys) for tie in ties])
    if split.by == "group":
        whole = _groups(read.groups, whole, columns)

    def drawn(some: npt.NDArray[np.bool_], validation: float, test: float) -> npt.NDArray[np.int8]:
        if split.by == "group":
            return sides_by_group(whole[some].tolist(), validation, test, seed)
        return sides_by_component(whole[some], validation, test, seed)

    side = given.copy()
    side[given < 0] = drawn(given < 0, split.validation, split.test)
    shares = {VALIDATION: split.validation, TEST: split.test}
    for file in np.unique(files[given >= 0]):
        mine = files == file
        lacking = [0.0 if (given[mine] == held_out).any() else share for held_out, share in shares.items()]
        some = mine & (given == TRAIN)
        side[some] = drawn(some, *lacking)
    return without_copies(side, ties)


def without_copies(side: npt.NDArray[np.int8], ties: Sequence[Tie]) -> npt.NDArray[np.int8]:
    """Drop rows to validate on that are copies of those to test on, and rows to train on that are copies of either."""
    side = side.copy()
    for loser, held_out in ((VALIDATION, (TEST,)), (TRAIN, (VALIDATION, TEST))):
        shared = np.zeros(len(side), bool)
        for tie in ties:
            if tie.copies:
                known = tie.keys[np.isin(side[tie.rows], held_out)]
                shared[tie.rows[np.isin(tie.keys, known)]] = True
        side[shared & (side == loser)] = DROPPED
    return side


def row_keys(read: RowsRead) -> Ints:
    """(n,) a key for the content of each row, which does not depend on the other rows."""
    digests = []
    parts = [(side.starts, side.item_keys) for side in read.sides.values()]
    for row in range(len(read.files)):
        cells = [np.sort(keys[starts[row] : starts[row + 1]]) for starts, keys in parts]
        digests.append(content_key(b"|".join(cell.astype("<i8").tobytes() for cell in cells)))
    return np.array(digests, np.int64)


def _tie(name: str, side: SideRead, tower: AnyTower, files: Ints) -> Tie:
    """What rows share of one tower, without what names a class."""
    rows, keys = side.rows, side.item_keys
    if tower.kind == "text":
        # Two things may share a keyword; who shares all that is said of it is the same thing.
        starts = side.starts
        rows = np.flatnonzero(np.diff(starts))
        keys = np.array(
            [content_key(np.unique(keys[starts[row] : starts[row + 1]]).tobytes()) for row in rows], np.int64
        )
    keys = keys ^ text_key(name)  # equal texts of two towers are no tie
    stands = np.unique(np.stack([files[rows], rows, keys]), axis=1)
    of_file, counts = np.unique(stands[[0, 2]], axis=1, return_counts=True)
    most = np.maximum(_OFTEN, _OFTEN_SHARE * np.bincount(files, minlength=int(files.max(initial=0)) + 1))
    often = of_file[1][counts > most[of_file[0]]]
    kept = ~np.isin(keys, often)
    # A row of numbers and categories may come again without being a copy: a machine is set alike on many days.
    return Tie(rows[kept], keys[kept], copies=tower.kind != "table")


def _groups(groups: Sequence[str], components: Ints, columns: Sequence[str | None]) -> Ints:
    """The group of each row; one that has none goes with its copies."""
    named = np.array([text_key(group) if group else 0 for group in groups], np.int64)
    if not (named != 0).any():
        said = sorted({column for column in columns if column is not None})
        where = f"the column {', '.join(said)} is empty in every row" if said else "no file names a column of groups"
        raise DataError(
            f"data.split.by is group, but {where}: name data.source.files.0.group, or set data.split.by to random"
        )
    return np.where(named == 0, components, named)
