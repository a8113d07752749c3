"""Pictures from a folder, flat or with a folder a class."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from nearfar.errors import DataError, MissingExtraError
from nearfar.sources.document import ReadReport
from nearfar.sources.image_table import ImageTable
from nearfar.sources.picture import SPLITS, Content, Picture, PictureSource
from nearfar.sources.walk import shown, walk_files

__all__ = ["PICTURE_SUFFIXES", "DigitsSource", "ImageFolder", "ImageTable", "Picture", "PictureSource"]

PICTURE_SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".webp", ".avif", ".bmp", ".gif"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pnm", ".npy"),
)


class ImageFolder:
    """The pictures under a folder, in name order; hidden folders are left out, links in a circle end.

    Where the folder itself has a folder `train` beside one named `test` or `val` (`valid`, `validation`, `dev`), or has no
    folders but such, these are the splits: the levels below count from there, and pictures elsewhere are reported. A folder
    `train` among folders of other names is one like them.

    Files are not decoded here: an empty one or one that may not be read is reported, all else is for who decodes.

    Args:
        path: the folder.
        labels: `folder` makes the name of the first folder (below the split) the class, and reports pictures that lie in none;
            `none` gives no labels, whatever folders there are.
        suffixes: which files to read, with the dot; upper and lower case are the same.
    """

    def __init__(
        self, path: Path, labels: Literal["folder", "none"], suffixes: Sequence[str] = PICTURE_SUFFIXES
    ) -> None:
        self.path = Path(path)
        self.labels = labels
        self.suffixes = tuple("." + suffix.lower().removeprefix(".") for suffix in suffixes)
        self.report = ReadReport()

    def pictures(self) -> Iterator[Picture]:
        """Yield a picture a file. A picture's group is the folder it lies in below the class (or split); often none.

        Raises:
            DataError: there is no such folder, or no picture in it can be used.
        """
        report = self.report = ReadReport()
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
            if reason := _unreadable(path):
                report.skip(place, reason)
                continue
            report.read += 1
            yield Picture(shown(relative.as_posix()), path, label, split, place, "/".join(folders))
        if not report.read:
            self._refuse(any_file)

    def contents(self, ids: Sequence[str]) -> Iterator[Path]:
        """Yield the files of these pictures, in the order of `ids`.

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
            raise DataError(f"{shown(self.path)} {what}: name a folder with pictures ({', '.join(self.suffixes)})")
        try:
            names = [entry.name.lower() for entry in os.scandir(self.path) if entry.is_dir()]
        except OSError as error:
            raise DataError(f"{shown(self.path)}: cannot be read ({error.strerror}): check its permissions") from error
        names = [name for name in names if not name.startswith(".")]
        splits = {SPLITS[name] for name in names if name in SPLITS}
        return bool(splits) and (all(name in SPLITS for name in names) or ("train" in splits and len(splits) > 1))

    def _refuse(self, any_file: bool) -> None:
        """Raise a DataError where a whole folder gave nothing."""
        report, path = self.report, shown(self.path)
        if any_file or report.skipped_total:
            mend = (
                " If the folders are no classes, set labels: none."
                if "not in a folder of a class" in report.skipped
                else ""
            )
            raise DataError(f"{path}: no picture in it can be used. The first: {'; '.join(report.examples)}.{mend}")
        raise DataError(
            f"{path} holds no pictures: looked for {', '.join(self.suffixes)} in it and its folders (hidden ones apart)"
        )


def _unreadable(path: Path) -> str:
    """Why a file cannot be a picture, without opening it; empty if it may be one."""
    try:
        if not path.stat().st_size:
            return "empty file"
    except OSError:
        return "cannot be read"
    return "" if os.access(path, os.R_OK) else "cannot be read"


class DigitsSource:
    """The 1,797 handwritten digits of scikit-learn: 8 x 8 pixels of 17 shades, stretched to uint8; labels `0` to `9`."""

    def __init__(self) -> None:
        self.report = ReadReport()

    def pictures(self) -> Iterator[Picture]:
        """Yield the digits in the order of scikit-learn.

        Raises:
            MissingExtraError: scikit-learn is not installed.
        """
        self.report = ReadReport()
        digits, labels = _digits()
        for number, (digit, label) in enumerate(zip(digits, labels, strict=True), start=1):
            self.report.read += 1
            yield Picture(f"digits#{number}", digit, str(label), location=f"scikit-learn digits:{number}")

    def contents(self, ids: Sequence[str]) -> Iterator[Content]:
        """Yield these digits, in the order of `ids`."""
        digits, _ = _digits()
        for id in ids:
            number = id.removeprefix("digits#")
            if not number.isdecimal() or not 1 <= int(number) <= len(digits):
                raise DataError(f"{id} is none of the digits: ids are digits#1 to digits#{len(digits)}")
            yield digits[int(number) - 1]


def _digits() -> tuple[np.ndarray[tuple[int, int, int], np.dtype[np.uint8]], list[int]]:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingExtraError("train", "the digits of scikit-learn") from error
    bunch = load_digits()
    return np.rint(bunch.images * (255 / 16)).astype(np.uint8), [int(label) for label in bunch.target]
