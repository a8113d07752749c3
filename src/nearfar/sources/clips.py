"""Recordings from a folder, flat or with a folder for each who or what is heard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from nearfar.sources.clip import Clip, ClipContent, ClipSource
from nearfar.sources.clip_table import ClipTable
from nearfar.sources.document import ReadReport
from nearfar.sources.labelled_folder import LabelledFile, LabelledFolder

__all__ = ["CLIP_SUFFIXES", "Clip", "ClipContent", "ClipFolder", "ClipSource", "ClipTable"]

CLIP_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif")


class ClipFolder:
    """The recordings under a folder, in name order; see `LabelledFolder` for splits, hidden folders and links.

    The folders below that of the label say the session (`anna/monday/1.wav`); without labels, folders say what belongs
    together.

    Files are not decoded here: an empty one or one that may not be read is reported, all else is for who decodes.

    Args:
        path: the folder.
        labels: `folder` makes the name of the first folder (below the split) the label, and reports recordings that lie in
            none; `none` gives no labels, whatever folders there are.
        suffixes: which files to read, with the dot; upper and lower case are the same.
    """

    def __init__(self, path: Path, labels: Literal["folder", "none"], suffixes: Sequence[str] = CLIP_SUFFIXES) -> None:
        self.path = Path(path)
        self.labels = labels
        self._files = LabelledFolder(self.path, labels, suffixes, items="recordings", item="recording")
        self.report = ReadReport()

    def clips(self) -> Iterator[Clip]:
        """Yield a recording a file.

        Raises:
            DataError: there is no such folder, or no recording in it can be used.
        """
        report = self.report = ReadReport()
        return map(self._clip, self._files.files(report))

    def again(self, ids: Sequence[str]) -> Iterator[Clip]:
        """Yield these recordings again, with nothing but id and content, in the order of `ids`.

        Raises:
            DataError: one is not there any more.
        """
        for id, path in zip(ids, self._files.again(ids), strict=True):
            yield Clip(id, path)

    def contents(self, ids: Sequence[str]) -> Iterator[Path]:
        """Yield the files of these recordings, in the order of `ids`.

        Raises:
            DataError: one is not there any more.
        """
        return self._files.again(ids)

    def _clip(self, file: LabelledFile) -> Clip:
        labelled = self.labels == "folder"
        # Two people's `monday` are no group: what belongs together is one folder.
        group = f"{file.label}/{file.folder}" if labelled and file.folder else file.folder
        session = file.folder if labelled else ""
        return Clip(file.id, file.path, file.label, file.split, file.location, session, group)
