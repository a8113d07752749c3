"""Which items of several towers belong together: the corpus of a run over pairs of modalities, on disk and in memory."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nearfar.errors import DataError
from nearfar.learn.data.alike import alike_texts
from nearfar.learn.data.joint_rows import RowsRead, read_partners
from nearfar.learn.data.joint_sides import sides_of_rows
from nearfar.learn.data.noted import check_bad_rows, numbered
from nearfar.learn.data.split import DROPPED, TEST, TRAIN, VALIDATION
from nearfar.learn.data.whole import write_whole
from nearfar.learn.towers.build import build_towers
from nearfar.learn.towers.tower import Items, ItemWriter, Tower
from nearfar.progress import Stages, silent
from nearfar.recipe import Recipe
from nearfar.recipe.joint import PairFile, PartnersPairing

Ints = npt.NDArray[np.int64]

_WHOLE = "joint.json"


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

    def rows_of(self, side: int) -> Ints:
        """The numbers of the rows of one side."""
        return np.flatnonzero(self.side == side)

    @classmethod
    def open(cls, directory: Path) -> JointCorpus:
        """Open a corpus that `prepare_joint` left in `directory`."""
        found = json.loads((directory / _WHOLE).read_text("utf-8"))
        found["streams"] = [Stream(*stream) for stream in found["streams"]]
        counts = JointCounts(**found)
        with np.load(directory / "joint.npz") as arrays:
            kept = {name: arrays[name] for name in arrays.files}
        sides = {
            name: Sides(kept[f"{name}.starts"], kept[f"{name}.items"], kept[f"{name}.columns"]) for name in counts.items
        }
        alike = {name: kept[f"{name}.alike"] for name in counts.items if f"{name}.alike" in kept}
        return cls(kept["side"], kept["files"], kept["labels"], sides, alike, counts)


def prepare_joint(
    recipe: Recipe, directory: Path, stages: Stages = silent, towers: Mapping[str, Tower] | None = None
) -> JointCorpus:
    """Read the tables of a recipe once, keep their items tower by tower, split their rows, and leave all in `directory`.

    Args:
        recipe: for several modalities.
        directory: where the files go, the items of a tower into `towers/<name>`. What an unfinished earlier attempt left there is
            removed.
        stages: told what is being done.
        towers: of the recipe; by default they are built.

    Raises:
        DataError: the tables cannot be read, nothing in them can be paired, rows were bad and `bad_rows` is `refuse`, or nothing is
            left to train on.
        RunError: a pretrained model or bundle is not there, or does not fit.
    """
    if (directory / _WHOLE).is_file():
        return JointCorpus.open(directory)
    source, pairing, settings, _, _ = recipe.of_joint
    built = build_towers(settings) if towers is None else towers
    shutil.rmtree(directory / "towers", ignore_errors=True)
    (directory / "towers").mkdir(parents=True)
    folders = {name: directory / "towers" / name for name in settings}
    writers = {name: built[name].writer(folder, seed=recipe.seed) for name, folder in folders.items()}
    read = read_partners(source.files, settings, writers, captions=pairing.captions > 0, progress=stages("reading"))
    check_bad_rows(recipe.data, read.report.skipped, read.report.examples)
    _check_pairs(read)
    groups = [file.group for file in source.files]
    side = sides_of_rows(read, settings, recipe.data.split, columns=groups, seed=recipe.seed)
    items = _finished(read, side, writers, built, folders, stages)
    arrays: dict[str, npt.NDArray[Any]] = {"side": side, "files": np.asarray(read.files, np.int64)}
    classes, arrays["labels"] = numbered(read.labels)
    for name, mine in read.sides.items():
        arrays[f"{name}.starts"] = mine.starts
        arrays[f"{name}.items"], arrays[f"{name}.columns"] = (
            np.asarray(column, np.int64) for column in (mine.items, mine.columns)
        )
        if settings[name].kind == "text":
            texts = items[name].raw(np.arange(len(items[name])))
            tick = stages(f"comparing {name}", len(texts))
            arrays[f"{name}.alike"] = alike_texts(texts, pairing.similar, progress=tick)
    np.savez(directory / "joint.npz", **arrays)  # type: ignore[arg-type]  # numpy 1.26 has no stubs for arrays by name
    counts = JointCounts(
        rows=len(side),
        train=int((side == TRAIN).sum()),
        validation=int((side == VALIDATION).sum()),
        test=int((side == TEST).sum()),
        dropped=int((side == DROPPED).sum()),
        items={name: len(some) for name, some in items.items()},
        streams=streams_of(source.files, pairing, read),
        labels=classes,
        halves=read.halves,
        alone=read.alone,
        fingerprint=_fingerprint(read, items, arrays["labels"], classes),
        skipped=read.report.skipped,
        examples=read.report.examples,
    )
    # Last: its presence says that the corpus is whole.
    write_whole(directory / _WHOLE, json.dumps(asdict(counts), indent=1, ensure_ascii=False))
    return JointCorpus.open(directory)


def streams_of(files: Sequence[PairFile], pairing: PartnersPairing, read: RowsRead) -> list[Stream]:
    """The kinds of pairs that there are rows of: of every two towers of a file, or of those with the anchor."""
    found = []
    of_file = np.asarray(read.files, np.int64)
    counts = {name: np.diff(side.starts) for name, side in read.sides.items()}
    for place, file in enumerate(files):
        mine = of_file == place
        named = [name for name in read.sides if name in file.columns]
        for left, right in combinations(named, 2):
            if pairing.anchor not in (None, left, right):
                continue
            if (mine & (counts[left] > 0) & (counts[right] > 0)).any():
                found.append(Stream(place, left, right, file.weight))
        if pairing.captions > 0:
            several = (name for name in named if name in read.texts and (mine & (counts[name] > 1)).any())
            found += (Stream(place, name, name, pairing.captions * file.weight) for name in several)
    return found


def _finished(
    read: RowsRead,
    side: npt.NDArray[np.int8],
    writers: Mapping[str, ItemWriter],
    towers: Mapping[str, Tower],
    folders: Mapping[str, Path],
    stages: Stages,
) -> dict[str, Items]:
    """Fit what is fitted to the training items of each tower, and open them."""
    items = {}
    for name, mine in read.sides.items():
        training = np.unique(np.asarray(mine.items, np.int64)[(side == TRAIN)[mine.rows]])
        if not len(training):
            raise DataError(
                f"nothing is left to train the tower {name} on: of {len(side):,} rows {int((side == TRAIN).sum()):,} are to train on, "
                f"{int((side == DROPPED).sum()):,} were left out because they are copies of held-out ones, and none of the former has "
                f"an item of {name}. Give more rows, or lower data.split.validation and data.split.test; where a column says the split, "
                "some of its rows must say train"
            )
        tick = stages(f"fitting {name}")
        writers[name].finish(training)
        items[name] = towers[name].open(folders[name])
        tick(len(training), f"{len(items[name]):,} items")
    return items


def _check_pairs(read: RowsRead) -> None:
    """Refuse tables without a single pair, and a tower without a single item."""
    lost = [name for name, side in read.sides.items() if not side.items]
    if not lost:
        return
    halves = "; ".join(
        f"{name}: {', '.join(f'{number:,} {word}' for word, number in counts.items())}"
        for name, counts in read.halves.items()
    )
    first = f". The first that were passed over: {'; '.join(read.report.examples)}" if read.report.examples else ""
    what = "no row has two sides that can be used" if not len(read.files) else f"no pair has a side for {lost[0]}"
    raise DataError(
        f"{what} (cells {halves}; {read.alone:,} rows have fewer than two sides){first}. Check data.source.files: their columns, "
        "and the folder that paths in them start at, which is that of the table"
    )


def _fingerprint(read: RowsRead, items: Mapping[str, Items], labels: Ints, classes: Sequence[str]) -> str:
    """A digest of the content of all rows, in their order."""
    digest = hashlib.sha256(json.dumps(classes).encode())
    digest.update(labels.astype("<i8").tobytes())
    for name, side in read.sides.items():
        digest.update(name.encode())
        digest.update(side.starts.astype("<i8").tobytes())
        digest.update(np.asarray(items[name].keys)[np.asarray(side.items, np.int64)].astype("<i8").tobytes())
    return digest.hexdigest()
