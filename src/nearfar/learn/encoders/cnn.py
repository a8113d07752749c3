"""A plain convolutional network for small pictures that two CPU cores can train in minutes."""

from __future__ import annotations

import math

from torch import Tensor, nn

from nearfar.errors import RunError
from nearfar.learn.encoders.convolution import conv_norm
from nearfar.learn.encoders.image import ImageEncoder
from nearfar.recipe.image_encoders import CnnEncoder


class CnnImageEncoder(ImageEncoder):
    """Four 3 x 3 convolutions, three of which halve height and width, the very first one among them; then a mean or a linear map.

    A convolution that keeps the height and width of the picture would cost more than all others together, and depthwise ones
    save operations that a CPU does not wait for.

    Args:
        settings: the recipe's encoder block.
        channels: of the pictures.
        size: height and width of a picture in pixels; only `pool: map` minds it.
    """

    reduction = 8

    def __init__(self, settings: CnnEncoder, *, channels: int, size: int) -> None:
        super().__init__(channels)
        width, norm = settings.width, settings.norm
        self.dim, self.size = settings.dim, size
        self.width = settings.dim if settings.pool == "mean" else 4 * width
        self.layers = nn.Sequential(
            conv_norm(channels, width, stride=2, norm=norm),
            conv_norm(width, 2 * width, stride=2, norm=norm),
            conv_norm(2 * width, 2 * width, norm=norm),
            conv_norm(2 * width, self.width, stride=2, norm=norm),
        )
        places = math.ceil(size / self.reduction) ** 2
        self.projection = nn.Linear(self.width * places, settings.dim) if settings.pool == "map" else None

    def maps(self, images: Tensor) -> Tensor:
        """The output of the last layer, (n, width, h / 8, w / 8)."""
        last: Tensor = self.layers(self.normalised(images))
        return last

    def pooled(self, maps: Tensor) -> Tensor:
        """The mean over all places, or a linear map of all of them.

        Raises:
            RunError: pictures of another size for the linear map.
        """
        if self.projection is None:
            return super().pooled(maps)
        flat = maps.flatten(1)
        if flat.shape[1] != self.projection.in_features:
            raise RunError(
                f"encoder.pool is map, which takes pictures of {self.size} x {self.size} pixels only, but got larger or smaller ones: "
                "leave views.local out, or set encoder.pool to mean"
            )
        projected: Tensor = self.projection(flat)
        return projected
