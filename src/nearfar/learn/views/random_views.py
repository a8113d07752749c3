"""Random views of pictures, a batch at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nearfar.learn.views.colour import coloured, hue_turned
from nearfar.learn.views.draw import Draws, draw
from nearfar.learn.views.filters import blurred, cut_out, solarised
from nearfar.learn.views.geometry import as_float, resampled, turned, warped
from nearfar.recipe.views import View
from nearfar.recipe.views import Views as ViewsSettings

_CACHED = 2**18
"""Numbers of a picture and its view that are worked on at a time on a CPU: what comes between then stays in its cache."""


class Views:
    """Makes random views of pictures. What is random is drawn first, for the whole batch; what is drawn is applied to any part of it.

    Args:
        settings: the rules.
        size: height and width of a view of full size, in pixels.
        channels: of the pictures; without 3 there are no saturation, hue and greyscale.

    Attributes:
        count: views a picture.
        full: how many of them are of full size; they come first.
    """

    def __init__(self, settings: ViewsSettings, *, size: int, channels: int) -> None:
        self.rules = settings.each()
        self.sizes = settings.sizes(size)
        self.channels = channels
        self.count = len(self.rules)
        self.full = self.count - (settings.local.count if settings.local else 0)

    def draw(self, aspects: NDArray[np.floating], rng: np.random.Generator) -> Draws:
        """Draw all that is random about the views of n pictures.

        Args:
            aspects: (n,), width / height of each picture before it was squashed.
            rng: the source; a rank that draws for the whole batch draws what the others draw.

        Returns:
            Draws for n pictures, on the CPU.
        """
        return draw(self.rules, aspects, self.channels, rng)

    @torch.no_grad()
    def apply(self, pixels: Tensor, draws: Draws, *, count: int | None = None) -> tuple[Tensor, ...]:
        """Make the views that were drawn.

        Args:
            pixels: (n, c, h, w) uint8, uint16 or float in [0, 1], pictures squashed to a common shape.
            draws: those of these n pictures, on the same device.
            count: make only so many of them, the first ones; by default all.

        Returns:
            A tensor (n, c, size, size) a view, float32 in [0, 1].
        """
        n, c = pixels.shape[:2]
        if len(draws.sigma) != n or c != self.channels:
            raise ValueError(
                f"pixels {tuple(pixels.shape)} do not fit draws for {len(draws.sigma)} pictures of {self.channels} channels"
            )
        made = tuple(torch.empty(n, c, size, size, device=pixels.device) for size in self.sizes[:count])
        step = max(1, _CACHED // max(pixels[:1].numel(), c * max(self.sizes) ** 2)) if pixels.is_cpu else max(1, n)
        with torch.autocast(pixels.device.type, enabled=False):
            for start in range(0, n, step):
                part = slice(start, start + step)
                source, drawn = as_float(pixels[part]), draws.rows(part)
                for v, (rule, view) in enumerate(zip(self.rules[:count], made, strict=True)):
                    view[part] = _one_view(source, rule, drawn.of_view(v), view.shape[-1])
        return made


def _one_view(pixels: Tensor, rule: View, draws: Draws, size: int) -> Tensor:
    if rule.warp is not None:
        view = warped(pixels, draws.affine, draws.bend if rule.warp.bend else None, size)
    else:
        view = (turned if rule.rotation else resampled)(pixels, draws.affine, size)
    if rule.jitter is not None and rule.jitter.hue and pixels.shape[1] == 3:
        turns = draws.colour[:, 3]
        view = _where(turns != 0, hue_turned, view, turns)
    if rule.jitter is not None or rule.greyscale:
        view = coloured(view, draws.colour[:, :3])
    if rule.blur is not None:
        largest = rule.blur.sigma[1]
        view = _where(draws.sigma > 0, lambda x, sigma: blurred(x, sigma, largest), view, draws.sigma)
    if rule.solarise is not None:
        threshold = rule.solarise.threshold
        view = _where(draws.solarised, lambda x: solarised(x, threshold), view)
    if rule.cutout is not None:
        view = _where(draws.cutout[:, 2] > 0, cut_out, view, draws.cutout)
    return view


def _where(drawn: Tensor, change: Callable[..., Tensor], view: Tensor, *parameters: Tensor) -> Tensor:
    """Change the pictures that drew it; on a GPU all are, because to ask which would wait for all that came before."""
    if not view.is_cpu:
        return torch.where(drawn[:, None, None, None], change(view, *parameters), view)
    rows = drawn.nonzero().squeeze(1)
    if len(rows):
        view[rows] = change(view[rows], *(parameter[rows] for parameter in parameters))
    return view
