"""The rows of a run on disk: features in two arrays, a few numbers for each row beside them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nearfar.errors import DataError
from nearfar.frontend.cells import MISSING
from nearfar.frontend.settings import IgnoredColumn, TableSettings
from nearfar.frontend.table import TableFrontend
from nearfar.frontend.table_columns import ColumnChoice, ColumnSummary, TableLook
from nearfar.learn.data.split import SIDES, TEST, TRAIN, VALIDATION, sides_by_component, sides_by_group
from nearfar.learn.data.textfile import TextFile, append_text, text_key
from nearfar.learn.data.whole import write_whole
from nearfar.recipe.data import Data
from nearfar.recipe.table import RowColumns, RowsSource, TableFrontendSettings
from nearfar.sources.row_table import RowTable, TableRow

Ints = npt.NDArray[np.int64]

_AT_A_TIME = 4096


@dataclass(frozen=True)
class RowCounts:
    """What the corpus holds."""

    rows: int
    train: int
    validation: int
    test: int
    labelled: int
    classes: list[str]
    columns: list[ColumnSummary]
    fingerprint: str
    skipped: dict[str, int] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class RowCorpus:
    """Rows by number.

    Attributes:
        values: float32 (n, F), scaled numbers.
        codes: int64 (n, F), which category, or whether a number is there.
        labels: (n,) int64, places in `counts.classes`; -1 for none.
        side: (n,) TRAIN, VALIDATION or TEST.
        ids: the name of each row in its source.
        settings: what the columns are, as on the device.
        counts: how many of everything.
    """

    values: npt.NDArray[np.float32]
    codes: Ints
    labels: Ints
    side: npt.NDArray[np.int8]
    ids: TextFile
    settings: TableSettings
    counts: RowCounts

    def numbers_of(self, side: int) -> Ints:
        """The numbers of the rows of one side."""
        return np.flatnonzero(self.side == side)

    @classmethod
    def open(cls, directory: Path) -> RowCorpus:
        """Open a corpus that `prepare_rows` wrote."""
        found = json.loads((directory / "rows.json").read_text("utf-8"))
        found["columns"] = [ColumnSummary(*column) for column in found["columns"]]
        settings = TableSettings.model_validate_json((directory / "columns.json").read_bytes())
        values, codes = (np.load(directory / f"{name}.npy", mmap_mode="r") for name in ("values", "codes"))
        with np.load(directory / "rows.npz") as arrays:
            labels, side = arrays["labels"], arrays["side"]
        return cls(values, codes, labels, side, TextFile(directory / "ids"), settings, RowCounts(**found))


def open_rows(source: RowsSource) -> RowTable:
    """What reads the rows of a recipe."""
    columns = source.columns
    return RowTable(source.path, label=columns.label, id=columns.id, split=columns.split, group=columns.group)


def prepare_rows(
    data: Data,
    frontend: TableFrontendSettings,
    directory: Path,
    seed: int,
    progress: Callable[[int], None] = lambda _: None,
) -> RowCorpus:
    """Read the source twice, once to find out what the columns are and once to make features, and leave them in `directory`.

    Scales and categories are those of the training rows.

    Args:
        data: the recipe's data block.
        frontend: the recipe's frontend block.
        directory: where the files go; an unfinished earlier attempt there is overwritten.
        seed: of the split.
        progress: called with the number of rows just read.

    Raises:
        DataError: where nothing could be read, or rows were bad and `bad_rows` is `refuse`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    assert isinstance(data.source, RowsSource)
    source = open_rows(data.source)
    look, noted = look_at(source, frontend, progress)
    skipped, examples = dict(source.report.skipped), list(source.report.examples)
    if skipped and data.bad_rows == "refuse":
        raise DataError(
            f"{sum(skipped.values())} rows could not be read, first: {'; '.join(examples)}. Mend them, or set data.bad_rows to skip."
        )
    side = _sides(noted, data, seed)
    settings = settings_of(look, data.source.columns, frontend, train=side == TRAIN)
    _write_features(source, settings, directory, look.rows, progress)
    classes = sorted(set(noted.labels) - {""})
    place = {name: i for i, name in enumerate(classes)}
    labels = np.array([place.get(label, -1) for label in noted.labels], np.int64)
    np.savez(directory / "rows.npz", labels=labels, side=side)
    with TextFile.writer(directory / "ids") as ids:
        for one in noted.ids:
            append_text(ids, one)
    write_whole(directory / "columns.json", settings.model_dump_json())
    counts = RowCounts(
        rows=len(side),
        train=int((side == TRAIN).sum()),
        validation=int((side == VALIDATION).sum()),
        test=int((side == TEST).sum()),
        labelled=int((labels >= 0).sum()),
        classes=classes,
        columns=look.summaries(settings),
        fingerprint=hashlib.sha256(np.asarray(noted.keys, dtype="<i8").tobytes()).hexdigest(),
        skipped=skipped,
        examples=examples,
    )
    # Last: its presence says that the corpus is whole.
    write_whole(directory / "rows.json", json.dumps(asdict(counts), indent=1, ensure_ascii=False))
    return RowCorpus.open(directory)


