"""The files under a folder, with the split and the class that the folders they lie in say."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nearfar.errors import DataError
from nearfar.sources.document import ReadReport
from nearfar.sources.picture import SPLITS
from nearfar.sources.walk import shown, walk_files, with_dots


@dataclass(frozen=True, slots=True)
class LabelledFile:
    """One file.

    Attributes:
        id: its name relative to the folder, always with `/`.
        path: where it is.
        label: the class; empty without one.
        split: `train`, `validation` or `test`; empty where no folder says it.
        location: where a person finds it.
        folder: the folders below that of the class (or of the split), joined by `/`; empty where there are none.
    """

    id: str
    path: Path
    label: str
    split: str
    location: str
    folder: str


class LabelledFolder:
    """The files of some suffixes under a folder, in name order; hidden folders are left out, links in a circle end.

    Where the folder itself has a folder `train` beside one named `test` or `val` (`valid`, `validation`, `dev`), or has
    no folders but such, these are the splits: the levels below count from there, and files elsewhere are reported. A
    folder `train` among folders of other names is one like them.

    Files are not opened here: an empty one or one that may not be read is reported, all else is for who decodes.

    Args:
        path: the folder.
        labels: `folder` makes the name of the first folder (below the split) the class, and reports files that lie in
            none; `none` gives no labels, whatever folders there are.
        suffixes: which files to read, with the dot; upper and lower case are the same.
        items: what the files are, in the plural, for messages; `item` one of them.
    """

    def __init__(
        self, path: Path, labels: Literal["folder", "none"], suffixes: Sequence[str], *, items: str, item: str
    ) -> None:
        self.path = path
        self.labels = labels
        self.suffixes = with_dots(suffixes)
        self._items, self._item = items, item

    def files(self, report: ReadReport) -> Iterator[LabelledFile]:
        """Yield the files.

        Args:
            report: receives what is passed over, and counts what is yielded.

        Raises:
            DataError: there is no such folder, or no file in it can be used.
        """
        by_split = self._has_splits()
        any_file = False
        for path in walk_files(self.path, self._wanted, report):
            any_file = True
            relative, place = path.relative_to(self.path), shown(path)
            folders = [shown(part) for part in relative.parts[:-1]]
            split = ""
            if by_split:
                split = SPLITS.get(folders.pop(0).lower(), "") if folders else ""
                if not split:
                    report.skip(place, "not in a folder of a split (train, validation, test)")
                    continue
            if self.labels == "folder" and not folders:
                report.skip(place, "not in a folder of a class")
                continue
            label = folders.pop(0) if self.labels == "folder" else ""
            if reason := unreadable(path):
                report.skip(place, reason)
                continue
            report.read += 1
            yield LabelledFile(shown(relative.as_posix()), path, label, split, place, "/".join(folders))
        if not report.read:
            self._refuse(report, any_file)

    def again(self, ids: Sequence[str]) -> Iterator[Path]:
        """Yield the files of these ids, in their order.

        Raises:
            DataError: one is not there any more.
        """
        strange: dict[str, Path] | None = None  # names that are not UTF-8 cannot be had back from an id
        for id in ids:
            path = self.path / id
            if not path.is_file():
                if strange is None:
                    found = walk_files(self.path, self._wanted, ReadReport())
                    strange = {shown(file.relative_to(self.path).as_posix()): file for file in found}
                if id not in strange:
                    raise DataError(f"{shown(path)} is not there any more: put it back, or prepare the data again")
                path = strange[id]
            yield path

    def _wanted(self, name: str) -> bool:
        return name.lower().endswith(self.suffixes) and not name.startswith(".")

    def _has_splits(self) -> bool:
        if not self.path.is_dir():
            what = "is not a folder" if self.path.exists() else "does not exist"
            raise DataError(f"{shown(self.path)} {what}: name a folder with {self._items} ({', '.join(self.suffixes)})")
        try:
            names = [entry.name.lower() for entry in os.scandir(self.path) if entry.is_dir()]
        except OSError as error:
            raise DataError(f"{shown(self.path)}: cannot be read ({error.strerror}): check its permissions") from error
        names = [name for name in names if not name.startswith(".")]
        splits = {SPLITS[name] for name in names if name in SPLITS}
        return bool(splits) and (all(name in SPLITS for name in names) or ("train" in splits and len(splits) > 1))

    def _refuse(self, report: ReadReport, any_file: bool) -> None:
        """Raise a DataError where a whole folder gave nothing."""
        path = shown(self.path)
        if any_file or report.skipped_total:
            mend = (
                " If the folders are no classes, set labels: none."
                if "not in a folder of a class" in report.skipped
                else ""
            )
            raise DataError(
                f"{path}: no {self._item} in it can be used. The first: {'; '.join(report.examples)}.{mend}"
            )
        raise DataError(
            f"{path} holds no {self._items}: looked for {', '.join(self.suffixes)} in it and its folders "
            "(hidden ones apart)"
        )


def unreadable(path: Path) -> str:
    """Why a file cannot be of use, without opening it; empty if it may be."""
    try:
        if not path.stat().st_size:
            return "empty file"
    except OSError:
        return "cannot be read"
    return "" if os.access(path, os.R_OK) else "cannot be read"
