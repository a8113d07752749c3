"""Hue; and brightness, contrast and saturation as one matrix a picture."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)
"""What red, green and blue count for grey (ITU-R BT.601)."""


def hue_turned(pixels: Tensor, turns: Tensor) -> Tensor:
    """Turn the hue of pictures, as HSV has it: the largest and the smallest channel of a pixel keep their values.

    Args:
        pixels: (n, 3, h, w) float32 in [0, 1].
        turns: (n,), shares of the colour circle, from red towards green.

    Returns:
        (n, 3, h, w) float32 in [0, 1].
    """
    red, green, blue = pixels.unbind(1)
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    per_chroma = chroma.clamp(min=1e-9).reciprocal_()
    # Hue in sixths of a turn: red is 0, green 2, blue 4.
    sixths = torch.where(
        value == red,
        (green - blue) * per_chroma,
        torch.where(value == green, (blue - red) * per_chroma + 2, (red - green) * per_chroma + 4),
    ).add_(6 * turns[:, None, None])
    # A channel is largest within a sixth of its own hue, smallest within a sixth of the opposite, linear in between.
    opposite = 5 - 2 * torch.arange(3, device=pixels.device, dtype=torch.float32)[:, None, None]
    around = sixths[:, None] + opposite
    around -= around.mul(1 / 6).floor_().mul_(6)
    away = around.sub_(2).abs_().neg_().add_(2).clamp_(0, 1)
    return torch.addcmul(value[:, None], chroma[:, None], away, value=-1)


def coloured(pixels: Tensor, factors: Tensor) -> Tensor:
    """Change brightness, contrast and saturation.

    Brightness multiplies a picture; contrast and saturation move it away from its mean grey and from its own grey, as in
    torchvision. The three are linear and commute: in which order they come, which torchvision draws, makes a difference only
    where values leave [0, 1] in between. Here they are cut off once, at the end.

    Args:
        pixels: (n, c, h, w) float32 in [0, 1].
        factors: (n, 3), of brightness, contrast and saturation; saturation is for 3 channels. The grey of other pictures is the
            mean of their channels.

    Returns:
        (n, c, h, w) float32 in [0, 1].
    """
    n, c = pixels.shape[:2]
    flat = pixels.reshape(n, c, -1)
    brightness, contrast, saturation = factors[:, :, None, None].unbind(1)
    matrix = torch.eye(c, device=pixels.device).expand(n, c, c)
    if c == 3:
        grey = _luma(pixels.device)
        # Written as a change of the identity, so that what changes nothing changes not a bit.
        matrix = matrix + (saturation - 1) * (matrix - grey)
    else:
        grey = torch.full((c,), 1 / c, device=pixels.device)
    mean = (flat.mean(dim=2) @ grey)[:, None, None]
    changed = torch.baddbmm(brightness * (1 - contrast) * mean, brightness * contrast * matrix, flat)
    return changed.clamp_(0, 1).view_as(pixels)


@cache
def _luma(device: torch.device) -> Tensor:
    """Made once: a copy to a GPU waits for all that it still has to do."""
    return torch.tensor(LUMA, device=device)
