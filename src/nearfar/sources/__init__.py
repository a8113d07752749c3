"""Readers: what turns folders, tables and Python code into documents and pairs, one at a time."""

from __future__ import annotations

from pathlib import Path

from nearfar.errors import DataError
from nearfar.sources.docstrings import DocstringsSource
from nearfar.sources.document import Document, DocumentSource, Pair, PairSource, ReadReport
from nearfar.sources.folder import TEXT_SUFFIXES, FolderSource
from nearfar.sources.rows import TableKind, kind_of
from nearfar.sources.table import TablePairs, TableSource

__all__ = [
    "DocstringsSource",
    "Document",
    "DocumentSource",
    "FolderSource",
    "Pair",
    "PairSource",
    "ReadReport",
    "TableKind",
    "TablePairs",
    "TableSource",
    "kind_of",
    "open_documents",
]


def open_documents(
    target: str | Path,
    *,
    text: str = "text",
    title: str | None = None,
    id: str | None = None,
    group: str | None = None,
    location: str | None = None,
    suffixes: tuple[str, ...] | None = None,
) -> DocumentSource:
    """Return the source for what a person named.

    Args:
        target: a folder of text files; one text file; a .jsonl, .csv (either also .gz) or .parquet table; or the word
            `docstrings` for the standard library and the installed packages (a folder of that name is `./docstrings`).
        text: for a table, the column with the text.
        title: for a table, the column with the title.
        id: for a table, the column with the id.
        group: for a table, the column that says what belongs together.
        location: for a table, the column that says where a person finds the document.
        suffixes: for a folder, which files to read; by default .md, .txt, .rst, .html, .htm.

    Raises:
        DataError: it is none of these, or does not exist.
    """
    if target == "docstrings":
        return DocstringsSource()
    path = Path(target)
    accepted = "a folder of text files, a text file (.md, .txt, .rst, .html), a table (.jsonl, .csv, .parquet) or the word docstrings"
    if path.is_dir():
        return FolderSource(path, suffixes or TEXT_SUFFIXES)
    if not path.exists():
        raise DataError(f"{path} does not exist; nearfar reads {accepted}")
    kind = kind_of(path)
    if kind is not None:
        return TableSource(path, kind, text=text, title=title, id=id, group=group, location=location)
    if path.name.lower().endswith((*TEXT_SUFFIXES, *(suffixes or ()))):
        return FolderSource(path)
    raise DataError(f"{path} is of a kind that nearfar does not read; it reads {accepted}")
