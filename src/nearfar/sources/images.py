"""Pictures from a folder, flat or with a folder a class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from nearfar.errors import DataError, MissingExtraError
from nearfar.sources.document import ReadReport
from nearfar.sources.image_table import ImageTable
from nearfar.sources.labelled_folder import LabelledFolder
from nearfar.sources.picture import Content, Picture, PictureSource

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
        self._files = LabelledFolder(self.path, labels, suffixes, items="pictures", item="picture")
        self.suffixes = self._files.suffixes
        self.report = ReadReport()

    def pictures(self) -> Iterator[Picture]:
        """Yield a picture a file. A picture's group is the folder it lies in below the class (or split); often none. Below a class
        that folder is its session too.

        Raises:
            DataError: there is no such folder, or no picture in it can be used.
        """
        report = self.report = ReadReport()
        for file in self._files.files(report):
            session = file.folder if file.label else ""
            yield Picture(file.id, file.path, file.label, file.split, file.location, file.folder, session)

    def contents(self, ids: Sequence[str]) -> Iterator[Path]:
        """Yield the files of these pictures, in the order of `ids`.

        Raises:
            DataError: one is not there any more.
        """
        return self._files.again(ids)


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
