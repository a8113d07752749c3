"""Dilated convolutions over time: Yue et al., TS2Vec (arXiv:2106.10466), section 3.2, without its random masks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nearfar.learn.encoders.series import SeriesEncoder
from nearfar.recipe.series import DilatedCnnEncoder

_KERNEL = 3


class CausalConv(nn.Module):
    """A convolution over time that sees nothing later than the frame it stands at."""

    def __init__(self, before: int, after: int, dilation: int) -> None:
        super().__init__()
        self.past = (_KERNEL - 1) * dilation
        self.convolution = nn.Conv1d(before, after, _KERNEL, dilation=dilation)
        nn.init.kaiming_normal_(self.convolution.weight, nonlinearity="relu")
        nn.init.zeros_(self.convolution.bias)  # type: ignore[arg-type]

    def forward(self, hidden: Tensor) -> Tensor:
        """(n, before, T) to (n, after, T)."""
        convolved: Tensor = self.convolution(F.pad(hidden, (self.past, 0)))
        return convolved


class DilatedBlock(nn.Module):
    """Two causal convolutions around a residual."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.first, self.second = (CausalConv(width, width, dilation) for _ in range(2))

    def forward(self, hidden: Tensor) -> Tensor:
        """(n, width, T) to (n, width, T)."""
        changed: Tensor = self.second(F.relu(self.first(F.relu(hidden))))
        return hidden + changed


class DilatedCnn(SeriesEncoder):
    """Values and what is missing, through blocks that look ever further back; what the last frame sees, and the mean of all.

    Args:
        settings: the recipe's encoder block.
        window: frames of a window.
        features: numbers of a frame.
    """

    def __init__(self, settings: DilatedCnnEncoder, *, window: int, features: int) -> None:
        width = settings.width
        super().__init__(window=window, features=features, dim=settings.dim, width=2 * width, skip=settings.skip)
        self.stem = nn.Conv1d(2 * features, width, 1)
        self.blocks = nn.Sequential(*(DilatedBlock(width, 2**number) for number in range(settings.layers)))

    def summary(self, window: Tensor, present: Tensor) -> Tensor:
        """The last frame and the mean, (n, 2 width)."""
        frames = torch.cat([window, present], dim=2).transpose(1, 2)
        hidden = F.relu(self.blocks(self.stem(frames)))
        return torch.cat([hidden[:, :, -1], hidden.mean(dim=2)], dim=1)