class _Noted:
    """What is noted down of each row."""

    def __init__(self) -> None:
        self.keys: list[int] = []
        self.ids: list[str] = []
        self.labels: list[str] = []
        self.splits: list[str] = []
        self.groups: list[int] = []

    def add(self, row: TableRow) -> None:
        self.keys.append(text_key(repr(sorted(row.cells.items()))))
        self.ids.append(row.id)
        self.labels.append(row.label)
        self.splits.append(row.split)
        self.groups.append(text_key(row.group))


def missing_texts(frontend: TableFrontendSettings) -> tuple[str, ...]:
    """The texts that stand for nothing."""
    return MISSING if frontend.missing is None else ("", *frontend.missing)


def look_at(
    source: RowTable, frontend: TableFrontendSettings, progress: Callable[[int], None] = lambda _: None
) -> tuple[TableLook, _Noted]:
    """Look at every row of a source.

    Raises:
        DataError: where nothing could be read.
    """
    look, noted = TableLook(missing_texts(frontend)), _Noted()
    for row in source.rows():
        look.add(row.cells)
        noted.add(row)
        if look.rows % 1000 == 0:
            progress(1000)
    progress(look.rows % 1000)
    return look, noted


def settings_of(
    look: TableLook, columns: RowColumns, frontend: TableFrontendSettings, *, train: npt.NDArray[np.bool_] | None = None
) -> TableSettings:
    """What the columns are: as the recipe says, else as they look. Those with another use are named among the ignored.

    Raises:
        DataError: a column that the recipe names is not there, or there is nothing to learn from.
    """
    choice = ColumnChoice(columns.numbers, columns.categories, columns.dates, columns.ignore)
    settings = look.settings(choice, train=train, scale=frontend.scale, most_categories=frontend.most_categories)
    uses = {"label": columns.label, "id": columns.id, "split": columns.split, "group": columns.group}
    own = tuple(IgnoredColumn(name=name, why=f"the {use}") for use, name in uses.items() if name is not None)
    return settings.model_copy(update={"ignored": (*settings.ignored, *own)})


def _write_features(
    source: RowTable, settings: TableSettings, directory: Path, rows: int, progress: Callable[[int], None]
) -> None:
    """Read the rows again, through the frontend of the device."""
    frontend = TableFrontend(settings)
    shape = (rows, len(frontend.widths))
    values = np.lib.format.open_memmap(directory / "values.npy", mode="w+", dtype=np.float32, shape=shape)
    codes = np.lib.format.open_memmap(directory / "codes.npy", mode="w+", dtype=np.int64, shape=shape)
    cells: Iterator[object] = (row.cells for row in source.rows())
    done = 0
    while batch := list(islice(cells, _AT_A_TIME)):
        if done + len(batch) > rows:
            raise DataError(f"{source.path}: the table grew while it was read: begin again")
        features = frontend.encode(batch)
        values[done : done + len(batch)], codes[done : done + len(batch)] = features
        done += len(batch)
        progress(0)
    if done != rows:
        raise DataError(f"{source.path}: the table shrank while it was read: begin again")
    values.flush()
    codes.flush()


def _sides(noted: _Noted, data: Data, seed: int) -> npt.NDArray[np.int8]:
    """Side of each row: that which it came with, else drawn; rows that are equal in every cell are on one side.

    What a source that tells its training rows apart does not have (validation, test) is drawn from these.
    """
    split, keys = data.split, np.array(noted.keys, np.int64)
    groups = np.array(noted.groups, np.int64)
    if split.by == "group" and (groups == text_key("")).all():
        raise DataError(
            "data.split.by is group, but no row has a group: name data.source.columns.group, or set data.split.by to random"
        )
    groups = np.where(groups == text_key(""), keys, groups)
    given = np.array([SIDES.get(name, -1) for name in noted.splits], np.int8)

    def drawn(some: npt.NDArray[np.bool_], validation: float, test: float) -> npt.NDArray[np.int8]:
        if split.by == "group":
            return sides_by_group(groups[some].tolist(), validation, test, seed)
        return sides_by_component(keys[some], validation, test, seed)

    side = given.copy()
    side[given < 0] = drawn(given < 0, split.validation, split.test)
    shares = {VALIDATION: split.validation, TEST: split.test}
    lacking = [0.0 if (given == held_out).any() else share for held_out, share in shares.items()]
    side[given == TRAIN] = drawn(given == TRAIN, *lacking)
    return side
