"""Tables of which a row says what belongs together: a picture and its captions, a recording and its words, a part and its log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from nearfar.errors import DataError
from nearfar.sources.document import ReadReport
from nearfar.sources.item_cells import CellError, content_of, text_of
from nearfar.sources.parquet_rows import parquet_rows
from nearfar.sources.picture import split_called
from nearfar.sources.plain import storable
from nearfar.sources.rows import Row, kind_of, read_rows
from nearfar.sources.walk import shown

SideKind = Literal["text", "image", "audio", "series", "table"]

_CALLED = {"image": "picture", "audio": "recording", "series": "path of a file of samples"}


class SideColumns(NamedTuple):
    """Where one side of a row stands.

    Attributes:
        kind: what it is.
        columns: one or more.
    """

    kind: SideKind
    columns: Sequence[str]


class SideItem(NamedTuple):
    """One item of a side.

    Attributes:
        content: a text; a path, or the bytes of a file; a mapping of columns to cells.
        column: place of its column among those of the side; of a mapping 0.
    """

    content: Any
    column: int


class RefusedCell(NamedTuple):
    """A cell that holds something, but nothing that can be used.

    Attributes:
        side: name of the side.
        reason: one of few.
        detail: about this cell.
    """

    side: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class PartnerRow:
    """One row.

    Attributes:
        cells: side -> its items; empty where the row lacks it.
        refused: cells that hold something else than they should.
        missing: side -> cells that hold nothing.
        label: what the row is of; empty where the table says nothing.
        split: `train`, `validation`, `test` or what the table calls it; empty where it says nothing.
        group: what it belongs together with; empty where the table says nothing.
        location: where a person finds it, as `path:line`.
        facts: cells of other columns that were asked for, as they are.
    """

    cells: Mapping[str, tuple[SideItem, ...]] = field(repr=False)
    refused: tuple[RefusedCell, ...] = ()
    missing: Mapping[str, int] = field(default_factory=dict)
    label: str = ""
    split: str = ""
    group: str = ""
    location: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict, repr=False)


class PartnerTable:
    """The rows of a .csv, .jsonl (either also .gz) or .parquet file, a few in memory at a time.

    A cell of text is a text, or a list of them, each an item of its own; one of a picture or a recording has the bytes of a file, a
    struct with these as `bytes`, or a path that starts at the folder of the table; one of series has such a path. The columns of a
    table side are one item together. Nothing is decoded here.

    Args:
        path: the file.
        sides: name -> where it stands.
        label: column that says what a row is of.
        split: column with the split.
        group: column that says what belongs together.
        facts: other columns whose cells are given as they are, or `all` that are no side.

    Attributes:
        report: what the last reading passed over.
    """

    def __init__(
        self,
        path: Path,
        sides: Mapping[str, SideColumns],
        *,
        label: str | None = None,
        split: str | None = None,
        group: str | None = None,
        facts: Sequence[str] | Literal["all"] = (),
    ) -> None:
        self.path = Path(path)
        self.sides = dict(sides)
        self.facts = facts
        self.label, self.split, self.group = label, split, group
        self.report = ReadReport()

    def rows(self) -> Iterator[PartnerRow]:
        """Yield the rows in the order of the file; a second call starts again from the first.

        Raises:
            DataError: there is no such file or column, it is damaged as a whole, or it has no row.
            MissingExtraError: Parquet without pyarrow.
        """
        report = self.report = ReadReport()
        for number, row in self._rows(report):
            place = f"{shown(self.path)}:{number}"
            try:
                made = self._row(row, place)
            except CellError as error:
                report.skip(place, error.reason, detail=error.detail)
                continue
            report.read += 1
            yield made
        if not report.read:
            first = f" The first that was passed over: {report.examples[0]}" if report.examples else ""
            raise DataError(f"{shown(self.path)}: there is no row in it that can be used.{first}")

    def _rows(self, report: ReadReport) -> Iterator[Row]:
        kind = kind_of(self.path)
        if kind is None:
            raise DataError(f"{shown(self.path)} is no table of partners: name a .csv, .jsonl or .parquet file")
        own = [name for name in (self.label, self.split, self.group) if name is not None]
        own += () if self.facts == "all" else self.facts
        columns = list(dict.fromkeys([*(name for side in self.sides.values() for name in side.columns), *own]))
        if self.facts == "all":
            return read_rows(self.path, kind, columns, report, every_column=True)
        if kind == "parquet" and self.path.is_file():  # fewer at a time: its cells may hold whole pictures
            return parquet_rows(self.path, columns)
        return read_rows(self.path, kind, columns, report)

    def _row(self, row: Mapping[str, Any], place: str) -> PartnerRow:
        cells: dict[str, tuple[SideItem, ...]] = {}
        refused: list[RefusedCell] = []
        missing: dict[str, int] = {}
        for name, side in self.sides.items():
            if side.kind == "table":
                values = {column: row.get(column) for column in side.columns}
                empty = all(_holds_nothing(value) for value in values.values())
                cells[name] = () if empty else (SideItem(values, 0),)
                missing[name] = int(empty)
                continue
            items: list[SideItem] = []
            absent = 0
            for number, column in enumerate(side.columns):
                try:
                    found = self._contents(side.kind, row.get(column), column)
                except CellError as error:
                    refused.append(RefusedCell(name, error.reason, error.detail))
                    continue
                absent += not found
                items += (SideItem(content, number) for content in found)
            cells[name], missing[name] = tuple(items), absent
        return PartnerRow(
            cells,
            tuple(refused),
            missing,
            label=text_of(row, self.label),
            split=split_called(text_of(row, self.split)),
            group=text_of(row, self.group),
            location=place,
            facts=self._facts(row),
        )

    def _facts(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        if self.facts == "all":
            sides = {column for side in self.sides.values() for column in side.columns}
            return {column: cell for column, cell in row.items() if column not in sides}
        return {column: row.get(column) for column in self.facts}

    def _contents(self, kind: SideKind, value: Any, column: str) -> list[Any]:
        """The items of a cell; none where it holds nothing."""
        if _holds_nothing(value):
            return []
        if kind == "text":
            return _texts(value, column)
        content = content_of(value, column, self.path.parent, _CALLED[kind])
        if kind == "series" and not isinstance(content, Path):
            raise CellError(f'"{column}" is no {_CALLED[kind]}', "got bytes")
        return [content]


def _holds_nothing(value: Any) -> bool:
    if isinstance(value, str):
        return not value.strip()
    if isinstance(value, dict):  # a struct of a picture or recording
        return all(_holds_nothing(member) for member in value.values())
    if isinstance(value, (list, tuple)):
        return all(_holds_nothing(member) for member in value)
    return value is None or value == b"" or value != value


def _texts(value: Any, column: str) -> list[str]:
    members = value if isinstance(value, (list, tuple)) else (value,)
    texts = []
    for member in members:
        if _holds_nothing(member):
            continue
        if not isinstance(member, (str, int)) or isinstance(member, bool):
            raise CellError(f'"{column}" is neither a text nor a list of texts', f"got {type(member).__name__}")
        texts.append(storable(str(member)).strip())
    return list(dict.fromkeys(texts))
