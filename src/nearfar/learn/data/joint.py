"""Which items of several towers belong together: the corpus of a run over pairs of modalities, on disk and in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


class Stream(NamedTuple):
    """One kind of pairs: those of two towers, of one file of the recipe.

    Attributes:
        file: its place in `data.source.files`.
        left: name of the first tower; in the order of `towers` of the recipe.
        right: of the second; the same name for two captions of one row.
        weight: share of a batch, relative to other streams.
    """

    file: int
    left: str
    right: str
    weight: float


@dataclass(frozen=True)
class JointCounts:
    """What the corpus holds.

    Attributes:
        rows: rows of the tables with at least two sides that can be used.
        train: rows to train on; `validation` and `test` likewise, and `dropped`, which share an item with a held-out row.
        items: tower -> how many different items.
        streams: in the order of their numbers.
        labels: names of the labels, in the order of their numbers.
        halves: tower -> how many cells were filled, missing or refused, by the words `filled`, `missing` and `refused`.
        alone: rows that were left out because fewer than two sides can be used.
        fingerprint: of the content of all.
        skipped: what the reader passed over: how many for which reason.
        examples: the first few of them.
    """

    rows: int
    train: int
    validation: int
    test: int
    dropped: int
    items: dict[str, int]
    streams: list[Stream]
    labels: list[str]
    halves: dict[str, dict[str, int]]
    alone: int
    fingerprint: str
    skipped: dict[str, int] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Sides:
    """The items of one tower in each row: those of row r are `items[starts[r] : starts[r + 1]]`, none where it lacks that side.

    Attributes:
        starts: (rows + 1,) int64.
        items: (m,) int64, numbers of items.
        columns: (m,) int64, place of the column that each stood in, in the file's list for this tower.
    """

    starts: Ints
    items: Ints
    columns: Ints


@dataclass(frozen=True)
class JointCorpus:
    """Rows of tables, whose sides are items of towers.

    Attributes:
        side: (rows,) TRAIN, VALIDATION, TEST or DROPPED (`learn.data.split`).
        files: (rows,) int64, place of each row's file.
        labels: (rows,) int64, places in `counts.labels`; -1 for none.
        sides: tower -> its items by row.
        alike: tower of texts -> (n, p) int64: for each text the numbers of up to p texts that say the same, itself first, filled up with
            -1. Towers of other items are not there: of them only equal ones are the same.
        counts: how many of everything.
    """

    side: npt.NDArray[np.int8]
    files: Ints
    labels: Ints
    sides: Mapping[str, Sides]
    alike: Mapping[str, Ints]
    counts: JointCounts

    @classmethod
    def open(cls, directory: Path) -> JointCorpus:
        """Open a corpus that `prepare_joint` wrote."""
        raise NotImplementedError


def prepare_joint(recipe: Any, directory: Path, stages: Any) -> JointCorpus:
    """Read the tables of a recipe, keep their items tower by tower, split their rows, and leave all in `directory`."""
    raise NotImplementedError
