"""Changing the size of a picture without aliasing."""

from __future__ import annotations

import numpy as np

from nearfar.frontend.channels import Pixels
from nearfar.frontend.pillow import pillow


def resize(picture: Pixels, height: int, width: int) -> Pixels:
    """Resize with a triangle filter as wide as the scale: what `F.interpolate(mode="bilinear", antialias=True)` computes.

    Args:
        picture: (h, w, c), uint8, uint16 or float32.
        height: wanted, in pixels.
        width: wanted, in pixels.

    Returns:
        (height, width, c), same dtype; `picture` itself where it has that size.

    Raises:
        MissingExtraError: Pillow is not installed.
    """
    if picture.shape[:2] == (height, width):
        return picture
    images = pillow()
    size, bilinear = (width, height), images.Resampling.BILINEAR
    deep = picture.dtype != np.uint8
    channels = picture.shape[2]
    if channels == 3 and not deep:
        return np.asarray(images.fromarray(np.ascontiguousarray(picture)).resize(size, bilinear))
    # Four channels at once would be taken for colour with opacity.
    resized = np.empty((height, width, channels), dtype=picture.dtype)
    for channel in range(channels):
        plane = np.ascontiguousarray(picture[:, :, channel], dtype=np.float32 if deep else np.uint8)
        values = np.asarray(images.fromarray(plane).resize(size, bilinear))
        resized[:, :, channel] = np.rint(values).clip(0, 65535) if picture.dtype == np.uint16 else values
    return resized
