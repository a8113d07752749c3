"""The tower for rows of numbers and categories: features on disk, made by the device's own frontend."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from nearfar.errors import DataError, RunError
from nearfar.frontend.cells import is_missing
from nearfar.frontend.settings import TableSettings
from nearfar.frontend.table import TableFrontend
from nearfar.frontend.table_columns import TableLook
from nearfar.learn.data.table_rows import missing_texts
from nearfar.learn.data.textfile import TextFile, append_text, text_key
from nearfar.learn.data.whole import write_whole
from nearfar.learn.encoders.build_table import build_table_encoder
from nearfar.learn.export.table import export_table_graph
from nearfar.learn.towers.originals import row_text
from nearfar.learn.towers.start import check_start, joint_prefixes, load_start, run_of
from nearfar.learn.towers.tower import Inputs, RefusedItem
from nearfar.learn.towers.unpacked import Unpacked
from nearfar.recipe.joint import BundleEncoder, TableTower

Ints = npt.NDArray[np.int64]

_AT_A_TIME = 4096


class TableSide:
    """A tower for rows; see `Tower`.

    What the columns are is found out from all rows, their scales and categories from those trained on; with `start` they are those of
    that run, whose weights know no others.

    Args:
        name: of the tower.
        settings: its block.
    """

    def __init__(self, name: str, settings: TableTower) -> None:
        self.name, self.settings = name, settings

    def check(self) -> None:
        """Meet a run to start from that is not there."""
        check_start(self.settings.start, f"towers.{self.name}.start")
        self.columns_of_start()

    def writer(self, folder: Path, *, seed: int) -> RowsWriter:
        """Begin to keep items in `folder`."""
        del seed
        return RowsWriter(folder, self)

    def open(self, folder: Path) -> RowItems:
        """Open what the writer left."""
        return RowItems.open(folder)

    def encoder(self, items: RowItems, *, dim: int, started: bool = True) -> Unpacked:
        """The encoder with fresh weights, or those of `start`."""
        del dim
        settings = self.settings.encoder
        assert not isinstance(settings, BundleEncoder)
        encoder = build_table_encoder(settings, TableFrontend(items.frontend).widths)
        if started and self.settings.start is not None:
            load_start(encoder, self.settings.start, f"towers.{self.name}.start", prefixes=joint_prefixes(self.name))
        return Unpacked(encoder)

    def graph(self, encoder: nn.Module, items: RowItems, *, quantise: str, calibration: Ints) -> bytes:
        """The ONNX model of a trained encoder; see `export_table_graph`."""
        assert isinstance(encoder, Unpacked)
        return export_table_graph(encoder.encoder, features=items.values.shape[1], dim=None, quantise=quantise)

    def columns_of_start(self) -> TableSettings | None:
        """What the columns were in the run to start from; None without one.

        Raises:
            RunError: it does not say.
        """
        if self.settings.start is None:
            return None
        data = run_of(self.settings.start) / "data"
        for path in (data / "columns.json", data / "towers" / self.name / "columns.json"):
            if path.is_file():
                return TableSettings.model_validate_json(path.read_bytes())
        raise RunError(
            f"towers.{self.name}.start is of {data.parent}, which does not say what its columns were (data/columns.json): give the "
            "directory of a finished run over rows"
        )


class RowsWriter:
    """Keeps different rows; see `ItemWriter`.

    Args:
        folder: where the files go.
        tower: whose they are.
    """

    def __init__(self, folder: Path, tower: TableSide) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._tower = folder, tower
        self._missing = missing_texts(tower.settings.frontend)
        self._rows = TextFile.writer(folder / "rows")
        self._numbers: dict[int, int] = {}

    def add(self, content: Any, location: str) -> int:
        """Keep a row, if an equal one is not there yet; see `ItemWriter.add`."""
        if not isinstance(content, Mapping):
            raise RefusedItem("no row", type(content).__name__)
        if all(is_missing(cell, self._missing) for cell in content.values()):
            raise RefusedItem("nothing in any column")
        key = text_key(row_text(content, ordered=True))
        if key not in self._numbers:
            self._numbers[key] = append_text(self._rows, row_text(content))
        return self._numbers[key]

    def finish(self, training: Ints) -> None:
        """Find out what the columns are, and make features of all rows; see `ItemWriter.finish`."""
        self._rows.close()
        if not len(training):
            raise DataError("there is no row to train on: lower data.split, or leave this tower out")
        folder, rows = self._folder, TextFile(self._folder / "rows")
        settings = self._tower.columns_of_start() or self._columns(rows, training)
        frontend = TableFrontend(settings)
        parts = [
            frontend.encode([json.loads(row) for row in rows[first : first + _AT_A_TIME]])
            for first in range(0, len(rows), _AT_A_TIME)
        ]
        np.savez(
            folder / "rows.npz",
            keys=np.array(list(self._numbers), np.int64),
            values=np.concatenate([part.values for part in parts]),
            codes=np.concatenate([part.codes for part in parts]),
        )
        # Last: its presence says that the items are whole.
        write_whole(folder / "columns.json", settings.model_dump_json())

    def _columns(self, rows: TextFile, training: Ints) -> TableSettings:
        look, block = TableLook(self._missing), self._tower.settings.frontend
        for row in rows:
            look.add(json.loads(row))
        train = np.zeros(len(rows), bool)
        train[training] = True
        try:
            return look.settings(train=train, scale=block.scale, most_categories=block.most_categories)
        except DataError as error:
            raise DataError(f"tower {self._tower.name}: {error}") from error


@dataclass(frozen=True)
class RowItems:
    """The rows of a tower on disk; see `Items`.

    Attributes:
        frontend: what the manifest says: what the columns are.
        keys: (n,) equal only for equal rows.
        values: float32 (n, F), scaled numbers.
        codes: int64 (n, F), which category, or whether a number is there.
        rows: as JSON.
    """

    frontend: TableSettings
    keys: Ints
    values: npt.NDArray[np.float32]
    codes: Ints
    rows: TextFile

    @classmethod
    def open(cls, folder: Path) -> RowItems:
        """Open what `RowsWriter` left."""
        settings = TableSettings.model_validate_json((folder / "columns.json").read_bytes())
        with np.load(folder / "rows.npz") as arrays:
            return cls(settings, arrays["keys"], arrays["values"], arrays["codes"], TextFile(folder / "rows"))

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def files(self) -> Mapping[str, bytes]:
        """None are needed in a bundle."""
        return {}

    @property
    def counts(self) -> Mapping[str, int]:
        """What there is, for the manifest."""
        return {"rows": len(self), "columns": len(self.frontend.columns)}

    def inputs(self, numbers: Ints, rng: np.random.Generator) -> Inputs:
        """Values and codes (n, F), by no chance; see `Items.inputs`."""
        del rng
        return torch.from_numpy(self.values[numbers]), torch.from_numpy(self.codes[numbers])

    def seen(self, numbers: Ints, at_a_time: int) -> Iterator[tuple[Ints, Inputs]]:
        """Rows as the device sees them; see `Items.seen`."""
        for first in range(0, len(numbers), at_a_time):
            places = np.arange(first, min(first + at_a_time, len(numbers)))
            some = numbers[places]
            yield places, (torch.from_numpy(self.values[some]), torch.from_numpy(self.codes[some]))

    def raw(self, numbers: Ints) -> list[Any]:
        """Mappings of columns to cells; see `Items.raw`."""
        return [json.loads(self.rows[number]) for number in numbers.tolist()]
