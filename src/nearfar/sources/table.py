"""Documents and labelled pairs from the named columns of a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from nearfar.errors import DataError
from nearfar.sources.document import Document, Metadata, Pair, ReadReport
from nearfar.sources.plain import storable
from nearfar.sources.records import values_of_row
from nearfar.sources.rows import TableKind, read_rows
from nearfar.sources.seen import Seen
from nearfar.sources.walk import shown


class TableSource:
    """Each row of a JSONL, CSV or Parquet file is a document.

    A row without usable text or id is skipped and reported. With an `id` column 16 bytes a row are kept to find repeated
    ids; apart from that memory does not grow with the table.

    Args:
        path: the file.
        kind: how it is written; see `kind_of`.
        text: column with the text.
        title: column with the title, if there is one.
        id: column with a unique string or whole number; without it a row's id is `<file name>#<line>`.
        group: column that says which rows belong together, if there is one.
        location: column that says where a person finds the document (a path, an address); without it file and line of the row.
        metadata: columns kept beside the text, for searches to be narrowed by; `all` for those with no other part.
    """

    def __init__(
        self,
        path: Path,
        kind: TableKind,
        text: str = "text",
        title: str | None = None,
        id: str | None = None,
        group: str | None = None,
        location: str | None = None,
        metadata: Sequence[str] | Literal["all"] = (),
    ) -> None:
        self.path = Path(path)
        self.kind = kind
        self.text = text
        self.title = title
        self.id = id
        self.group = group
        self.location = location
        self.metadata: tuple[str, ...] | Literal["all"] = metadata if metadata == "all" else tuple(metadata)
        self.report = ReadReport()

    def documents(self) -> Iterator[Document]:
        """Yield a document a row, in the order of the file.

        Raises:
            DataError: the file or a column does not exist, or no row can be used.
            MissingExtraError: Parquet without pyarrow.
        """
        report = self.report = ReadReport()
        columns = [name for name in (self.text, self.title, self.id, self.group, self.location) if name is not None]
        every = self.metadata == "all"
        columns += () if every else self.metadata
        ids, file_name = Seen(), shown(self.path.name)
        for number, row in read_rows(self.path, self.kind, columns, report, every_column=every):
            place = f"{shown(self.path)}:{number}"
            try:
                title = _label(row, self.title)
                document = Document(
                    id=f"{file_name}#{number}" if self.id is None else _identity(row, self.id),
                    text=_text(row, self.text),
                    title=title,
                    location=_label(row, self.location) or place,
                    group=_label(row, self.group),
                    parent_title=title,
                    metadata=self._metadata(row),
                )
            except _CellError as error:
                report.skip(place, str(error))
                continue
            if self.id is not None and not ids.first_time(document.id):
                report.skip(place, "an id that an earlier row has", detail=f'"{document.id}"')
                continue
            report.read += 1
            yield document
        _refuse_nothing(self.path, report)

    def _metadata(self, row: dict[str, Any]) -> Metadata:
        """Return the columns asked for; empty cells, and those with parts of their own (JSON objects), are left out."""
        if self.metadata == "all":
            used = {self.text, self.title, self.id, self.location}
            return values_of_row({column: cell for column, cell in row.items() if column not in used}, self.kind)
        return values_of_row({column: row.get(column) for column in self.metadata}, self.kind)


class TablePairs:
    """Each row of a JSONL, CSV or Parquet file is a query with what belongs to it.

    Args:
        path: the file.
        kind: how it is written; see `kind_of`.
        query: column with the anchor text.
        positive: column with a text, or (JSONL, Parquet) a list of texts.
        negative: column of the same form with what does not belong to it; a cell of it may be empty.
        group: column that says which rows belong together, if there is one.
    """

    def __init__(
        self,
        path: Path,
        kind: TableKind,
        query: str = "query",
        positive: str = "positive",
        negative: str | None = None,
        group: str | None = None,
    ) -> None:
        self.path = Path(path)
        self.kind = kind
        self.query = query
        self.positive = positive
        self.negative = negative
        self.group = group
        self.report = ReadReport()

    def pairs(self) -> Iterator[Pair]:
        """Yield a pair a row, in the order of the file.

        Raises:
            DataError: the file or a column does not exist, or no row can be used.
            MissingExtraError: Parquet without pyarrow.
        """
        report = self.report = ReadReport()
        columns = [name for name in (self.query, self.positive, self.negative, self.group) if name is not None]
        for number, row in read_rows(self.path, self.kind, columns, report):
            place = f"{shown(self.path)}:{number}"
            try:
                pair = Pair(
                    query=_text(row, self.query),
                    positives=_texts(row, self.positive),
                    negatives=() if self.negative is None or not row.get(self.negative) else _texts(row, self.negative),
                    location=place,
                    group=_label(row, self.group),
                )
            except _CellError as error:
                report.skip(place, str(error))
                continue
            report.read += 1
            yield pair
        _refuse_nothing(self.path, report)


class _CellError(Exception):
    """A row lacks something that it must have; the text is the reason."""


def _text(row: dict[str, Any], column: str) -> str:
    return _as_text(row.get(column), column)


def _texts(row: dict[str, Any], column: str) -> tuple[str, ...]:
    value = row.get(column)
    if not isinstance(value, list):
        return (_as_text(value, column),)
    if not value:
        raise _CellError(f'"{column}" is an empty list')
    return tuple(_as_text(item, column) for item in value)


def _as_text(value: object, column: str) -> str:
    if value is None:
        raise _CellError(f'"{column}" is missing')
    if not isinstance(value, str):
        raise _CellError(f'"{column}" is not text (got {type(value).__name__})')
    if not value.strip():
        raise _CellError(f'"{column}" is empty')
    return storable(value)


def _label(row: dict[str, Any], column: str | None) -> str:
    """Return a title or group: text or a number, "" where there is none."""
    value = None if column is None else row.get(column)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise _CellError(f'"{column}" is not text (got {type(value).__name__})')
    return storable(str(value)).strip()


def _identity(row: dict[str, Any], column: str) -> str:
    value = row.get(column)
    if isinstance(value, float):
        raise _CellError(f'"{column}" is not a string or whole number (got float)')
    label = _label(row, column)
    if not label:
        raise _CellError(f'"{column}" is missing')
    return label


def _refuse_nothing(path: Path, report: ReadReport) -> None:
    """Raise a DataError where a whole table gave nothing."""
    if report.read:
        return
    if report.skipped_total:
        raise DataError(
            f"{path}: none of the {report.skipped_total} rows can be used. The first: " + "; ".join(report.examples)
        )
    raise DataError(f"{path} holds no rows: check that it is the right file")
