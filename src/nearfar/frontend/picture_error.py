"""Why a picture cannot be used."""

from __future__ import annotations

from nearfar.frontend.item_error import ItemError


class PictureError(ItemError):
    """One picture cannot be used; who reads many may count by `reason` and go on."""


# Pillow's own limit between a large picture and one made to fill the memory.
_MAX_PIXELS = 178_956_970
_MAX_VALUES = 4 * _MAX_PIXELS


def check_size(height: int, width: int, channels: int) -> None:
    """Refuse a picture by the size that its header declares, before memory is taken for it.

    Raises:
        PictureError: it has no pixels, or too many.
    """
    if min(height, width, channels) < 1:
        raise PictureError("has no pixels", f"{width} x {height}")
    if height * width > _MAX_PIXELS or height * width * channels > _MAX_VALUES:
        raise PictureError("too large", f"{width} x {height} with {channels} channels")
