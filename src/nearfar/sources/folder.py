"""A folder of text files as documents: each section under a heading is one, long sections are several."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from nearfar.errors import DataError
from nearfar.sources.document import Document, ReadReport
from nearfar.sources.hypertext import parse_hypertext
from nearfar.sources.markdown import parse_markdown
from nearfar.sources.plain import UnreadableError, read_text
from nearfar.sources.restructured import parse_restructured
from nearfar.sources.sections import Parsed, Section, passages
from nearfar.sources.walk import shown, walk_files

TEXT_SUFFIXES = (".md", ".txt", ".rst", ".html", ".htm")

_TITLE_CHARS = 100


def parse_plain(text: str) -> Parsed:
    """Take a text without markup as one section; a short first line is its title."""
    lead = len(text) - len(text.lstrip())
    first, _, rest = text[lead:].partition("\n")
    line = text.count("\n", 0, lead) + 1
    if rest.strip() and len(first) <= _TITLE_CHARS:
        return Parsed(first.strip(), [Section(first.strip(), rest, line + 1)])
    return Parsed("", [Section("", text[lead:], line)])


_PARSERS: dict[str, Callable[[str], Parsed]] = {
    ".md": parse_markdown,
    ".markdown": parse_markdown,
    ".rst": parse_restructured,
    ".html": parse_hypertext,
    ".htm": parse_hypertext,
    ".xhtml": parse_hypertext,
}


class FolderSource:
    """The text files under a folder, read one at a time in name order; hidden folders are left out.

    A document's title is its heading (before the first heading: the title of the file), its parent title the title of
    the file (where it names none: the file name), its group the file. Suffixes that nearfar knows no markup for are read
    as plain text.

    Args:
        path: a folder, or a single file, which is then read whatever its suffix.
        suffixes: which files to read, with the dot; upper and lower case are the same.
        max_file_mb: larger files are skipped and reported, in MB (10^6 bytes).
    """

    def __init__(self, path: Path, suffixes: Sequence[str] = TEXT_SUFFIXES, max_file_mb: float = 20.0) -> None:
        self.path = Path(path)
        self.suffixes = tuple("." + suffix.lower().removeprefix(".") for suffix in suffixes)
        self.max_file_mb = max_file_mb
        self.report = ReadReport()

    def documents(self) -> Iterator[Document]:
        """Yield the documents, files in name order and each file from top to bottom.

        Raises:
            DataError: the path does not exist, no file there has one of the suffixes, or none holds usable text.
        """
        report = self.report = ReadReport()
        any_file = False
        for path, name in self._files(report):
            any_file = True
            yield from self._of_file(path, name, report)
        if report.read:
            return
        looked_for = ", ".join(self.suffixes)
        if any_file or report.skipped_total:
            first = "; ".join(report.examples)
            raise DataError(
                f"{self.path}: no file there ({looked_for}) holds text that can be used. The first: {first}"
            )
        raise DataError(
            f"{self.path} holds no file to read: looked for {looked_for} in it and its folders (hidden ones apart). "
            "Name another folder or other suffixes."
        )

    def _files(self, report: ReadReport) -> Iterator[tuple[Path, str]]:
        """Yield each file with its name relative to the source, always with `/`."""
        if not os.path.lexists(self.path):
            raise DataError(f"{self.path} does not exist: name a folder with {', '.join(self.suffixes)} files")
        if self.path.is_file():
            yield self.path, shown(self.path.name)
            return
        for path in walk_files(self.path, lambda name: name.lower().endswith(self.suffixes), report):
            yield path, shown(path.relative_to(self.path).as_posix())

    def _of_file(self, path: Path, name: str, report: ReadReport) -> Iterator[Document]:
        place = shown(path)
        try:
            text = read_text(path, int(self.max_file_mb * 1e6))
            parsed = _PARSERS.get(path.suffix.lower(), parse_plain)(text)
        except UnreadableError as error:
            report.skip(place, error.reason, detail=error.detail)
            return
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
                    location=f"{place}:{line if section.verbatim else section.line}",
                    group=name,
                    parent_title=file_title,
                )
        if not number:
            report.skip(place, "no text under its headings")
