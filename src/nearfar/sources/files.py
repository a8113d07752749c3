"""A folder of files as documents to search: each file is one, cut into passages; each row of a table is one; each picture is one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from nearfar.errors import MissingExtraError
from nearfar.sources.cut import Cutting
from nearfar.sources.document import Document, ReadReport, Scalar, Unchanged
from nearfar.sources.formats import CODE_SUFFIXES, OFFICE_SUFFIXES, TEXT_SUFFIXES, read_file
from nearfar.sources.labelled_folder import unreadable
from nearfar.sources.plain import UnreadableError
from nearfar.sources.records import row_documents
from nearfar.sources.rows import kind_of
from nearfar.sources.walk import files_of, refuse_nothing, shown, with_dots
from nearfar.sources.whole import assemble

TABLE_SUFFIXES = (".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz")
FILE_SUFFIXES = (*TEXT_SUFFIXES, *OFFICE_SUFFIXES, *TABLE_SUFFIXES, *CODE_SUFFIXES)

GENERATED = frozenset({"__pycache__", "node_modules"})
"""Folders that hold nothing a person wrote."""

_READING = 1
"""To be raised whenever the readers make something else of a file, so that indexes take it anew."""


class FilesSource:
    """The files under a folder, each a document that is cut into passages; hidden files and folders are left out.

    A document's id is the path of the file relative to the folder, its location the path, its group the id. Its metadata
    are `path`, `folder`, `suffix`, `bytes`, `modified` (a date, UTC) and what the file says of itself (author, language,
    front matter). Tables (CSV, JSONL) give a document a row, see `row_documents`; those carry no stamp, as the file is
    read to know its rows.

    Args:
        path: a folder, or a single file, which is then read whatever its suffix.
        suffixes: which files to read, with the dot; upper and lower case are the same.
        max_file_mb: larger files are skipped and reported, in MB (10^6 bytes); tables are streamed and may be larger.
        cutting: how long the passages are, and by how much they overlap.
        unchanged: asked with id and stamp whether a file is known as it is; it is then not opened.
        exclude: folders not to enter, such as the index itself.
        items: suffix -> tower of a bundle of several modalities, of files that are one item each: a picture, a recording, samples. They are
            not opened here, and may be of any size. Their suffixes need not be among `suffixes`.
    """

    def __init__(
        self,
        path: Path,
        suffixes: Sequence[str] = FILE_SUFFIXES,
        max_file_mb: float = 20.0,
        cutting: Cutting | None = None,
        unchanged: Callable[[str, str], bool] | None = None,
        exclude: Sequence[Path] = (),
        items: Mapping[str, str] | None = None,
    ) -> None:
        self.path = Path(path)
        self.items = {suffix.lower(): tower for suffix, tower in (items or {}).items()}
        self.suffixes = tuple(dict.fromkeys([*with_dots(suffixes), *self.items]))
        self.max_file_mb = max_file_mb
        self.cutting = cutting or Cutting()
        self.unchanged = unchanged
        self.exclude = tuple(exclude)
        self.report = ReadReport()

    def documents(self) -> Iterator[Document | Unchanged]:
        """Yield the documents in name order of their files, or `Unchanged` in place of those that were not read.

        Raises:
            DataError: the path does not exist, no file there has one of the suffixes, or none holds usable text.
            MissingExtraError: packages are missing for the single file that was named; in a folder such files are
                skipped and reported.
        """
        report = self.report = ReadReport()
        any_file = False
        files = files_of(self.path, self.suffixes, report, hidden=False, skip_folders=GENERATED, exclude=self.exclude)
        for path, name in files:
            any_file = True
            tower = self._tower_of(path)
            kind = kind_of(path) if tower is None else None
            if kind is not None and kind != "parquet":
                yield from row_documents(path, name, kind, self.cutting, report)
                continue
            found = self._of_file(path, name, report) if tower is None else self._item(path, name, tower, report)
            if found is not None:
                report.read += 1
                yield found
        refuse_nothing(self.path, self.suffixes, report, any_file)

    def _tower_of(self, path: Path) -> str | None:
        """The tower that takes a file as an item; of several suffixes that fit, as .csv and .csv.gz may, the longest counts."""
        name = path.name.lower()
        fitting = [suffix for suffix in self.items if name.endswith(suffix)]
        return self.items[max(fitting, key=len)] if fitting else None

    def _item(self, path: Path, name: str, tower: str, report: ReadReport) -> Document | Unchanged | None:
        place = shown(path)
        try:
            status = path.stat()
        except OSError as error:
            report.skip(place, "cannot be read", detail=error.strerror or type(error).__name__)
            return None
        stamp = f"{status.st_size}:{status.st_mtime_ns}:item-{tower}"
        if self.unchanged is not None and self.unchanged(name, stamp):
            return Unchanged(name)
        if reason := unreadable(path):
            report.skip(place, reason)
            return None
        title = name.rpartition("/")[2]
        facts = _facts(path, name, status)
        return Document(
            name, "", title, place, name, title, metadata=facts, stamp=stamp, modality=tower, item=path.resolve()
        )

    def _of_file(self, path: Path, name: str, report: ReadReport) -> Document | Unchanged | None:
        place = shown(path)
        try:
            # Before reading: what is written meanwhile makes another stamp next time.
            status = path.stat()
            stamp = self._stamp(status)
            if self.unchanged is not None and self.unchanged(name, stamp):
                return Unchanged(name)
            parsed = read_file(path, int(self.max_file_mb * 1e6))
        except UnreadableError as error:
            report.skip(place, error.reason, detail=error.detail)
            return None
        except OSError as error:
            report.skip(place, "cannot be read", detail=error.strerror or type(error).__name__)
            return None
        except MissingExtraError as error:
            if self.path.is_file():
                raise
            report.skip(place, str(error))
            return None
        for part in parsed.lost:
            report.skip(place, "a part of the file that cannot be read", detail=part)
        text, passages = assemble(parsed, place, self.cutting)
        if not passages:
            report.skip(place, "no text")
            return None
        title = parsed.title or name.rpartition("/")[2]
        return Document(
            id=name,
            text=text,
            title=title,
            location=place,
            group=name,
            parent_title=title,
            metadata={**parsed.metadata, **_facts(path, name, status)},
            passages=passages,
            stamp=stamp,
        )

    def _stamp(self, status: os.stat_result) -> str:
        """Size and time of the file, and how it is read: a document is another one where its passages are."""
        how = f"{_READING}-{self.cutting.words}-{self.cutting.overlap}"
        return f"{status.st_size}:{status.st_mtime_ns}:{how}"


def _facts(path: Path, name: str, status: os.stat_result) -> dict[str, Scalar]:
    facts: dict[str, Scalar] = {
        "path": name,
        "folder": name.rpartition("/")[0] or ".",
        "suffix": path.suffix.lower().removeprefix("."),
        "bytes": status.st_size,
    }
    if modified := _date(status.st_mtime):
        facts["modified"] = modified
    return facts


def _date(seconds: float) -> str:
    """Return the ISO date (UTC) of a time of a file; empty where the calendar does not reach."""
    try:
        return datetime.fromtimestamp(seconds, UTC).date().isoformat()
    except (ValueError, OverflowError, OSError):
        return ""
