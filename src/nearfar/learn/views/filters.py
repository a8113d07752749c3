"""Blur, solarisation and cutout."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def blurred(pixels: Tensor, sigma: Tensor, largest: float) -> Tensor:
    """Blur each picture with a Gaussian of its own; pictures are mirrored at their edges.

    Args:
        pixels: (n, c, h, w) float32.
        sigma: (n,), standard deviations in pixels, at least 0.
        largest: of all standard deviations that may come; the filter reaches three times as far, or to the edge.

    Returns:
        (n, c, h, w) float32.
    """
    n, c, height, width = pixels.shape
    reach = min(math.ceil(3 * largest), height - 1, width - 1)
    taps = torch.arange(-reach, reach + 1, device=pixels.device, dtype=torch.float32)
    kernels = torch.exp(-0.5 * (taps / sigma[:, None].clamp(min=1e-3)) ** 2)
    kernels = (kernels / kernels.sum(dim=1, keepdim=True)).repeat_interleave(c, dim=0)[:, None, None]
    # Each channel of each picture is a group of one convolution, first along the rows, then along the columns.
    flat = pixels.reshape(1, n * c, height, width)
    flat = F.conv2d(F.pad(flat, (reach, reach, 0, 0), mode="reflect"), kernels, groups=n * c)
    flat = F.conv2d(F.pad(flat, (0, 0, reach, reach), mode="reflect"), kernels.transpose(2, 3), groups=n * c)
    return flat.view_as(pixels)


def solarised(pixels: Tensor, threshold: float) -> Tensor:
    """Invert what is at least as bright as `threshold`; pixels in [0, 1]."""
    return torch.where(pixels >= threshold, 1 - pixels, pixels)


def cut_out(pixels: Tensor, boxes: Tensor) -> Tensor:
    """Overwrite a rectangle of each picture with the mean of each of its channels.

    Args:
        pixels: (n, c, h, w) float32.
        boxes: (n, 4), left, top, right and bottom, from 0 to 1; a pixel is within if its middle is.

    Returns:
        (n, c, h, w) float32.
    """
    left, top, right, bottom = boxes[:, :, None].unbind(1)
    across, down = (
        (torch.arange(side, device=pixels.device, dtype=torch.float32) + 0.5) / side
        for side in (pixels.shape[3], pixels.shape[2])
    )
    inside = ((down >= top) & (down < bottom))[:, None, :, None] & ((across >= left) & (across < right))[:, None, None]
    return torch.where(inside, pixels.mean(dim=(2, 3), keepdim=True), pixels)
