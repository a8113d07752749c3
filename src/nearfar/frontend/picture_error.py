"""Why a picture cannot be used."""

from __future__ import annotations

from nearfar.errors import DataError


class PictureError(DataError):
    """One picture cannot be used; who reads many may count by `reason` and go on.

    Attributes:
        reason: one of a few.
        detail: about this picture; may be empty.
        name: which picture; empty until somebody knows.
    """

    def __init__(self, reason: str, detail: str = "", name: str = "") -> None:
        what = f"{reason} ({detail})" if detail else reason
        super().__init__(f"{name}: {what}" if name else what)
        self.reason, self.detail, self.name = reason, detail, name

    def __reduce__(self) -> tuple[type[PictureError], tuple[str, str, str]]:
        return type(self), (self.reason, self.detail, self.name)


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
