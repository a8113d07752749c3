"""A plain convolutional network for small pictures that two CPU cores can train in minutes."""

from __future__ import annotations

from torch import Tensor, nn

from nearfar.learn.encoders.convolution import conv_norm
from nearfar.learn.encoders.image import ImageEncoder
from nearfar.recipe.image_encoders import CnnEncoder


class CnnImageEncoder(ImageEncoder):
    """Four 3 x 3 convolutions, three of which halve height and width, the very first one among them.

    A convolution that keeps the height and width of the picture would cost more than all others together, and depthwise ones
    save operations that a CPU does not wait for.

    Args:
        settings: the recipe's encoder block.
        channels: of the pictures.
    """

    reduction = 8

    def __init__(self, settings: CnnEncoder, *, channels: int) -> None:
        super().__init__(channels)
        width, norm = settings.width, settings.norm
        self.dim = self.width = settings.dim
        self.layers = nn.Sequential(
            conv_norm(channels, width, stride=2, norm=norm),
            conv_norm(width, 2 * width, stride=2, norm=norm),
            conv_norm(2 * width, 2 * width, norm=norm),
            conv_norm(2 * width, settings.dim, stride=2, norm=norm),
        )

    def maps(self, images: Tensor) -> Tensor:
        """The output of the last layer, (n, dim, h / 8, w / 8)."""
        last: Tensor = self.layers(self.normalised(images))
        return last
