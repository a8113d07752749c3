"""The rows of a table as documents to search, one for each of their sides: the picture of a part, its recording, its log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from nearfar.errors import DataError
from nearfar.sources.cut import Cutting, cut
from nearfar.sources.document import MODALITY, Document, Metadata, ReadReport, Unchanged
from nearfar.sources.item_cells import CellError, text_of
from nearfar.sources.partners import PartnerRow, PartnerTable, SideColumns, SideItem
from nearfar.sources.records import values_of_row
from nearfar.sources.rows import kind_of
from nearfar.sources.seen import Seen
from nearfar.sources.walk import shown

ROW = "row"
"""The key of the metadata with the id of the row, which its sides share."""


class ItemRows:
    """Each filled cell of a row is a document: a text, which is cut into passages, or an item of another kind.

    The id of a side is `<id of the row>#<tower>`, of a second item of it `<id>#<tower>-2`. Cells that hold nothing, or nothing that can be
    used, are skipped and reported.

    Args:
        path: a .csv, .jsonl (either also .gz) or .parquet file.
        towers: tower -> its kind and columns.
        id: column with a unique text or whole number; without it a row's id is `<file name>#<line>`.
        title: column with the title of items; texts are embedded without it.
        location: column that says where a person finds the row; without it a file that a cell names, or file and line of the row.
        metadata: columns kept beside, for searches to be narrowed by; `all` for those with no other part. What columns called `row` and
            `modality` hold is not kept: these say of which row an item is, and of which tower.
        cutting: how long the passages of texts are.

    Attributes:
        report: what the last reading passed over.
    """

    def __init__(
        self,
        path: Path,
        towers: Mapping[str, SideColumns],
        *,
        id: str | None = None,
        title: str | None = None,
        location: str | None = None,
        metadata: Sequence[str] | Literal["all"] = (),
        cutting: Cutting | None = None,
    ) -> None:
        self.path = Path(path)
        self.towers = dict(towers)
        self.id, self.title, self.location = id, title, location
        self.metadata: tuple[str, ...] | Literal["all"] = metadata if metadata == "all" else tuple(metadata)
        self.cutting = cutting or Cutting()
        self.report = ReadReport()

    def documents(self) -> Iterator[Document | Unchanged]:
        """Yield the documents of a row after those of the row before it.

        Raises:
            DataError: there is no such file or column, or it holds nothing that can be used.
            MissingExtraError: Parquet without pyarrow.
        """
        report = self.report = ReadReport()
        if taken := sorted({MODALITY, ROW}.intersection(() if self.metadata == "all" else self.metadata)):
            raise DataError(
                f'{shown(self.path)}: the metadata "{taken[0]}" is kept for what an index itself knows of an item: give that column another name'
            )
        named = [name for name in (self.id, self.title, self.location) if name is not None]
        facts = "all" if self.metadata == "all" else list(dict.fromkeys([*named, *self.metadata]))
        table = PartnerTable(self.path, self.towers, facts=facts)
        ids = Seen()
        for row in table.rows():
            try:
                documents = list(self._of_row(row, report))
            except CellError as error:
                report.skip(row.location, error.reason, detail=error.detail)
                continue
            if documents and not ids.first_time(documents[0].group):
                report.skip(row.location, "an id that an earlier row has", detail=f'"{documents[0].group}"')
                continue
            report.read += len(documents)
            yield from documents
        report.add(table.report)
        if not report.read:
            first = f" The first that was passed over: {report.examples[0]}" if report.examples else ""
            raise DataError(f"{shown(self.path)}: there is nothing in these columns that can be used.{first}")

    def _of_row(self, row: PartnerRow, report: ReadReport) -> Iterator[Document]:
        line = row.location.rpartition(":")[2]
        name = f"{shown(self.path.name)}#{line}" if self.id is None else text_of(row.facts, self.id)
        if not name:
            raise CellError(f'"{self.id}" is missing')
        place = text_of(row.facts, self.location)
        metadata = self._metadata(row, name)
        for side, reason, detail in row.refused:
            report.skip(row.location, f"{side}: {reason}", detail=detail)
        for tower, columns in self.towers.items():
            for _ in range(row.missing.get(tower, 0)):
                report.skip(row.location, f"{tower}: nothing there")
            for number, item in enumerate(row.cells.get(tower, ()), start=1):
                yield self._document(
                    row,
                    item,
                    tower,
                    columns,
                    f"{name}#{tower}" + (f"-{number}" if number > 1 else ""),
                    name,
                    place,
                    metadata,
                )

    def _document(
        self,
        row: PartnerRow,
        item: SideItem,
        tower: str,
        columns: SideColumns,
        id: str,
        group: str,
        place: str,
        metadata: Metadata,
    ) -> Document:
        if columns.kind == "text":
            text = Document(
                id, item.content, location=place or row.location, group=group, metadata=metadata, modality=tower
            )
            return cut(text, self.cutting)
        file = shown(item.content) if isinstance(item.content, Path) else ""
        title = text_of(row.facts, self.title) or group
        return Document(
            id,
            "",
            title,
            location=place or file or row.location,
            group=group,
            metadata=metadata,
            modality=tower,
            item=item.content,
        )

    def _metadata(self, row: PartnerRow, name: str) -> Metadata:
        used = {self.id, self.title, self.location}
        kept = {
            column: cell
            for column, cell in row.facts.items()
            if (column not in used if self.metadata == "all" else column in self.metadata)
        }
        return {**values_of_row(kept, kind_of(self.path) or "csv"), ROW: name}
