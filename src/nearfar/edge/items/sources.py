"""What a person names, as documents for the towers of a bundle."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from nearfar.edge.towers import Towers
from nearfar.errors import DataError
from nearfar.sources import Cutting, FilesSource, SearchSource, kind_of, open_documents
from nearfar.sources.clips import CLIP_SUFFIXES
from nearfar.sources.files import FILE_SUFFIXES
from nearfar.sources.images import PICTURE_SUFFIXES
from nearfar.sources.item_rows import ItemRows
from nearfar.sources.partners import SideColumns
from nearfar.sources.series import SERIES_SUFFIXES

_SUFFIXES = {"image": PICTURE_SUFFIXES, "audio": CLIP_SUFFIXES, "series": SERIES_SUFFIXES}
"""Kind of a tower -> the files that are an item of it."""


def open_source(
    towers: Towers,
    target: str | Path,
    *,
    items: Mapping[str, Sequence[str]] | None = None,
    text: str | None = None,
    title: str | None = None,
    id: str | None = None,
    location: str | None = None,
    metadata: Sequence[str] | Literal["all"] = (),
    cutting: Cutting | None = None,
    unchanged: Callable[[str, str], bool] | None = None,
    exclude: Sequence[Path] = (),
) -> SearchSource:
    """The source for what a person named.

    Args:
        towers: of the bundle that will embed it.
        target: a folder, whose files go to the tower that takes them by their suffix; one file; a table; or the word `docstrings`.
        items: of a table, tower -> its columns; each filled cell becomes an item. The columns of a tower of rows are one item together.
        text: of a table, the column with the text, where texts are all that is wanted.
        title: of a table, the column with the title.
        id: of a table, the column with the id.
        location: of a table, the column that says where a person finds it.
        metadata: of a table, the columns kept as metadata, or `all`.
        cutting: how long the passages of texts are.
        unchanged: asked with id and stamp whether a file is known as it is.
        exclude: folders not to enter, such as the index itself.

    Raises:
        DataError: it does not exist, or no tower takes it.
    """
    columns: dict[str, Any] = {"title": title, "id": id, "location": location, "metadata": metadata}
    known: dict[str, Any] = {"cutting": cutting, "unchanged": unchanged, "exclude": exclude}
    if items:
        sides = {}
        for name, its in items.items():
            towers.check(name)
            sides[name] = SideColumns(towers.kinds[name], its)  # type: ignore[arg-type]
        path = Path(target)
        if path.is_dir() or (path.exists() and kind_of(path) is None):
            raise DataError(f"{path} is no table, and items are of its columns: name a .csv, .jsonl or .parquet file")
        return ItemRows(path, sides, cutting=cutting, **columns)
    if not towers.tagged or (target == "docstrings" and towers.texts is not None):
        return open_documents(target, whole=True, text=text or "text", **columns, **known)
    path = Path(target)
    if not path.exists():
        raise DataError(f"{path} does not exist; name a folder or file of {', '.join(_taken(towers))}, or a table")
    if path.is_file() and kind_of(path) is not None:
        if text is not None and towers.texts is not None:
            return open_documents(target, whole=True, text=text, **columns, **known)
        example = " ".join(f"--item {name}=COLUMN" for name in towers.names)
        raise DataError(
            f"{path}: say which column of this table is for which tower: {example} (in Python: items={{tower: columns}})"
        )
    return FilesSource(path, _texts(towers), items=item_suffixes(towers), **known)


def item_suffixes(towers: Towers) -> dict[str, str]:
    """Suffix of a file -> the tower that takes it as an item.

    Raises:
        DataError: two towers take the same files.
    """
    taken: dict[str, str] = {}
    for name, kind in towers.kinds.items():
        for suffix in _SUFFIXES.get(kind, ()):
            if suffix in taken:
                raise DataError(
                    f"towers {taken[suffix]} and {name} both take {suffix} files: name the files in a table, and say which column is for "
                    f"which tower (--item {name}=COLUMN)"
                )
            taken[suffix] = name
    return taken


def watched_suffixes(towers: Towers) -> tuple[str, ...]:
    """The files of a folder that become documents."""
    return (*_texts(towers), *item_suffixes(towers)) if towers.tagged else FILE_SUFFIXES


def _texts(towers: Towers) -> tuple[str, ...]:
    return FILE_SUFFIXES if towers.texts is not None else ()


def _taken(towers: Towers) -> list[str]:
    words = {"text": "texts", "image": "pictures", "audio": "recordings", "series": "samples of sensors"}
    return [words[kind] for kind in dict.fromkeys(towers.kinds.values()) if kind in words] or ["rows"]
