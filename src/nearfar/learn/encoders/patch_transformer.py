"""A transformer over patches of a window: Nie et al., PatchTST (arXiv:2211.14730), with all channels in one patch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nearfar.learn.encoders.series import SeriesEncoder
from nearfar.learn.encoders.transformer import Block
from nearfar.recipe.series import PatchTransformerEncoder

_FEEDFORWARD = 2  # times the width; windows hold few patches, and there is little to store


class PatchTransformer(SeriesEncoder):
    """Some frames at a time become one vector; attention mixes them.

    PatchTST has each channel pass alone; here channels must meet, because two that change places are a fault.

    Args:
        settings: the recipe's encoder block.
        window: frames of a window, a multiple of `settings.patch`.
        features: numbers of a frame.
    """

    def __init__(self, settings: PatchTransformerEncoder, *, window: int, features: int) -> None:
        width = settings.width
        super().__init__(window=window, features=features, dim=settings.dim, width=width, skip=settings.skip)
        self.patches = window // settings.patch
        self.patch = nn.Linear(2 * features * settings.patch, width)
        self.positions = nn.Parameter(0.02 * torch.randn(self.patches, width))
        self.blocks = nn.ModuleList(
            Block(width, settings.heads, _FEEDFORWARD * width, 0.0) for _ in range(settings.layers)
        )
        self.norm = nn.LayerNorm(width)

    def summary(self, window: Tensor, present: Tensor) -> Tensor:
        """The mean over patches, (n, width)."""
        patches = torch.cat([window, present], dim=2).reshape(window.shape[0], self.patches, -1)
        hidden = self.patch(patches) + self.positions
        for block in self.blocks:
            hidden = block(hidden, None)
        mean: Tensor = self.norm(hidden).mean(dim=1)
        return mean
