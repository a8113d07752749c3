"""Pictures and their views side by side, to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from nearfar.errors import MissingExtraError
from nearfar.learn.views.geometry import as_float

_GAP = 2
"""Pixels between two cells."""
_PAPER = 255
"""What is behind the pictures: white."""
_LEAST = 96
"""Pixels that a cell should have: small pictures are enlarged by a whole number until they do."""


def sheet(pixels: Tensor, views: Sequence[Tensor], aspects: NDArray[np.floating] | None = None) -> NDArray[np.uint8]:
    """A grid: a row for each picture, the original in the first column and its views in the others.

    Args:
        pixels: (n, c, h, w) uint8, uint16 or float in [0, 1], the pictures as they are stored. 1 channel is shown in grey, 3 or
            more by the first three as red, green and blue, 2 as the mean of both.
        views: V tensors (n, c, h', w') in [0, 1]; smaller ones are shown smaller.
        aspects: (n,), width / height of the originals; if given, they are shown with it.

    Returns:
        (H, W, 3) uint8.
    """
    n = len(pixels)
    if n == 0 or any(len(view) != n for view in views):
        raise ValueError(f"{n} pictures and views of {[len(view) for view in views]} make no grid")
    side = max(max(view.shape[-2:]) for view in views) if views else max(pixels.shape[-2:])
    enlarge = max(1, -(-_LEAST // side))
    cell = side * enlarge
    step = cell + _GAP
    grid = np.full((n * step + _GAP, (1 + len(views)) * step + _GAP, 3), _PAPER, dtype=np.uint8)
    for row in range(n):
        aspect = 1.0 if aspects is None else float(aspects[row])
        original = _fitted(as_float(pixels[row : row + 1].cpu()), aspect, cell)
        shown = [original, *(_enlarged(view[row : row + 1].cpu(), enlarge) for view in views)]
        for column, picture in enumerate(shown):
            height, width = picture.shape[:2]
            top = _GAP + row * step + (cell - height) // 2
            left = _GAP + column * step + (cell - width) // 2
            grid[top : top + height, left : left + width] = picture
    return grid


def write_png(grid: NDArray[np.uint8], path: Path) -> None:
    """Write an array (H, W, 3) uint8 as a PNG file.

    Raises:
        MissingExtraError: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        raise MissingExtraError("images", "Writing a picture") from error
    Image.fromarray(grid).save(path, format="PNG")


def _fitted(picture: Tensor, aspect: float, cell: int) -> NDArray[np.uint8]:
    """The picture with its proportions, as large as the cell allows."""
    shape = max(1, round(cell * min(1.0, 1 / aspect))), max(1, round(cell * min(1.0, aspect)))
    whole = cell % picture.shape[2] == 0 and cell % picture.shape[3] == 0 and shape == (cell, cell)
    if whole:  # Enlarged like its views beside it, so that the two can be compared.
        return _bytes(F.interpolate(picture, shape, mode="nearest"))
    return _bytes(F.interpolate(picture, shape, mode="bilinear", antialias=True, align_corners=False))


def _enlarged(picture: Tensor, times: int) -> NDArray[np.uint8]:
    return _bytes(picture.repeat_interleave(times, dim=2).repeat_interleave(times, dim=3))


def _bytes(picture: Tensor) -> NDArray[np.uint8]:
    """(1, c, h, w) in [0, 1] -> (h, w, 3) uint8."""
    colours = picture[0]
    if len(colours) == 2:
        colours = colours.mean(dim=0, keepdim=True)
    colours = colours[:3].expand(3, -1, -1)
    levels: NDArray[np.uint8] = colours.permute(1, 2, 0).mul(255).round().byte().numpy()
    return levels
