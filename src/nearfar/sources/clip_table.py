"""Recordings from the rows of Parquet files, or named by the rows of CSV and JSONL manifests."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nearfar.errors import DataError
from nearfar.sources.clip import Clip, ClipContent
from nearfar.sources.document import ReadReport
from nearfar.sources.item_cells import CellError, content_of, split_of_file, table_files, text_of
from nearfar.sources.parquet_rows import encoded_files, named_places, parquet_rows, row_gone, rows_again
from nearfar.sources.picture import split_called
from nearfar.sources.rows import kind_of, read_rows
from nearfar.sources.seen import Seen
from nearfar.sources.walk import shown

CLIP_TABLE_SUFFIXES = (".parquet", ".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz")

Row = tuple[int, dict[str, Any]]


class ClipTable:
    """Each row is a recording, or a part of one.

    It holds encoded bytes, a struct with them as `bytes` (as Hugging Face writes them), or the path of a file, which starts
    at the folder of the table. Rows are streamed.

    A row without recording or id, or whose file is missing or empty, is reported and left out. Nothing is decoded here.

    Args:
        path: a .parquet, .csv or .jsonl file, or a folder, whose files of these kinds are read in name order.
        audio: column with the recordings.
        label: column that says who or what is heard, text or whole number, if there is one.
        session: column that says what was recorded in one go.
        split: column with the split. Without it a folder's files `train.parquet`, `test-00000-of-00001.parquet` and the
            like name it.
        id: column with a unique text or whole number; without it a row's id is `<file>#<row>`.
        group: column that says which recordings belong together.
        start: column with the second at which a part begins; an empty cell is the beginning.
        end: column with the second at which it ends; an empty cell is the end.
        attribute: column whose groups error rates are told apart for.
    """

    def __init__(
        self,
        path: Path,
        *,
        audio: str = "audio",
        label: str | None = None,
        session: str | None = None,
        split: str | None = None,
        id: str | None = None,
        group: str | None = None,
        start: str | None = None,
        end: str | None = None,
        attribute: str | None = None,
    ) -> None:
        self.path = Path(path)
        self.audio = audio
        self.label, self.session, self.split, self.id, self.group = label, session, split, id, group
        self.start, self.end, self.attribute = start, end, attribute
        self.report = ReadReport()

    def clips(self) -> Iterator[Clip]:
        """Yield a recording a row, files in name order.

        Raises:
            DataError: a file or a column does not exist, is damaged or of the wrong type, or no row can be used.
            MissingExtraError: Parquet without pyarrow.
        """
        report, ids = ReadReport(), Seen()
        self.report = report
        for path, name in table_files(self.path, report, CLIP_TABLE_SUFFIXES):
            for number, row in self._rows(path, self._columns, report):
                place = f"{shown(path)}:{number}"
                try:
                    clip = self._clip(path, row, f"{name}#{number}", place)
                except CellError as error:
                    report.skip(place, error.reason, detail=error.detail)
                    continue
                if self.id is not None and not ids.first_time(clip.id):
                    report.skip(place, "an id that an earlier row has", detail=f'"{clip.id}"')
                    continue
                report.read += 1
                yield clip
        if not report.read:
            first = f". The first: {'; '.join(report.examples)}" if report.skipped_total else ""
            raise DataError(f"{shown(self.path)}: no row in it can be used{first}")

    def again(self, ids: Sequence[str]) -> Iterator[Clip]:
        """Yield these recordings again, in the order of `ids`.

        In the order of `clips` no row is read twice; every step back in it starts reading the file again.

        Raises:
            DataError: a row, or the file that it names, is not there any more.
        """
        places = self._places(ids)
        rows = rows_again(places, lambda path, numbers: self._rows(path, self._columns, ReadReport(), numbers))
        for id, (path, number, row) in zip(ids, rows, strict=True):
            try:
                yield self._clip(path, row, id, f"{shown(path)}:{number}")
            except CellError as error:
                raise row_gone(path, number) from error

    def contents(self, ids: Sequence[str]) -> Iterator[ClipContent]:
        """Yield the bytes or files of these recordings, in the order of `ids`; of a part, those of the whole.

        Raises:
            DataError: as for `again`.
        """
        return (clip.content for clip in self.again(ids))

    @property
    def _columns(self) -> list[str]:
        named = (self.label, self.session, self.split, self.id, self.group, self.start, self.end, self.attribute)
        return [self.audio, *(name for name in named if name is not None)]

    def _clip(self, path: Path, row: Mapping[str, Any], id: str, place: str) -> Clip:
        content = content_of(row.get(self.audio), self.audio, path.parent, "recording")
        if self.id is not None:
            id = text_of(row, self.id)
            if not id:
                raise CellError(f'"{self.id}" is missing')
        split = split_of_file(path) if self.path.is_dir() else ""
        if self.split is not None:
            split = split_called(text_of(row, self.split))
        start, end = _seconds(row, self.start), _seconds(row, self.end)
        if end is not None and end <= (start or 0.0):
            raise CellError("end is not after start", f"from {start or 0:g} to {end:g} s")
        label, session, group, attribute = (
            text_of(row, column) for column in (self.label, self.session, self.group, self.attribute)
        )
        return Clip(id, content, label, split, place, session, group, attribute, start, end)

    def _rows(
        self, path: Path, columns: Sequence[str], report: ReadReport, only: Sequence[int] | None = None
    ) -> Iterator[Row]:
        """The rows of a table, or those of some numbers, which ascend."""
        kind = kind_of(path)
        if kind is None:
            raise DataError(
                f"{shown(path)} is no table of recordings: name a .parquet, .csv or .jsonl file, or a folder of such"
            )
        if kind == "parquet":
            return parquet_rows(path, columns, lambda schema: self._check(path, schema), only)
        rows = read_rows(path, kind, columns, report)
        if only is None:
            return rows
        wanted = set(only)
        return (row for row in rows if row[0] in wanted)

    def _check(self, path: Path, schema: Any) -> None:
        """Refuse a column that holds neither recordings nor names of files."""
        if self.audio not in schema.names:
            return  # as are those of an id alone
        kind = schema.field(self.audio).type
        if not encoded_files(kind) and not _names_files(kind):
            raise DataError(
                f'{shown(path)}: the column "{self.audio}" is of type {kind}, which is no recording: name one of '
                "type binary, a struct with a field bytes or path, or text with the path of a file"
            )

    def _places(self, ids: Sequence[str]) -> list[tuple[Path, int]]:
        """File and row of each id."""
        files = list(table_files(self.path, ReadReport(), CLIP_TABLE_SUFFIXES))
        places = named_places(files, ids) if self.id is None else {}
        if self.id is not None:
            wanted = set(ids)
            for path, _ in files:
                for number, row in self._rows(path, [self.id], ReadReport()):
                    try:
                        id = text_of(row, self.id)
                    except CellError:
                        continue
                    if id in wanted:
                        places.setdefault(id, (path, number))
        if absent := [id for id in ids if id not in places]:
            raise DataError(f"{shown(self.path)}: has no recording {absent[0]!r}: prepare the data again")
        return [places[id] for id in ids]


def _seconds(row: Mapping[str, Any], column: str | None) -> float | None:
    value = None if column is None else row.get(column)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise CellError(f'"{column}" is no number of seconds', repr(value)[:40])
    return seconds


def _names_files(kind: Any) -> bool:
    """Whether a column of this type (pyarrow's) can hold names of files, or structs with them as `path`."""
    from pyarrow import types

    if types.is_struct(kind):
        at = kind.get_field_index("path")
        kind = kind.field(at).type if at >= 0 else kind
    if types.is_dictionary(kind):
        kind = kind.value_type
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))
