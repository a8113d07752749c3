"""Rows of a table as items of their own: cells by column, with label, split and group where the table says them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nearfar.errors import DataError
from nearfar.sources.document import ReadReport
from nearfar.sources.picture import SPLITS, split_called
from nearfar.sources.rows import TableKind, kind_of, read_rows
from nearfar.sources.walk import shown, walk_files

ROW_SUFFIXES = (".csv", ".jsonl", ".ndjson", ".parquet")

_SEPARATORS = (";", "\t", "|")
_LONGEST_HEADER = 1 << 16  # characters that are looked at for a separator


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row.

    Attributes:
        id: unique and stable within its source (for example `train.csv#7`).
        cells: column -> value, without the columns that have another use.
        label: what it is; empty where the table says nothing.
        split: `train`, `validation`, `test` or what the table calls it; empty where it says nothing.
        group: what it belongs together with; empty where the table says nothing.
        location: where a person finds it, as `path:line`.
    """

    id: str
    cells: Mapping[str, Any] = field(repr=False)
    label: str = ""
    split: str = ""
    group: str = ""
    location: str = ""


class RowTable:
    """The rows of a table, or of all tables of a folder in name order, one in memory at a time.

    Args:
        path: a .csv, .jsonl or .parquet file, or a folder of such.
        label: column with what a row is.
        id: column with a unique name; None takes file and line.
        split: column that says `train`, `validation` or `test`; None takes the name of a file of a folder, if it is one of these.
        group: column that says what belongs together.

    Attributes:
        report: what was passed over by the last reading.
    """

    def __init__(
        self,
        path: Path,
        *,
        label: str | None = None,
        id: str | None = None,
        split: str | None = None,
        group: str | None = None,
    ) -> None:
        self.path = Path(path)
        self.label, self.id, self.split, self.group = label, id, split, group
        self.report = ReadReport()

    def rows(self) -> Iterator[TableRow]:
        """Yield the rows in a fixed order; a second call starts again from the first.

        Raises:
            DataError: there is no such file or column, a file is damaged as a whole, or there is no row.
            MissingExtraError: Parquet without pyarrow.
        """
        report = self.report = ReadReport()
        used = [name for name in (self.label, self.id, self.split, self.group) if name is not None]
        seen: set[str] = set()
        for file, kind, split in self._files(report):
            name, place = shown(file.name), shown(file)
            for number, cells in read_rows(file, kind, used, report, every_column=True):
                location = f"{place}:{number}"
                if report.read == 0:
                    _check_separator(file, cells)
                own = _said(cells.get(self.id)) if self.id is not None else f"{name}#{number}"
                if self.id is not None and (not own or own in seen):
                    report.skip(location, "no id" if not own else "an id for the second time", detail=own)
                    continue
                if self.id is not None:
                    seen.add(own)
                report.read += 1
                yield TableRow(
                    own,
                    {column: cell for column, cell in cells.items() if column not in used},
                    label=_said(cells.get(self.label)) if self.label is not None else "",
                    split=split_called(_said(cells.get(self.split))) if self.split is not None else split,
                    group=_said(cells.get(self.group)) if self.group is not None else "",
                    location=location,
                )
        if not report.read:
            for file, kind, _ in self._files(ReadReport()):
                if kind == "csv":
                    _check_first_line(file)
            first = f" The first that was passed over: {report.examples[0]}" if report.examples else ""
            raise DataError(f"{self.path}: there is no row in it that can be used.{first}")

    def contents(self, ids: Sequence[str]) -> Iterator[Mapping[str, Any]]:
        """Yield the cells of these rows again, in the order of `ids`.

        Raises:
            DataError: a row is no longer there; and what `rows` raises.
        """
        wanted = set(ids)
        found = {row.id: row.cells for row in self.rows() if row.id in wanted}
        for one in ids:
            if one not in found:
                raise DataError(f"{self.path}: there is no row {one!r} any more: has the table changed since?")
            yield found[one]

    def _files(self, report: ReadReport) -> Iterator[tuple[Path, TableKind, str]]:
        """Each file with its kind, and the split that its name says."""
        if not self.path.exists():
            raise DataError(f"{self.path} does not exist: name a .csv, .jsonl or .parquet file, or a folder of such")
        if not self.path.is_dir():
            kind = kind_of(self.path)
            if kind is None:
                raise DataError(f"{self.path} is no table: name a .csv, .jsonl or .parquet file, or a folder of such")
            yield self.path, kind, ""
            return
        files = list(walk_files(self.path, lambda name: kind_of(Path(name)) is not None, report))
        if not files:
            raise DataError(f"{self.path} holds no table ({', '.join(ROW_SUFFIXES)})")
        for file in files:
            kind = kind_of(file)
            assert kind is not None
            yield file, kind, SPLITS.get(file.name.lower().partition(".")[0], "")


def _said(value: Any) -> str:
    """A cell as a name; empty for one that holds nothing."""
    return "" if value is None or value != value else str(value).strip()


def _check_separator(path: Path, cells: Mapping[str, Any]) -> None:
    only = next(iter(cells)) if len(cells) == 1 else ""
    separator = next((mark for mark in _SEPARATORS if mark in only), None)
    if separator is not None:
        raise DataError(f"{path}:1: the header looks separated by {separator!r}; nearfar reads commas")


def _check_first_line(path: Path) -> None:
    """Refuse a header without a comma: decimal commas below it make every row look broken, which is not what is wrong."""
    with path.open(encoding="utf-8", errors="replace") as file:
        line = file.readline(_LONGEST_HEADER).strip()
    if "," not in line:
        _check_separator(path, {line: None})
