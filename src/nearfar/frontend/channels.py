"""The channels of a picture: grey, colour, transparency, and how many are wanted."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from nearfar.frontend.picture_error import PictureError

Pixels = npt.NDArray[Any]
"""(h, w, c), uint8, uint16 or float32."""

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as JPEG has it


def with_channels(pixels: Pixels, channels: int, *, alpha: bool = False) -> Pixels:
    """Bring a picture to so many channels.

    For 1 or 3 channels, transparency is composited on white, grey is repeated, and colour becomes luma. Any other number
    must be that of the picture, its transparency included.

    Args:
        pixels: (h, w, c).
        channels: wanted.
        alpha: whether the last channel is the opacity.

    Returns:
        (h, w, channels), same dtype.

    Raises:
        PictureError: the picture has another number of channels.
    """
    found = pixels.shape[2]
    if found == channels and not (alpha and channels in (1, 3)):
        return pixels
    if channels in (1, 3):
        if alpha:
            pixels = _on_white(pixels)
        if pixels.shape[2] == channels:
            return pixels
        if pixels.shape[2] == 1:
            return np.repeat(pixels, channels, axis=2)
        if pixels.shape[2] == 3:
            return _luma(pixels)
    raise PictureError("another number of channels", f"{found} where {channels} are wanted")


def _on_white(pixels: Pixels) -> Pixels:
    colours, opacity = pixels[:, :, :-1], pixels[:, :, -1:]
    if pixels.dtype == np.float32:
        composed: Pixels = colours * opacity + (1 - opacity)
        return composed
    full = np.iinfo(pixels.dtype).max
    if (opacity == full).all():
        return colours
    # 65535 * 65535 and a half of it more just fit.
    wide, share = colours.astype(np.uint32), opacity.astype(np.uint32)
    return ((wide * share + full * (full - share) + full // 2) // full).astype(pixels.dtype)


def _luma(pixels: Pixels) -> Pixels:
    grey: Pixels = pixels.astype(np.float32) @ np.array(_LUMA, np.float32)[:, None]
    if pixels.dtype == np.float32:
        return grey
    return np.rint(grey, out=grey).astype(pixels.dtype)


def upright(pixels: Pixels, orientation: int) -> Pixels:
    """Turn a picture as its EXIF orientation (1 to 8) says; any other number leaves it as it is."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels
