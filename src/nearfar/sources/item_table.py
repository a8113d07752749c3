"""Tables of items: what is known of what users act on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nearfar.errors import DataError
from nearfar.sources.document import ReadReport
from nearfar.sources.event_cells import name_of
from nearfar.sources.numbers import number_of
from nearfar.sources.picture import Content
from nearfar.sources.rows import kind_of, read_rows
from nearfar.sources.walk import shown


@dataclass(frozen=True, slots=True)
class ItemRow:
    """What is known of one item.

    Attributes:
        name: what events call it.
        title: what people call it; empty where nobody says.
        texts: column -> words.
        categories: column -> categories, none of them twice.
        numbers: column -> number, NaN where there is none.
        facts: column -> cell, as it is.
        image: a picture that is not decoded yet; None where there is none.
        location: where a person finds the row, as `path:line`.
    """

    name: str
    title: str = ""
    texts: dict[str, str] = field(default_factory=dict)
    categories: dict[str, tuple[str, ...]] = field(default_factory=dict)
    numbers: dict[str, float] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    image: Content | None = field(default=None, repr=False)
    location: str = ""


class ItemTable:
    """The rows of a .csv, .jsonl (either also .gz) or .parquet file with items, each item once: of two rows the first counts.

    Args:
        path: the file.
        item: column with the name that events call an item by.
        title: column with what people call it.
        texts: columns with words.
        categories: columns with a category or several, as a list or as text cut at `separator`.
        numbers: columns with numbers.
        facts: columns whose cells are kept as they are.
        image: column with a path beside the table, or encoded bytes.
        separator: between categories in one cell.

    Attributes:
        report: what the last reading passed over.
    """

    def __init__(
        self,
        path: Path,
        *,
        item: str = "item",
        title: str | None = None,
        texts: Sequence[str] = (),
        categories: Sequence[str] = (),
        numbers: Sequence[str] = (),
        facts: Sequence[str] = (),
        image: str | None = None,
        separator: str = "|",
    ) -> None:
        self.path = Path(path)
        self.item, self.title, self.image = item, title, image
        self.texts, self.categories, self.numbers, self.facts = texts, categories, numbers, facts
        self.separator = separator
        self.report = ReadReport()

    def rows(self) -> Iterator[ItemRow]:
        """Yield the items in the order of the file.

        Raises:
            DataError: there is no such file or column, it is damaged as a whole, or has no row that can be used.
            MissingExtraError: Parquet without pyarrow.
        """
        report = self.report = ReadReport()
        kind = kind_of(self.path)
        if kind is None:
            raise DataError(f"{self.path} is no table of items: name a .csv, .jsonl or .parquet file")
        single = [name for name in (self.item, self.title, self.image) if name is not None]
        columns = list(dict.fromkeys([*single, *self.texts, *self.categories, *self.numbers, *self.facts]))
        seen: set[str] = set()
        for number, cells in read_rows(self.path, kind, columns, report):
            location = f"{shown(self.path)}:{number}"
            name = name_of(cells.get(self.item))
            if not name or name in seen:
                report.skip(location, "an item for the second time" if name else "no item", detail=name if name else "")
                continue
            seen.add(name)
            report.read += 1
            yield ItemRow(
                name,
                title="" if self.title is None else name_of(cells.get(self.title)),
                texts={column: _words(cells.get(column)) for column in self.texts},
                categories={column: self._several(cells.get(column)) for column in self.categories},
                numbers={column: self._number(cells.get(column), column, location) for column in self.numbers},
                facts={column: cells.get(column) for column in self.facts},
                image=self._picture(cells.get(self.image)) if self.image is not None else None,
                location=location,
            )
        if not report.read:
            first = f" The first that was passed over: {report.examples[0]}" if report.examples else ""
            raise DataError(f"{self.path}: there is no item in it that can be used.{first}")

    def _several(self, cell: Any) -> tuple[str, ...]:
        members = cell if isinstance(cell, list | tuple) else _parted(cell, self.separator)
        return tuple(dict.fromkeys(name for member in members if (name := name_of(member))))

    def _number(self, cell: Any, column: str, location: str) -> float:
        text = name_of(cell)
        value = number_of(text, ".") if text else float("nan")
        if text and not abs(value) < float("inf"):
            self.report.skip(location, f"no number in {column}, which counts as missing", detail=f'"{text[:40]}"')
            return float("nan")
        return value

    def _picture(self, cell: Any) -> Content | None:
        if isinstance(cell, dict):  # as datasets of pictures store them
            cell = cell.get("bytes") or cell.get("path")
        if isinstance(cell, bytes):
            return cell or None
        name = name_of(cell)
        return self.path.parent / name if name else None


def _words(cell: Any) -> str:
    if isinstance(cell, list | tuple):
        return " ".join(filter(None, map(name_of, cell)))
    return name_of(cell)


def _parted(cell: Any, separator: str) -> list[str]:
    text = name_of(cell)
    return text.split(separator) if separator else [text]
