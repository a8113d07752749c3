"""Pictures from the column of a Parquet file, or of a folder of them."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, Literal

from nearfar.errors import DataError, MissingExtraError
from nearfar.sources.document import ReadReport
from nearfar.sources.picture import SPLITS, Picture, split_called
from nearfar.sources.plain import storable
from nearfar.sources.seen import Seen
from nearfar.sources.walk import shown, walk_files

_ROWS = 16  # in memory at the same time
_BUFFER = 2**20  # of a column that is read bit by bit instead of a row group at once
_FILE_OF_A_SPLIT = re.compile(r"([a-z]+)(?:[-_.].*)?\.parquet", re.IGNORECASE)


class _CellError(Exception):
    """A row lacks something that it must have."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


class ImageTable:
    """Each row is a picture: its encoded bytes (or a struct with the field `bytes`, as Hugging Face writes them), streamed.

    A row without picture, id or label is reported and left out. Bytes are not decoded here.

    Args:
        path: one .parquet file, or a folder, whose files are read in name order.
        image: column with the pictures.
        label: column with the class, text or whole number, if there is one.
        label_name: column with the name of the class, to be used instead of the number in `label`.
        split: column with the split. Without it a folder's files `train.parquet`, `test-00000-of-00001.parquet` and the like
            name it.
        id: column with a unique text or whole number; without it a row's id is `<file>#<row>`.
        group: column that says which pictures belong together, if there is one.
        unlabelled: what becomes of a row without label where a column is named: `skip` reports it, `keep` gives it none.
    """

    def __init__(
        self,
        path: Path,
        image: str = "image",
        label: str | None = None,
        split: str | None = None,
        id: str | None = None,
        *,
        label_name: str | None = None,
        group: str | None = None,
        unlabelled: Literal["skip", "keep"] = "skip",
    ) -> None:
        self.path = Path(path)
        self.image = image
        self.label = label_name or label
        self.split = split
        self.id = id
        self.group = group
        self.unlabelled = unlabelled
        self.report = ReadReport()

    def pictures(self) -> Iterator[Picture]:
        """Yield a picture a row, files in name order.

        Raises:
            DataError: a file or a column does not exist, is damaged or of the wrong type, or no row can be used.
            MissingExtraError: pyarrow is not installed.
        """
        report, ids = ReadReport(), Seen()
        self.report = report
        columns = [name for name in (self.image, self.label, self.split, self.id, self.group) if name is not None]
        for path, name in self._files(report):
            split = self._split_of_file(path)
            for number, row in _rows(path, columns, self.image):
                place = f"{shown(path)}:{number}"
                try:
                    picture = self._picture(row, f"{name}#{number}", split, place)
                except _CellError as error:
                    report.skip(place, error.reason, detail=error.detail)
                    continue
                if self.id is not None and not ids.first_time(picture.id):
                    report.skip(place, "an id that an earlier row has", detail=f'"{picture.id}"')
                    continue
                report.read += 1
                yield picture
        if not report.read:
            first = f". The first: {'; '.join(report.examples)}" if report.skipped_total else ""
            raise DataError(f"{shown(self.path)}: no row in it can be used{first}")

    def contents(self, ids: Sequence[str]) -> Iterator[bytes]:
        """Yield the bytes of these pictures, in the order of `ids`.

        In the order of `pictures` no row group is read twice; every step back in it starts reading again.

        Raises:
            DataError: a row is not there any more.
        """
        places = self._places(ids)
        for path, wanted in groupby(places, key=lambda place: place[0]):
            numbers = [number for _, number in wanted]
            starts = [0, *(i for i in range(1, len(numbers)) if numbers[i] < numbers[i - 1]), len(numbers)]
            for begin, end in pairwise(starts):
                yield from self._in_order(path, numbers[begin:end])

    def _in_order(self, path: Path, numbers: Sequence[int]) -> Iterator[bytes]:
        """The pictures in these rows of a file, which ascend."""
        at = 0
        for number, row in _rows(path, [self.image], self.image, only=numbers):
            while at < len(numbers) and numbers[at] == number:
                try:
                    yield _bytes(row[self.image], self.image)
                except _CellError as error:
                    raise _gone(path, number) from error
                at += 1
        if at < len(numbers):
            raise _gone(path, numbers[at])

    def _places(self, ids: Sequence[str]) -> list[tuple[Path, int]]:
        """File and row of each id."""
        places: dict[str, tuple[Path, int]] = {}
        files = list(self._files(ReadReport()))
        if self.id is None:
            by_name = {name: path for path, name in files}
            for id in ids:
                name, _, number = id.rpartition("#")
                if name in by_name and number.isdecimal():
                    places[id] = (by_name[name], int(number))
        else:
            wanted = set(ids)
            for path, _ in files:
                for row_number, row in _rows(path, [self.id], None):
                    id = storable(str(row[self.id])).strip()
                    if id in wanted:
                        places.setdefault(id, (path, row_number))
        if absent := [id for id in ids if id not in places]:
            raise DataError(f"{shown(self.path)}: has no picture {absent[0]!r}: prepare the data again")
        return [places[id] for id in ids]

    def _picture(self, row: dict[str, Any], id: str, split: str, place: str) -> Picture:
        content = _bytes(row[self.image], self.image)
        label = _label(row, self.label)
        if self.label is not None and not label and self.unlabelled == "skip":
            raise _CellError("without a label", f'"{self.label}" is empty')
        if self.id is not None:
            id = _label(row, self.id)
            if not id:
                raise _CellError(f'"{self.id}" is missing')
        if self.split is not None:
            split = split_called(_label(row, self.split))
        return Picture(id, content, label, split, place, _label(row, self.group))

    def _files(self, report: ReadReport) -> Iterator[tuple[Path, str]]:
        """Yield each file with its name relative to the source."""
        if self.path.is_file():
            yield self.path, shown(self.path.name)
            return
        if not self.path.is_dir():
            raise DataError(f"{shown(self.path)} does not exist: name a .parquet file, or a folder of them")
        found = False
        for path in walk_files(self.path, lambda name: name.lower().endswith(".parquet"), report):
            found = True
            yield path, shown(path.relative_to(self.path).as_posix())
        if not found:
            raise DataError(f"{shown(self.path)} holds no .parquet file: name another folder")

    def _split_of_file(self, path: Path) -> str:
        match = _FILE_OF_A_SPLIT.fullmatch(path.name) if self.path.is_dir() else None
        return SPLITS.get(match[1].lower(), "") if match else ""


