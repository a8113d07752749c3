"""What every image encoder is: pictures in, one feature vector each out, by way of a map of features."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from nearfar.learn.encoders.view_encoder import ViewEncoder


class ImageEncoder(ViewEncoder):
    """An encoder of pictures.

    Pixels come in [0, 1]; the first thing that happens to them is `normalised`, so that what ships needs no settings beside
    the graph.

    Attributes:
        dim: components of a feature vector.
        width: channels of the feature map; equal to `dim` unless something stands between the two.
    """

    width: int

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full((channels, 1, 1), 0.5))
        self.register_buffer("std", torch.full((channels, 1, 1), 0.25))

    def normalise_by(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Set the mean and the standard deviation of each channel over the training pictures."""
        self.mean.copy_(torch.tensor(mean).view(-1, 1, 1))
        self.std.copy_(torch.tensor(std).clamp(min=1e-3).view(-1, 1, 1))

    def normalised(self, images: Tensor) -> Tensor:
        """Pixels of mean 0 and standard deviation 1."""
        return (images - self.mean) / self.std

    @abstractmethod
    def maps(self, images: Tensor) -> Tensor:
        """The last map of features, (n, width, h', w'), of pictures (n, c, h, w) in [0, 1]."""

    def pooled(self, maps: Tensor) -> Tensor:
        """One vector (n, dim) of each map."""
        return maps.mean(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """Embed n pictures (n, c, h, w) in [0, 1]; returns (n, dim)."""
        return self.pooled(self.maps(images))
