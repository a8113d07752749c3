"""What every encoder of windows is: a linear map of the window's mean, and beside it what convolutions or attention see."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

_KNEE = 4.0  # spreads; healthy data lies within, and int8 has its steps there

_START = 0.1
"""Share of its usual size that the map of the summary starts with: at first the plain statistics speak."""


class SeriesEncoder(nn.Module, ABC):
    """An encoder of windows. Embeddings are not of unit length: how far they lie from normal is what they are for.

    Args:
        window: T, frames of a window.
        features: F, numbers of a frame.
        dim: components of an embedding.
        width: components of what `summary` gives.
        skip: whether a linear map of the window's mean is added.

    Attributes:
        dim: components of an embedding.
    """

    def __init__(self, *, window: int, features: int, dim: int, width: int, skip: bool) -> None:
        super().__init__()
        self.window, self.features, self.dim = window, features, dim
        self.skip = nn.Linear(features, dim, bias=False) if skip else None
        # Without bias: distances do not change when all embeddings move together.
        self.last = nn.Linear(width, dim, bias=False)
        if self.skip is not None:
            _spread_out(self.skip.weight)
            with torch.no_grad():
                self.last.weight.mul_(_START)

    @abstractmethod
    def summary(self, window: Tensor, present: Tensor) -> Tensor:
        """One vector (n, width) of each window; `window` (n, T, F) lies within the knee, as `squashed` has it."""

    def forward(self, window: Tensor, present: Tensor) -> Tensor:
        """Embed n windows.

        Args:
            window: (n, T, F), scaled, 0 where missing.
            present: (n, T, F), 1 where there is a value, else 0.

        Returns:
            (n, dim).
        """
        embedding: Tensor = self.last(self.summary(squashed(window), present))
        if self.skip is None:
            return embedding
        mean = window.sum(1) / present.sum(1).clamp(min=1.0)
        skipped: Tensor = self.skip(mean)
        return skipped + embedding


def squashed(window: Tensor) -> Tensor:
    """Values that keep their size near 0 and never leave (-4, 4): one wild sensor must not drown what the others say."""
    return window / (1.0 + window.abs() / _KNEE)


def _spread_out(weight: Tensor) -> None:
    """Start a map (dim, F) so that every feature is seen: each as it is where there is room, else mixed without loss of length."""
    dim, features = weight.shape
    with torch.no_grad():
        if features <= dim:
            weight.zero_()
            weight[:features] = torch.eye(features)
        else:
            nn.init.orthogonal_(weight)
