"""A trained model on its way to a bundle: what each step of compression takes and gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import nn

from nearfar.frontend import TextFrontend
from nearfar.learn.encoders.image import ImageEncoder
from nearfar.learn.encoders.text import TextEncoder

Format = Literal["none", "int8", "int4", "codebook"]


@dataclass(frozen=True)
class Form:
    """How the numbers of a graph are written.

    Attributes:
        format: of the weights; `none` is float32.
        static: whether the ranges of activations are fixed by calibration; else each batch has its own. None leaves it to
            the kind of encoder.
        samples: training items that calibration looks at.
        rank: store a token table as two factors of that rank; None as it is.
    """

    format: Format = "none"
    static: bool | None = None
    samples: int = 512
    rank: int | None = None


@dataclass(frozen=True)
class TextModel:
    """Towers of texts with what they read.

    Attributes:
        query: embeds queries.
        document: embeds documents; the same object where both sides share it.
        frontend: text to token ids.
        dim: components that are kept, the first ones.
        form: how the graphs are written.
    """

    query: TextEncoder
    document: TextEncoder
    frontend: TextFrontend
    dim: int
    form: Form = Form()


@dataclass(frozen=True)
class PictureModel:
    """An encoder of pictures, with the classifier of a fine-tuned one.

    Attributes:
        encoder: pictures to features.
        head: features to the logits of classes.
        size: height and width of a picture in pixels.
        channels: of a picture.
        dim: components that are kept, the first ones; None keeps all.
        form: how the graph is written.
    """

    encoder: ImageEncoder
    head: nn.Linear | None
    size: int
    channels: int
    dim: int | None = None
    form: Form = Form()
