"""A folder of text files as documents: each section under a heading is one, long sections are several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from nearfar.errors import MissingExtraError
from nearfar.sources.document import Document, ReadReport
from nearfar.sources.formats import TEXT_SUFFIXES, read_file
from nearfar.sources.plain import UnreadableError
from nearfar.sources.sections import Section, passages
from nearfar.sources.walk import files_of, refuse_nothing, shown, with_dots


class FolderSource:
    """The text files under a folder, read one at a time in name order; hidden folders are left out.

    A document's title is its heading (before the first heading: the title of the file), its parent title the title of
    the file (where it names none: the file name), its group the file. PDF, Word and source code are read where their
    suffixes are asked for; suffixes that nearfar knows no markup for are read as plain text.

    Args:
        path: a folder, or a single file, which is then read whatever its suffix.
        suffixes: which files to read, with the dot; upper and lower case are the same.
        max_file_mb: larger files are skipped and reported, in MB (10^6 bytes).
    """

    def __init__(self, path: Path, suffixes: Sequence[str] = TEXT_SUFFIXES, max_file_mb: float = 20.0) -> None:
        self.path = Path(path)
        self.suffixes = with_dots(suffixes)
        self.max_file_mb = max_file_mb
        self.report = ReadReport()

    def documents(self) -> Iterator[Document]:
        """Yield the documents, files in name order and each file from top to bottom.

        Raises:
            DataError: the path does not exist, no file there has one of the suffixes, or none holds usable text.
        """
        report = self.report = ReadReport()
        any_file = False
        for path, name in files_of(self.path, self.suffixes, report):
            any_file = True
            yield from self._of_file(path, name, report)
        refuse_nothing(self.path, self.suffixes, report, any_file)

    def _of_file(self, path: Path, name: str, report: ReadReport) -> Iterator[Document]:
        place = shown(path)
        try:
            parsed = read_file(path, int(self.max_file_mb * 1e6))
        except UnreadableError as error:
            report.skip(place, error.reason, detail=error.detail)
            return
        except MissingExtraError as error:
            if self.path.is_file():
                raise
            report.skip(place, str(error))
            return
        for part in parsed.lost:
            report.skip(place, "a part of the file that cannot be read", detail=part)
        file_title = parsed.title or shown(path.stem)
        number = 0
        for section in parsed.sections:
            for passage, line in passages(section.body, section.line):
                number += 1
                report.read += 1
                yield Document(
                    id=f"{name}#{number}",
                    text=passage,
                    title=section.heading or file_title,
                    location=_place(place, section, line),
                    group=name,
                    parent_title=file_title,
                )
        if not number:
            report.skip(place, "no text under its headings")


def _place(place: str, section: Section, line: int) -> str:
    """Where a person finds a passage of a section: as exactly as the file can say."""
    if section.page is not None:
        return f"{place}#page={section.page}"
    if not section.line:
        return place
    return f"{place}:{line if section.verbatim else section.line}"
