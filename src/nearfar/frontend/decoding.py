"""A picture in any form to an array: a path, encoded bytes, or an array already."""

from __future__ import annotations

import io
import math
import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from nearfar.errors import DataError
from nearfar.frontend.channels import Pixels, upright, with_channels
from nearfar.frontend.picture_error import PictureError, check_size
from nearfar.frontend.quiet import quiet

__all__ = ["PictureError", "decode"]

_NPY = b"\x93NUMPY"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def decode(item: object, channels: int, *, name: str = "", at_least: int | None = None) -> Pixels:
    """Decode one picture and bring it to so many channels.

    JPEG, PNG, WebP, AVIF, BMP, GIF (first frame), PPM and TIFF are read by Pillow; TIFF of more than 8 bits with several
    channels, and TIFF for which other than 1, 3 or 4 channels are wanted, by tifffile; `.npy` by NumPy. What a file is
    called does not matter. It is turned as its EXIF orientation says. 16 bits stay 16 bits. Transparency is composited on
    white where 1 or 3 channels are wanted. Colour profiles are ignored.

    Args:
        item: a path, the bytes of a file, or an array (h, w) or (h, w, c).
        channels: 1 makes grey of colour (luma of BT.601), 3 repeats grey; any other number must be that of the picture.
        name: of the picture, for messages; a path names itself.
        at_least: lets a large JPEG be decoded at a half, quarter or eighth of its size, as long as neither side becomes
            shorter than this: many times faster. The picture may still come larger.

    Returns:
        (h, w, channels), uint8 or uint16; float32 in [0, 1] where the picture is of floats. It may share memory with `item`.

    Raises:
        PictureError: it is none, damaged, cut off, without pixels, of more than 178,956,970 pixels, of a kind of pixel that
            is not read, or of another number of channels.
        DataError: `item` is none of the three.
        MissingExtraError: Pillow is not installed.
    """
    if not name and isinstance(item, (str, os.PathLike)):
        name = os.fsencode(item).decode("utf-8", "backslashreplace")
    try:
        if isinstance(item, np.ndarray):
            return with_channels(_checked(item), channels)
        with _opened(item) as file:
            return _read(file, channels, at_least)
    except PictureError as error:
        raise PictureError(error.reason, error.detail, name) from error.__cause__
    except MemoryError as error:
        raise PictureError("too large", "the memory does not hold it", name) from error
    except OSError as error:
        raise PictureError("cannot be read", error.strerror or type(error).__name__, name) from error


def _opened(item: object) -> BinaryIO:
    if isinstance(item, (bytes, bytearray, memoryview)):
        return io.BytesIO(item)
    if not isinstance(item, (str, os.PathLike)):
        raise DataError(f"a picture is {type(item).__name__}: pass a path, the bytes of a file, or an array (h, w, c)")
    path = Path(os.fsdecode(item))
    if "\0" in os.fspath(path):
        raise PictureError("cannot be read", "no name of a file")
    if path.exists() and not path.is_file():  # a named pipe would never end
        raise PictureError("cannot be read", "not a regular file")
    return path.open("rb")


def _read(file: BinaryIO, channels: int, at_least: int | None) -> Pixels:
    start = file.read(8)
    file.seek(0)
    if not start:
        raise PictureError("empty file")
    if start.startswith(_NPY):
        return with_channels(_checked(_npy(file)), channels)
    if start.startswith(_TIFF):
        from nearfar.frontend.tiff import needs_tifffile, read_tiff

        if needs_tifffile(file, channels):
            pixels, alpha, orientation = read_tiff(file, channels)
            return upright(with_channels(_checked(pixels), channels, alpha=alpha), orientation)
    from nearfar.frontend.pillow import read_with_pillow

    pixels, alpha, orientation = read_with_pillow(file, channels, at_least)
    return upright(with_channels(_checked(pixels), channels, alpha=alpha), orientation)


def _npy(file: BinaryIO) -> npt.NDArray[Any]:
    """Read an array whose header promises no more than the file holds, and no Python objects."""
    headers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        with quiet():
            shape, _, dtype = headers[np.lib.format.read_magic(file)](file)
            if dtype.hasobject:
                raise PictureError("holds Python objects, which are never loaded")
            if len(shape) not in (2, 3):
                raise PictureError("no array of (h, w) or (h, w, c)", f"its shape is {shape}")
            check_size(shape[0], shape[1], shape[2] if len(shape) == 3 else 1)
            expected = file.tell() + math.prod(shape) * dtype.itemsize
            if file.seek(0, os.SEEK_END) < expected:
                raise PictureError("cut off")
            file.seek(0)
            array: npt.NDArray[Any] = np.load(file, allow_pickle=False)
    except (PictureError, MemoryError):
        raise
    except Exception as error:  # of many kinds: the header is a Python literal, and is parsed as one
        raise PictureError("damaged", "not a sound .npy file") from error
    return array


def _checked(array: npt.NDArray[Any]) -> Pixels:
    """Return (h, w, c) of uint8, uint16 or float32 in [0, 1], in the byte order of this machine."""
    if array.ndim not in (2, 3):
        raise PictureError("no array of (h, w) or (h, w, c)", f"its shape is {array.shape}")
    pixels = array if array.ndim == 3 else array[:, :, None]
    check_size(*pixels.shape)
    if pixels.dtype.kind == "f":
        pixels = pixels.astype(np.float32, copy=False)
        if not (pixels.min() >= 0 and pixels.max() <= 1):  # also where one is not a number
            raise PictureError("floats outside [0, 1]", "scale them, or store uint8 or uint16")
        return pixels
    if pixels.dtype.kind != "u" or pixels.dtype.itemsize > 2:
        raise PictureError("pixels of a kind that is not read", f"{pixels.dtype}: use uint8, uint16 or float32")
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
