"""Inverted residuals with linear bottlenecks (MobileNetV2, Sandler et al., arXiv:1801.04381), with strides for small pictures."""

from __future__ import annotations

from torch import Tensor, nn

from nearfar.learn.encoders.convolution import Norm, conv_norm
from nearfar.learn.encoders.image import ImageEncoder
from nearfar.recipe.image_encoders import MobileNetEncoder

_STEM = 32
# Expansion, channels, blocks, stride of the first block: table 2 of the paper.
_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def _rounded(channels: float) -> int:
    """The nearest multiple of 8, at least 8, and not below nine tenths of `channels`."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8


class InvertedResidual(nn.Module):
    """Widen, convolve each channel by itself, narrow without activation; the input is added where shapes allow.

    Args:
        before: channels that come in.
        after: channels that go out.
        expansion: how many times wider it is inside.
        stride: of the depthwise convolution.
        norm: of all convolutions.
    """

    def __init__(self, before: int, after: int, *, expansion: int, stride: int, norm: Norm) -> None:
        super().__init__()
        inside = before * expansion
        layers = [conv_norm(before, inside, kernel=1, norm=norm, activation=nn.ReLU6)] if expansion > 1 else []
        self.residual = nn.Sequential(
            *layers,
            conv_norm(inside, inside, stride=stride, groups=inside, norm=norm, activation=nn.ReLU6),
            conv_norm(inside, after, kernel=1, norm=norm, activation=None),
        )
        self.adds = stride == 1 and before == after

    def forward(self, maps: Tensor) -> Tensor:
        """(n, before, h, w) to (n, after, h / stride, w / stride)."""
        narrowed: Tensor = self.residual(maps)
        return maps + narrowed if self.adds else narrowed


class MobileNetImageEncoder(ImageEncoder):
    """A first layer, seven stages of inverted residuals, and a 1 x 1 convolution to `dim`.

    Args:
        settings: the recipe's encoder block.
        channels: of the pictures.
        small_stem: leave the first layer and the second stage without stride, so that 1/8 of height and width remains.
    """

    def __init__(self, settings: MobileNetEncoder, *, channels: int, small_stem: bool) -> None:
        super().__init__(channels)
        norm, self.dim, self.width = settings.norm, settings.dim, settings.dim
        self.reduction = 8 if small_stem else 32
        before = _rounded(_STEM * settings.multiplier)
        stem = conv_norm(channels, before, stride=1 if small_stem else 2, norm=norm, activation=nn.ReLU6)
        blocks: list[nn.Module] = []
        for stage, (expansion, channels_out, count, stride) in enumerate(_STAGES):
            after = _rounded(channels_out * settings.multiplier)
            for place in range(count):
                first = stride if not place and not (small_stem and stage == 1) else 1
                blocks.append(InvertedResidual(before, after, expansion=expansion, stride=first, norm=norm))
                before = after
        last = conv_norm(before, settings.dim, kernel=1, norm=norm, activation=nn.ReLU6)
        self.layers = nn.Sequential(stem, *blocks, last)

    def maps(self, images: Tensor) -> Tensor:
        """The output of the last layer, (n, dim, h / reduction, w / reduction)."""
        last: Tensor = self.layers(self.normalised(images))
        return last
