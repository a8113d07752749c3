"""Reading a picture with Pillow, without losing bits and without its warnings."""

from __future__ import annotations

from contextlib import closing
from types import ModuleType
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from nearfar.errors import MissingExtraError
from nearfar.frontend.channels import Pixels
from nearfar.frontend.picture_error import PictureError, check_size
from nearfar.frontend.quiet import quiet

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

# Not everything that Pillow knows: EPS would start Ghostscript, and JPEG 2000 loses the low bits of deep colour unseen.
_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "AVIF", "BMP", "GIF", "TIFF", "PPM")
_PLUGINS = ("Avif", "Bmp", "Gif", "Jpeg", "Mpo", "Png", "Ppm", "Tiff", "WebP")
_ORIENTATION = 0x0112
_TIFF_PHOTOMETRIC = 262

# Pillow unpacks 16-bit colour of PNG to 8 bits. Unpacked a second time as if the bytes of each sample were swapped, it gives
# the other 8. Grey with opacity is taken apart as four channels of 8 bits.
_DEEP_PNG = {"RGB;16B": ("RGB;16B", "RGB;16L"), "RGBA;16B": ("RGBA;16B", "RGBA;16L"), "LA;16B": ("RGBA",)}

_loaded: list[ModuleType] = []


def pillow() -> ModuleType:
    """The module `PIL.Image`, with the formats that are read.

    Raises:
        MissingExtraError: Pillow is not installed.
    """
    if not _loaded:
        try:
            from PIL import Image
        except ImportError as error:
            raise MissingExtraError("images", "reading pictures") from error
        from importlib import import_module

        for name in _PLUGINS:  # Image.init() would load thirty more
            import_module(f"PIL.{name}ImagePlugin")
        _loaded.append(Image)
    return _loaded[0]


def read_with_pillow(file: BinaryIO, channels: int, at_least: int | None) -> tuple[Pixels, bool, int]:
    """Decode a picture.

    Args:
        file: at its start.
        channels: wanted; of palette, CMYK and the like only 1 and 3 are made.
        at_least: see `decode`.

    Returns:
        (h, w, c), whether the last channel is the opacity, and the EXIF orientation.

    Raises:
        PictureError: it cannot be decoded.
        MissingExtraError: Pillow is not installed.
    """
    images = pillow()
    formats = [name for name in _FORMATS if name in images.OPEN]
    with quiet():
        try:
            with closing(images.open(file, formats=formats)) as picture:
                return _decoded(picture, file, channels, at_least)
        except (PictureError, MemoryError):
            raise
        except images.UnidentifiedImageError as error:
            raise PictureError(
                "no picture of a kind that is read", "JPEG, PNG, WebP, AVIF, BMP, GIF, TIFF, PPM, .npy"
            ) from error
        except images.DecompressionBombError as error:
            raise PictureError("too large") from error
        except Exception as error:  # its readers raise whatever their parsing met
            text = " ".join(str(error).split())[:100]
            if "truncated" in text.lower() or isinstance(error, EOFError):
                raise PictureError("cut off") from error
            raise PictureError("damaged", text) from error


def _decoded(picture: ImageFile, file: BinaryIO, channels: int, at_least: int | None) -> tuple[Pixels, bool, int]:
    width, height = picture.size
    check_size(height, width, len(picture.getbands()))
    if at_least is not None and picture.format in ("JPEG", "MPO"):
        picture.draft(None, (at_least, at_least))
    raw = picture.tile[0][3] if picture.tile else None
    if picture.format == "PNG" and raw in _DEEP_PNG:
        pixels, alpha = _deep_png(picture, file, str(raw))
    elif picture.format == "PPM" and picture.mode == "RGB" and isinstance(raw, tuple) and raw[-1] > 255:
        raise PictureError("pixels of a kind that is not read", "PPM colour of more than 8 bits: use PNG or TIFF")
    else:
        picture.load()
        pixels, alpha = _pixels(picture, channels)
    return pixels, alpha, _orientation(picture)


def _pixels(picture: ImageFile, channels: int) -> tuple[Pixels, bool]:
    mode = picture.mode
    if mode.startswith("I;16"):
        deep = np.asarray(picture)
        inverted = picture.format == "TIFF" and getattr(picture, "tag_v2", {}).get(_TIFF_PHOTOMETRIC) == 0
        return (65535 - deep if inverted else deep)[:, :, None], False
    if mode == "I":
        wide = np.asarray(picture)
        low, high = int(wide.min()), int(wide.max())
        if low < 0 or high > 65535:
            raise PictureError("pixels of a kind that is not read", f"integers from {low} to {high}: use 16 bits")
        return wide.astype(np.uint16)[:, :, None], False
    if mode == "CMYK" and channels == 4:
        return np.asarray(picture), False
    if mode in ("RGBA", "LA", "RGBa", "La", "PA") or "transparency" in picture.info:
        wanted = "LA" if mode in ("LA", "La") else "RGBA"
        return np.asarray(picture if mode == wanted else picture.convert(wanted)), True
    wanted = {"L": "L", "1": "L", "F": "F"}.get(mode, "RGB")
    pixels = np.asarray(picture if mode == wanted else picture.convert(wanted))
    return (pixels if pixels.ndim == 3 else pixels[:, :, None]), False


def _deep_png(picture: ImageFile, file: BinaryIO, raw: str) -> tuple[Pixels, bool]:
    """All 16 bits of a PNG in colour or with opacity."""
    images, planes = pillow(), []
    for unpacked in _DEEP_PNG[raw]:
        file.seek(0)
        again = images.open(file, formats=["PNG"])
        again.tile = [(*again.tile[0][:3], unpacked)]
        again.load()
        planes.append(np.asarray(again).astype(np.uint16))
    picture.load()  # for the orientation, which may come after the pixels
    if len(planes) == 2:
        return planes[0] << 8 | planes[1], raw.startswith("RGBA")
    return planes[0][:, :, 0::2] << 8 | planes[0][:, :, 1::2], True


def _orientation(picture: ImageFile) -> int:
    try:
        orientation = picture.getexif().get(_ORIENTATION, 1)
    except Exception:  # a broken EXIF block is no reason to refuse the pixels
        return 1
    return orientation if isinstance(orientation, int) else 1