def _rows(
    path: Path, columns: Sequence[str], image: str | None, only: Sequence[int] | None = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield rows with their number from 1, a few in memory at a time (or one page, where the file has larger ones).

    Args:
        path: the file.
        columns: what to read.
        image: the column that must hold encoded pictures.
        only: ascending numbers; row groups without any are not read, nor is anything after the last.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtraError("parquet", f"reading {path.name}") from error
    wanted = list(dict.fromkeys(columns))
    number = 0
    try:
        with pq.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False) as file:
            if absent := [name for name in wanted if name not in file.schema_arrow.names]:
                listed = ", ".join(f'"{storable(name)}"' for name in file.schema_arrow.names[:30])
                raise DataError(f'{shown(path)}: there is no column "{absent[0]}". The columns are: {listed or "none"}')
            if image is not None:
                _require_pictures(path, image, file.schema_arrow.field(image).type)
            metadata = file.metadata
            for group in range(metadata.num_row_groups):
                end = number + metadata.row_group(group).num_rows
                chosen = None if only is None else set(only[bisect_right(only, number) : bisect_right(only, end)])
                if chosen is not None and not chosen:
                    number = end
                    continue
                last = end if chosen is None else max(chosen)
                for batch in file.iter_batches(_ROWS, row_groups=[group], columns=wanted, use_threads=False):
                    cells = [batch.column(name) for name in wanted]
                    for i in range(batch.num_rows):
                        number += 1
                        if chosen is None or number in chosen:
                            yield number, {name: _cell(column[i]) for name, column in zip(wanted, cells, strict=True)}
                    if number >= last:
                        break
                number = end
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{shown(path)}: not a sound Parquet file (after row {number}): {error}") from error


def _cell(value: Any) -> Any:
    try:
        return value.as_py()
    except UnicodeDecodeError:
        return value.cast("binary").as_py().decode("utf-8", "backslashreplace")


def _require_pictures(path: Path, column: str, kind: Any) -> None:
    """Raise a DataError where a column cannot hold encoded pictures."""
    from pyarrow import types

    found = kind
    if types.is_struct(kind):
        at = kind.get_field_index("bytes")
        found = kind.field(at).type if at >= 0 else kind
    if types.is_dictionary(found):
        found = found.value_type
    kinds = (types.is_binary, types.is_large_binary, types.is_fixed_size_binary, types.is_binary_view)
    if not any(is_kind(found) for is_kind in kinds):
        raise DataError(
            f'{shown(path)}: the column "{column}" is of type {kind}, which is no encoded picture: name one of type binary, '
            "or a struct with a field bytes"
        )


def _bytes(value: Any, column: str) -> bytes:
    content = value.get("bytes") if isinstance(value, dict) else value
    if content is None:
        raise _CellError(f'"{column}" is missing')
    if not content:
        raise _CellError(f'"{column}" is empty')
    assert isinstance(content, bytes)
    return content


def _label(row: dict[str, Any], column: str | None) -> str:
    value = None if column is None else row[column]
    if value is None:
        return ""
    if not isinstance(value, (str, int)):
        raise _CellError(f'"{column}" is neither text nor a whole number', f"got {type(value).__name__}")
    return str(value).lower() if isinstance(value, bool) else storable(str(value)).strip()


def _gone(path: Path, number: int) -> DataError:
    return DataError(f"{shown(path)}: row {number} is not there any more: prepare the data again")
