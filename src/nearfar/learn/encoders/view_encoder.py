"""What every encoder is that learns by comparing views."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class ViewEncoder(nn.Module, ABC):
    """An encoder of views. Vectors are not yet of unit length: losses and export normalise them.

    Attributes:
        dim: components of a feature vector.
        mean: of the inputs over the training data, by channel; it also says which device the encoder is on.
        std: likewise, their standard deviation.
    """

    dim: int
    mean: Tensor
    std: Tensor

    @abstractmethod
    def forward(self, views: Tensor) -> Tensor:
        """Embed n views (n, ...); returns (n, dim)."""
