"""Readers: what turns folders, tables and Python code into documents, pairs and recordings, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, overload

from nearfar.errors import DataError
from nearfar.sources.clips import Clip, ClipFolder, ClipSource, ClipTable
from nearfar.sources.cut import Cutting, cut
from nearfar.sources.docstrings import DocstringsSource
from nearfar.sources.document import (
    Document,
    DocumentSource,
    Pair,
    PairSource,
    Passage,
    ReadReport,
    SearchSource,
    Unchanged,
)
from nearfar.sources.files import FILE_SUFFIXES, FilesSource
from nearfar.sources.folder import FolderSource
from nearfar.sources.formats import TEXT_SUFFIXES
from nearfar.sources.rows import TableKind, kind_of
from nearfar.sources.table import TablePairs, TableSource

__all__ = [
    "Clip",
    "ClipFolder",
    "ClipSource",
    "ClipTable",
    "Cutting",
    "DocstringsSource",
    "Document",
    "DocumentSource",
    "FilesSource",
    "FolderSource",
    "Pair",
    "PairSource",
    "Passage",
    "ReadReport",
    "SearchSource",
    "TableKind",
    "TablePairs",
    "TableSource",
    "Unchanged",
    "cut",
    "kind_of",
    "open_documents",
]


@overload
def open_documents(
    target: str | Path,
    *,
    text: str = ...,
    title: str | None = ...,
    id: str | None = ...,
    group: str | None = ...,
    location: str | None = ...,
    metadata: Sequence[str] | Literal["all"] = ...,
    suffixes: Sequence[str] | None = ...,
    whole: Literal[False] = ...,
) -> DocumentSource: ...


@overload
def open_documents(
    target: str | Path,
    *,
    text: str = ...,
    title: str | None = ...,
    id: str | None = ...,
    group: str | None = ...,
    location: str | None = ...,
    metadata: Sequence[str] | Literal["all"] = ...,
    suffixes: Sequence[str] | None = ...,
    whole: Literal[True],
    cutting: Cutting | None = ...,
    unchanged: Callable[[str, str], bool] | None = ...,
    exclude: Sequence[Path] = ...,
) -> SearchSource: ...


def open_documents(
    target: str | Path,
    *,
    text: str = "text",
    title: str | None = None,
    id: str | None = None,
    group: str | None = None,
    location: str | None = None,
    metadata: Sequence[str] | Literal["all"] = (),
    suffixes: Sequence[str] | None = None,
    whole: bool = False,
    cutting: Cutting | None = None,
    unchanged: Callable[[str, str], bool] | None = None,
    exclude: Sequence[Path] = (),
) -> DocumentSource | SearchSource:
    """Return the source for what a person named.

    Args:
        target: a folder; one file; a .jsonl, .csv (either also .gz) or .parquet table; or the word `docstrings` for the
            standard library and the installed packages (a folder of that name is `./docstrings`).
        text: for a table, the column with the text.
        title: for a table, the column with the title.
        id: for a table, the column with the id.
        group: for a table, the column that says what belongs together.
        location: for a table, the column that says where a person finds the document.
        metadata: for a table, the columns kept as metadata, or `all`.
        suffixes: for a folder, which files to read; by default .md, .txt, .rst, .html, .htm, and with `whole` also
            .pdf, .docx, .csv, .jsonl and source code.
        whole: documents for searching: each file whole, and every document cut into passages. Without it each section
            of a file is a document of its own, as training wants them.
        cutting: with `whole`, how long the passages are.
        unchanged: with `whole`, asked with id and stamp whether a file is known as it is.
        exclude: with `whole`, folders not to enter, such as the index itself.

    Raises:
        DataError: it is none of these, or does not exist.
    """
    if target == "docstrings":
        return _Cut(DocstringsSource(), cutting) if whole else DocstringsSource()
    path = Path(target)
    accepted = (
        "a folder of text files, a text file (.md, .txt, .rst, .html), a document (.pdf, .docx), source code, "
        "a table (.jsonl, .csv, .parquet) or the word docstrings"
    )
    if not path.exists():
        raise DataError(f"{path} does not exist; nearfar reads {accepted}")
    kind = None if path.is_dir() else kind_of(path)
    if kind is not None:
        table = TableSource(
            path, kind, text=text, title=title, id=id, group=group, location=location, metadata=metadata
        )
        return _Cut(table, cutting) if whole else table
    if not path.is_dir() and not path.name.lower().endswith((*FILE_SUFFIXES, *(suffixes or ()))):
        raise DataError(f"{path} is of a kind that nearfar does not read; it reads {accepted}")
    if whole:
        return FilesSource(path, suffixes or FILE_SUFFIXES, cutting=cutting, unchanged=unchanged, exclude=exclude)
    return FolderSource(path, suffixes or TEXT_SUFFIXES)


class _Cut:
    """The documents of another source, cut into passages."""

    def __init__(self, source: DocumentSource, cutting: Cutting | None) -> None:
        self._source = source
        self._cutting = cutting or Cutting()

    @property
    def report(self) -> ReadReport:
        """What the source passed over."""
        return self._source.report

    def documents(self) -> Iterator[Document]:
        """Yield what the source yields."""
        return (cut(document, self._cutting) for document in self._source.documents())
