"""Residual networks (He et al., arXiv:1512.03385), with a first layer for small pictures besides that of the paper."""

from __future__ import annotations

from torch import Tensor, nn

from nearfar.learn.encoders.convolution import Norm, conv_norm
from nearfar.learn.encoders.image import ImageEncoder
from nearfar.recipe.image_encoders import ResNetEncoder

_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}


class Residual(nn.Module):
    """A few convolutions around which the input goes too, through a 1 x 1 convolution where shapes differ.

    Args:
        before: channels that come in.
        width: channels inside; also those that go out, or a quarter of them where `bottleneck`.
        stride: of the first 3 x 3 convolution.
        bottleneck: 1 x 1, 3 x 3, 1 x 1 instead of two of 3 x 3.
        norm: of all convolutions.
        zero_init: start as the shortcut alone (arXiv:1706.02677, sec. 5.1).
    """

    def __init__(self, before: int, width: int, *, stride: int, bottleneck: bool, norm: Norm, zero_init: bool) -> None:
        super().__init__()
        after = 4 * width if bottleneck else width
        if bottleneck:  # the stride is in the 3 x 3, as everyone has it since Goyal et al. 2017
            self.residual = nn.Sequential(
                conv_norm(before, width, kernel=1, norm=norm),
                conv_norm(width, width, stride=stride, norm=norm),
                conv_norm(width, after, kernel=1, norm=norm, activation=None),
            )
        else:
            self.residual = nn.Sequential(
                conv_norm(before, width, stride=stride, norm=norm),
                conv_norm(width, after, norm=norm, activation=None),
            )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            self.shortcut = conv_norm(before, after, kernel=1, stride=stride, norm=norm, activation=None)
        self.activation = nn.ReLU(inplace=True)
        if zero_init:
            nn.init.zeros_(self.residual[-1][-1].weight)  # type: ignore[index]

    def forward(self, maps: Tensor) -> Tensor:
        """(n, before, h, w) to (n, after, h / stride, w / stride)."""
        added: Tensor = self.activation(self.residual(maps) + self.shortcut(maps))
        return added


class ResNetImageEncoder(ImageEncoder):
    """A first layer and four stages of residual blocks, all but the first of which halve height and width.

    Args:
        settings: the recipe's encoder block.
        channels: of the pictures.
        small_stem: whether the first layer is one 3 x 3 convolution that keeps height and width (the usual CIFAR stem); with
            padding 1, where some have 2 and compute a quarter more for nothing.
    """

    def __init__(self, settings: ResNetEncoder, *, channels: int, small_stem: bool) -> None:
        super().__init__(channels)
        width, norm = settings.width, settings.norm
        self.dim = self.width = settings.output_dim
        self.stem: nn.Module
        if small_stem:
            self.stem = conv_norm(channels, width, norm=norm)
        else:
            pool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
            self.stem = nn.Sequential(conv_norm(channels, width, kernel=7, stride=2, norm=norm), pool)
        self.reduction = 8 if small_stem else 32
        bottleneck = settings.depth == 50
        blocks, before = [], width
        for stage, count in enumerate(_BLOCKS[settings.depth]):
            inside = width * 2**stage
            for place in range(count):
                stride = 2 if stage and not place else 1
                blocks.append(
                    Residual(
                        before, inside, stride=stride, bottleneck=bottleneck, norm=norm, zero_init=settings.zero_init
                    )
                )
                before = 4 * inside if bottleneck else inside
        self.blocks = nn.Sequential(*blocks)

    def maps(self, images: Tensor) -> Tensor:
        """The output of the last stage, (n, dim, h / reduction, w / reduction)."""
        last: Tensor = self.blocks(self.stem(self.normalised(images)))
        return last
