"""TIFF that Pillow cannot read, or only by cutting it to 8 bits: deep colour and any number of channels."""

from __future__ import annotations

import logging
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from nearfar.frontend.picture_error import PictureError, check_size
from nearfar.frontend.pillow import pillow
from nearfar.frontend.quiet import quiet

_BITS, _ORIENTATION = 258, 274
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2  # photometric interpretation
_PREMULTIPLIED, _OPACITY = 1, 2  # extra samples


def needs_tifffile(file: BinaryIO, channels: int) -> bool:
    """Whether Pillow would not do: it cannot open the file, cuts its channels to 8 bits, or knows no such number of them."""
    if channels not in (1, 3, 4):
        return True
    images = pillow()
    try:
        with quiet():
            picture = images.open(file, formats=["TIFF"])
            bits = picture.tag_v2.get(_BITS, (1,))
    except Exception:  # tifffile may know more, and says what is wrong if not
        return True
    finally:
        file.seek(0)
    return len(bits) > 1 and max(bits) > 8


def read_tiff(file: BinaryIO, channels: int) -> tuple[npt.NDArray[Any], bool, int]:
    """Decode the first picture of a TIFF file; pages of like size count as channels where so many are wanted.

    Returns:
        (h, w, c), whether the last channel is the opacity, and the orientation.

    Raises:
        PictureError: it cannot be decoded, or tifffile is not installed.
    """
    try:
        import tifffile
    except ImportError as error:
        raise PictureError("a TIFF that only the package tifffile may read", "pip install tifffile") from error
    logging.getLogger("tifffile").addHandler(logging.NullHandler())  # or its complaints would reach the console
    try:
        with tifffile.TiffFile(file) as opened:
            page = opened.pages.first
            part, axes, shape = _part(opened, channels)
            sizes = dict(zip(axes, shape, strict=True))
            check_size(sizes["Y"], sizes["X"], int(np.prod(shape, dtype=np.int64)) // (sizes["Y"] * sizes["X"] or 1))
            pixels: npt.NDArray[Any] = part.asarray()
            if pixels.ndim == 3 and axes.endswith("YX"):
                pixels = np.moveaxis(pixels, 0, -1)
            if page.photometric == _WHITE_IS_ZERO and pixels.dtype.kind == "u":
                pixels = np.iinfo(pixels.dtype).max - pixels
            tag = page.tags.get(_ORIENTATION)
            return pixels, _has_opacity(page, pixels.shape, channels), int(tag.value) if tag else 1
    except (PictureError, MemoryError):
        raise
    except Exception as error:  # its readers raise whatever their parsing met
        raise PictureError("damaged", " ".join(str(error).split())[:100]) from error


def _part(opened: Any, channels: int) -> tuple[Any, str, tuple[int, ...]]:
    """What to read: the first page, or all of like size where there are as many as channels are wanted.

    An array (h, w, c) that is written without saying what its axes are becomes h pages of w x c; it is read as it was meant.
    """
    page, series = opened.pages.first, opened.series[0]
    if len(page.shape) == 2 and len(series.shape) == 3:
        if series.shape[0] == channels:
            return series, "SYX", series.shape
        if series.shape[2] == channels:
            return series, "YXS", series.shape
    return page, page.axes, page.shape


def _has_opacity(page: Any, shape: tuple[int, ...], channels: int) -> bool:
    """Whether the last channel is the opacity, for pictures that are to be grey or colour."""
    if channels not in (1, 3):
        return False
    if page.photometric not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB):
        raise PictureError("pixels of a kind that is not read", f"TIFF photometric {page.photometric}")
    if len(shape) < 3 or shape[2] != (4 if page.photometric == _RGB else 2):
        return False
    if page.extrasamples == (_PREMULTIPLIED,):
        raise PictureError("pixels of a kind that is not read", "deep colour multiplied by its opacity")
    return bool(page.extrasamples == (_OPACITY,))
