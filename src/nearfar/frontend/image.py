"""Pictures to pixels of one size: one object, used by training, evaluation and the device."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from nearfar.embedder import Item, Side
from nearfar.errors import DataError
from nearfar.frontend.channels import Pixels
from nearfar.frontend.decoding import PictureError, decode
from nearfar.frontend.frontend import Feed, GraphInput
from nearfar.frontend.resizing import resize
from nearfar.frontend.settings import ImageSettings

__all__ = ["ImageFrontend", "PictureError", "decode", "resize", "scaled"]

_VALUES_PER_BATCH = 2**24  # 64 MB of float32: bounds the memory of one run whatever the size is

# A JPEG that is decoded at a part of its size is still so many times larger than what it is resized to: what is lost then
# is beyond what 8 bits show (Pillow's own `thumbnail` takes the same).
_DRAFT_MARGIN = 2


class ImageFrontend:
    """Decodes pictures and brings them to the size and channels of a graph.

    Attributes:
        settings: size, channels, and what becomes of a picture that is not square.
    """

    def __init__(self, settings: ImageSettings) -> None:
        self.settings = settings

    def prepare(self, item: Item, *, name: str = "") -> Pixels:
        """Decode one picture, make it square and of the right size.

        Args:
            item: a path, the bytes of a file, or an array (h, w) or (h, w, c); see `decode`.
            name: for messages.

        Returns:
            (size, size, channels), uint8, uint16 or float32 as the picture is.

        Raises:
            PictureError: it cannot be used.
            MissingExtraError: Pillow is not installed.
        """
        size = self.settings.size
        picture = decode(item, self.settings.channels, name=name, at_least=_DRAFT_MARGIN * size)
        if self.settings.fit == "crop":
            height, width = picture.shape[:2]
            side = min(height, width)
            top, left = (height - side) // 2, (width - side) // 2
            picture = picture[top : top + side, left : left + side]
        return resize(picture, size, size)

    def encode(self, items: Sequence[Item]) -> npt.NDArray[np.float32]:
        """Prepare pictures for the graph.

        Args:
            items: n pictures; see `prepare`.

        Returns:
            float32 (n, channels, size, size) in [0, 1].

        Raises:
            PictureError: one cannot be used; the message says which.
        """
        self.check(items)
        return self._encoded(items, range(len(items)))

    @property
    def inputs(self) -> Mapping[str, GraphInput]:
        """What the graph takes."""
        return {"pixels": GraphInput("tensor(float)", 4)}

    @property
    def contract(self) -> str:
        """The same in words."""
        size = self.settings.size
        return f"pixels, float32 (n, {self.settings.channels}, {size}, {size})"

    @property
    def unit(self) -> str:
        """What a batch is counted in."""
        return "pixel values"

    @property
    def sides_differ(self) -> bool:
        """A picture that is searched for and one that is found are prepared alike."""
        return False

    def check(self, items: Sequence[Item]) -> None:
        """Refuse one picture where a list is needed; an array (n, h, w, c) is a list of pictures.

        Raises:
            DataError: `items` is a path, bytes or one picture's array.
        """
        single = isinstance(items, (str, bytes, bytearray, memoryview, os.PathLike))
        if single or (isinstance(items, np.ndarray) and items.ndim in (2, 3)):
            raise DataError("got one picture where a list of pictures is needed: wrap it as [picture]")

    def feeds(self, items: Sequence[Item], side: Side, batch_size: int) -> Iterator[tuple[list[int], Feed]]:
        """Decode and yield pictures batch by batch, in their order; see `Frontend.feeds`."""
        most = _VALUES_PER_BATCH // (self.settings.size**2 * self.settings.channels)
        step = max(1, min(batch_size, most))
        for start in range(0, len(items), step):
            positions = range(start, min(start + step, len(items)))
            yield list(positions), {"pixels": self._encoded(items, positions)}

    def trials(self, side: Side) -> Feed:
        """Two pictures of noise, one of all shades and one of the two extremes. A blank one would tell nothing of the norm."""
        channels, size = self.settings.channels, self.settings.size
        noise = np.random.default_rng(0).random((2, channels, size, size), dtype=np.float32)
        noise[1] = noise[1] > 0.5
        return {"pixels": noise}

    def _encoded(self, items: Sequence[Item], positions: range) -> npt.NDArray[np.float32]:
        channels, size = self.settings.channels, self.settings.size
        pixels = np.empty((len(positions), channels, size, size), dtype=np.float32)
        for row, position in enumerate(positions):
            item = items[position]
            name = "" if isinstance(item, (str, os.PathLike)) else f"item {position}"
            pixels[row] = scaled(self.prepare(item, name=name)).transpose(2, 0, 1)
        return pixels


def scaled(picture: Pixels) -> npt.NDArray[np.float32]:
    """Pixels in [0, 1]: 8 bits divided by 255, 16 bits by 65535, floats as they are."""
    values = picture.astype(np.float32, copy=False)
    return values if picture.dtype.kind == "f" else values / np.float32(np.iinfo(picture.dtype).max)
