"""What the convolutional encoders are made of: a convolution, a norm and an activation in a row."""

from __future__ import annotations

from typing import Literal

from torch import nn

Norm = Literal["batch", "group"]

_CHANNELS_PER_GROUP = 16  # as good as any for GroupNorm, by table 3 of arXiv:1803.08494


def conv_norm(
    before: int,
    after: int,
    *,
    kernel: int = 3,
    stride: int = 1,
    groups: int = 1,
    norm: Norm,
    activation: type[nn.ReLU] | type[nn.ReLU6] | None = nn.ReLU,
) -> nn.Sequential:
    """A convolution without bias, its norm, and an activation where one is given.

    Args:
        before: channels that come in.
        after: channels that go out.
        kernel: height and width of the window; borders are padded so that stride 1 leaves height and width as they are.
        stride: places from one window to the next.
        groups: groups of channels that do not see each other; `before` for a depthwise convolution.
        norm: `batch` over all places of all pictures; `group` over all places of some channels of one picture.
        activation: a class without arguments but `inplace`, or None.
    """
    convolution = nn.Conv2d(before, after, kernel, stride, padding=(kernel - 1) // 2, groups=groups, bias=False)
    # Keeps the size of gradients through layers of ReLU (He et al., arXiv:1502.01852).
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    layers: list[nn.Module] = [convolution, _norm(norm, after)]
    return nn.Sequential(*layers, *([activation(inplace=True)] if activation is not None else []))


def _norm(kind: Norm, channels: int) -> nn.Module:
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    most = max(1, channels // _CHANNELS_PER_GROUP)
    return nn.GroupNorm(next(groups for groups in range(most, 0, -1) if channels % groups == 0), channels)
