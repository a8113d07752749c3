"""Where each pixel of a view comes from: crop, flip, rotation, warp and change of size in one sampling."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

_COARSEST = 1.5
"""Pixels of the picture a sample of bilinear interpolation may stand for before it misses some of them."""


def as_float(pixels: Tensor) -> Tensor:
    """Pixels as float32 in [0, 1]: 8 and 16 bit are divided by their largest value, floats are taken as they are."""
    if pixels.dtype == torch.uint8:
        return pixels.float().div_(255)
    if pixels.dtype == torch.uint16:
        return pixels.float().div_(65_535)
    if not pixels.is_floating_point():
        raise ValueError(f"pixels must be uint8, uint16 or float, not {pixels.dtype}")
    return pixels.float()


def resampled(pixels: Tensor, affine: Tensor, size: int) -> Tensor:
    """Upright windows of pictures, resized: each row and each column of the result is a weighted sum of those of the picture.

    The weights are those of bilinear interpolation where the window is enlarged; where it is shrunk the triangle becomes as wide
    as the shrinking (antialiasing), along each axis for itself. This is the "bilinear" of Pillow's and torchvision's `resize`.

    Args:
        pixels: (n, c, h, w) float32.
        affine: (n, 2, 3), from the window to the picture, both -1 to 1, without rotation: [[x, 0, cx], [0, y, cy]]. Negative x
            or y mirror.
        size: height and width of the result in pixels.

    Returns:
        (n, c, size, size) float32.
    """
    n, c, height, width = pixels.shape
    columns = _weights(affine[:, 0, 2], affine[:, 0, 0], width, size)
    rows = _weights(affine[:, 1, 2], affine[:, 1, 1], height, size)
    narrowed = torch.bmm(pixels.reshape(n, c * height, width), columns.transpose(1, 2)).view(n, c, height, size)
    return torch.matmul(rows[:, None], narrowed)


def _weights(centre: Tensor, extent: Tensor, source: int, size: int) -> Tensor:
    """(n, size, source): how much each of `source` pixels of a line counts for each of `size` pixels of the window."""
    step = extent * (source / size)
    line = torch.arange(max(source, size), device=centre.device, dtype=torch.float32) + 0.5
    positions = (centre[:, None] + 1) * (source / 2) + (line[:size] - size / 2) * step[:, None]
    reach = step.abs().clamp_(min=1.0)[:, None, None]
    weights = (line[:source] - positions[:, :, None]).abs_().div_(reach).neg_().add_(1).clamp_(min=0)
    return weights.div_(weights.sum(dim=-1, keepdim=True))


def turned(pixels: Tensor, affine: Tensor, size: int) -> Tensor:
    """Windows of pictures that may be rotated, resized by bilinear interpolation; beyond its edge the picture is mirrored.

    Where the picture has more pixels than the view, each pixel of the view is the mean of a square of samples, so many that
    none of the picture's pixels falls between two samples.

    Args:
        pixels: (n, c, h, w) float32.
        affine: (n, 2, 3), from the window to the picture, both -1 to 1.
        size: height and width of the result in pixels.

    Returns:
        (n, c, size, size) float32.
    """
    grid = F.affine_grid(affine, _sampled(pixels, size), align_corners=False)
    return _from(pixels, grid, size, beyond="reflection")


def warped(pixels: Tensor, affine: Tensor, bend: Tensor | None, size: int) -> Tensor:
    """Windows of pictures, bent and resized; beyond its edge the picture goes on as its last pixel.

    Args:
        pixels: (n, c, h, w) float32.
        affine: (n, 2, 3), from the window to the picture, both -1 to 1.
        bend: (n, 2, k, k), how far right and down the places of an even grid over the window are moved, in its coordinates;
            between them it is bicubic. None for nowhere.
        size: height and width of the result in pixels.

    Returns:
        (n, c, size, size) float32.
    """
    shape = _sampled(pixels, size)
    if bend is None:
        return _from(pixels, F.affine_grid(affine, shape, align_corners=False), size, beyond="border")
    upright = torch.eye(2, 3, device=affine.device).expand(len(pixels), 2, 3)
    places = F.affine_grid(upright, shape, align_corners=False)
    moved = places + F.interpolate(bend, shape[2:], mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
    grid = moved @ affine[:, None, :, :2].transpose(2, 3) + affine[:, None, None, :, 2]
    return _from(pixels, grid, size, beyond="border")


def _sampled(pixels: Tensor, size: int) -> list[int]:
    """The shape of as many samples as leave out no pixel."""
    samples = max(1, math.ceil(max(pixels.shape[2:]) / (_COARSEST * size)))
    return [len(pixels), pixels.shape[1], samples * size, samples * size]


def _from(pixels: Tensor, grid: Tensor, size: int, *, beyond: str) -> Tensor:
    """Pictures at the places of a grid, averaged down to the size of the view."""
    drawn = F.grid_sample(pixels, grid, mode="bilinear", padding_mode=beyond, align_corners=False)
    samples = drawn.shape[-1] // size
    return drawn if samples == 1 else F.avg_pool2d(drawn, samples)


def plain(pixels: Tensor, aspects: NDArray[np.floating], size: int) -> Tensor:
    """The view without chance, to evaluate by: the central square of the original picture, resized.

    Args:
        pixels: (n, c, h, w) uint8, uint16 or float in [0, 1], pictures squashed to a common shape.
        aspects: (n,), width / height of the original pictures.
        size: height and width of the result in pixels.

    Returns:
        (n, c, size, size) float32 in [0, 1].
    """
    affine = np.zeros((len(aspects), 2, 3), dtype=np.float32)
    affine[:, 0, 0] = np.minimum(1.0, 1.0 / np.asarray(aspects))
    affine[:, 1, 1] = np.minimum(1.0, aspects)
    with torch.autocast(pixels.device.type, enabled=False):
        return resampled(as_float(pixels), torch.from_numpy(affine).to(pixels.device), size)
