"""Pictures from the column of a Parquet file, or of a folder of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from nearfar.errors import DataError
from nearfar.sources.document import ReadReport
from nearfar.sources.item_cells import CellError, bytes_of, split_of_file, table_files, text_of
from nearfar.sources.parquet_rows import encoded_files, named_places, parquet_rows, row_gone, rows_again
from nearfar.sources.picture import Picture, split_called
from nearfar.sources.plain import storable
from nearfar.sources.seen import Seen
from nearfar.sources.walk import shown


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
        session: column that says which pictures of a label were taken in one go, if there is one.
        attribute: column with the group whose error rates are told apart, if there is one.
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
        session: str | None = None,
        attribute: str | None = None,
        unlabelled: Literal["skip", "keep"] = "skip",
    ) -> None:
        self.path = Path(path)
        self.image = image
        self.label = label_name or label
        self.split = split
        self.id = id
        self.group = group
        self.session = session
        self.attribute = attribute
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
        roles = (self.image, self.label, self.split, self.id, self.group, self.session, self.attribute)
        columns = [name for name in roles if name is not None]
        for path, name in table_files(self.path, report, (".parquet",)):
            split = split_of_file(path) if self.path.is_dir() else ""
            for number, row in self._rows(path, columns):
                place = f"{shown(path)}:{number}"
                try:
                    picture = self._picture(row, f"{name}#{number}", split, place)
                except CellError as error:
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
        for path, number, row in rows_again(
            self._places(ids), lambda path, numbers: self._rows(path, [self.image], numbers)
        ):
            try:
                content = bytes_of(row[self.image], self.image)
            except CellError as error:
                raise row_gone(path, number) from error
            yield content

    def _places(self, ids: Sequence[str]) -> list[tuple[Path, int]]:
        """File and row of each id."""
        files = list(table_files(self.path, ReadReport(), (".parquet",)))
        places = named_places(files, ids) if self.id is None else {}
        if self.id is not None:
            wanted = set(ids)
            for path, _ in files:
                for number, row in parquet_rows(path, [self.id]):
                    id = storable(str(row[self.id])).strip()
                    if id in wanted:
                        places.setdefault(id, (path, number))
        if absent := [id for id in ids if id not in places]:
            raise DataError(f"{shown(self.path)}: has no picture {absent[0]!r}: prepare the data again")
        return [places[id] for id in ids]

    def _picture(self, row: dict[str, Any], id: str, split: str, place: str) -> Picture:
        content = bytes_of(row[self.image], self.image)
        label = text_of(row, self.label)
        if self.label is not None and not label and self.unlabelled == "skip":
            raise CellError("without a label", f'"{self.label}" is empty')
        if self.id is not None:
            id = text_of(row, self.id)
            if not id:
                raise CellError(f'"{self.id}" is missing')
        if self.split is not None:
            split = split_called(text_of(row, self.split))
        group, session, attribute = (text_of(row, column) for column in (self.group, self.session, self.attribute))
        return Picture(id, content, label, split, place, group, session, attribute)

    def _rows(
        self, path: Path, columns: Sequence[str], only: Sequence[int] | None = None
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """The rows of a file in whose column of pictures there can be some."""

        def check(schema: Any) -> None:
            kind = schema.field(self.image).type
            if not encoded_files(kind):
                raise DataError(
                    f'{shown(path)}: the column "{self.image}" is of type {kind}, which is no encoded picture: name one of '
                    "type binary, or a struct with a field bytes"
                )

        return parquet_rows(path, columns, check, only)
