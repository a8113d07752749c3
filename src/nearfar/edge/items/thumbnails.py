"""Pictures small enough to keep beside their vectors."""

from __future__ import annotations

import io

import numpy as np

from nearfar.embedder import Item
from nearfar.errors import DataError
from nearfar.frontend.channels import Pixels
from nearfar.frontend.decoding import decode
from nearfar.frontend.pillow import pillow
from nearfar.frontend.resizing import resize

SIDE = 96
"""Pixels of the longer side, at most."""
_QUALITY = 80


def thumbnail(item: Item) -> bytes:
    """A picture of at most 96 x 96 pixels as the bytes of a PNG or JPEG file, whichever is smaller.

    Args:
        item: a path, the bytes of a file, or an array (h, w) or (h, w, c); see `nearfar.frontend.decoding.decode`.

    Returns:
        The bytes; none of a picture that cannot be shown, such as one of six channels.

    Raises:
        MissingExtraError: Pillow is not installed.
    """
    try:
        picture = decode(item, 3, at_least=SIDE)
    except DataError:
        return b""
    height, width = picture.shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    small = _eight_bits(resize(picture, max(1, round(height * scale)), max(1, round(width * scale))))
    image = pillow().fromarray(np.ascontiguousarray(small))
    files = []
    for how in ({"format": "PNG", "optimize": True}, {"format": "JPEG", "quality": _QUALITY}):
        file = io.BytesIO()
        image.save(file, **how)
        files.append(file.getvalue())
    return min(files, key=len)


def _eight_bits(picture: Pixels) -> Pixels:
    if picture.dtype == np.uint8:
        return picture
    most = 1.0 if picture.dtype.kind == "f" else 65535.0
    return np.rint(np.clip(picture / most, 0, 1) * 255).astype(np.uint8)
