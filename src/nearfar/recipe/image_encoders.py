"""The encoders of pictures. The docstrings are their documentation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, Strict, model_validator

from nearfar.recipe.settings import Count, Dimension, Fraction, Settings

Width = Annotated[int, Strict(), Field(ge=8, le=1024)]


class ImageEncoderSettings(Settings):
    """What every encoder of pictures can be told."""

    start: Path | None = None
    """A run of `nearfar train`, or a checkpoint of one, whose encoder's weights are the start; `null` starts afresh."""


class ConvolutionSettings(ImageEncoderSettings):
    """What every convolutional encoder can be told besides."""

    norm: Literal["batch", "group"] = "batch"
    """Normalise over the batch, or within each picture (GroupNorm, arXiv:1803.08494; the heads then have LayerNorm): what gradient
    caching (`train.chunk`) and several devices need, as a picture's embedding must not depend on what else is in the batch."""


class CnnEncoder(ConvolutionSettings):
    """A small plain convolutional network for small pictures and CPUs."""

    kind: Literal["cnn"]
    width: Width = 32
    """Channels after the first layer; the later ones have twice as many."""
    dim: Dimension = 128
    """Components of an embedding."""
    pool: Literal["mean", "map"] = "mean"
    """What becomes of the last layer's map: its mean over all places (its channels are then the components), or a linear map of all
    of it, which knows where things are: for glyphs, marks and aligned faces, where the place of a stroke matters."""

    @property
    def output_dim(self) -> int:
        """Dimension of the embeddings."""
        return self.dim


class ResNetEncoder(ConvolutionSettings):
    """A residual network (arXiv:1512.03385)."""

    kind: Literal["resnet"]
    depth: Literal[18, 34, 50] = 18
    """Layers: 18 and 34 have blocks of two convolutions, 50 has bottlenecks of three."""
    stem: Literal["auto", "small", "large"] = "auto"
    """The first layer: `large` takes a 7 x 7 convolution and a pooling that leave a quarter of height and width, `small` one
    3 x 3 convolution that leaves all; `auto` takes `small` below 64 pixels."""
    width: Width = 64
    """Channels of the first stage; each of the three further stages doubles them."""
    zero_init: bool = False
    """Start each residual block as the identity (arXiv:1706.02677, sec. 5.1), which steadies large batches."""

    @property
    def output_dim(self) -> int:
        """Dimension of the embeddings."""
        return self.width * (32 if self.depth == 50 else 8)


class MobileNetEncoder(ConvolutionSettings):
    """Inverted residuals with depthwise convolutions (MobileNetV2, arXiv:1801.04381): few operations for the device."""

    kind: Literal["mobilenet"]
    multiplier: Annotated[float, Strict(), Field(ge=0.1, le=4.0)] = 1.0
    """Channels as a multiple of the paper's, rounded to a multiple of 8."""
    stem: Literal["auto", "small", "large"] = "auto"
    """`large` leaves 1/32 of height and width in the end, as in the paper; `small` 1/8; `auto` takes `small` below 64 pixels."""
    dim: Dimension = 512
    """Channels after the last layer: components of an embedding. The paper has 1280."""

    @property
    def output_dim(self) -> int:
        """Dimension of the embeddings."""
        return self.dim


class VitEncoder(ImageEncoderSettings):
    """A small vision transformer (arXiv:2010.11929) with fixed positions and the mean over patches (arXiv:2205.01580)."""

    kind: Literal["vit"]
    patch: Annotated[int, Strict(), Field(ge=1, le=64)] = 4
    """Height and width of a patch in pixels; `frontend.size` and the size of every crop are multiples of it."""
    dim: Dimension = 192
    """Components of a patch vector, and of an embedding; a multiple of `heads` and of 4."""
    layers: Count = 6
    """Blocks of attention and feed-forward."""
    heads: Count = 3
    """Attention heads of a block."""
    feedforward: Count = 768
    """Width of the feed-forward layer."""
    dropout: Fraction = 0.0
    """Share of activations left out at random while training."""

    @model_validator(mode="after")
    def _dim_divides(self) -> Self:
        if self.dim % self.heads or self.dim % 4:
            raise ValueError(f"dim ({self.dim}) must be a multiple of heads ({self.heads}) and of 4")
        return self

    @property
    def output_dim(self) -> int:
        """Dimension of the embeddings."""
        return self.dim


class TimmEncoder(ImageEncoderSettings):
    """Any encoder of the `timm` package by its name, such as mobilenetv4_conv_small."""

    kind: Literal["timm"]
    model: Annotated[str, Field(min_length=1)]
    """Its name in timm."""
    pretrained: bool = False
    """Start from published weights, which timm fetches from the hub that HF_ENDPOINT names; mind their licence."""


ImageEncoderBlock = CnnEncoder | ResNetEncoder | MobileNetEncoder | VitEncoder | TimmEncoder
