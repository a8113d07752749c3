"""The encoder of pictures that a recipe asks for."""

from __future__ import annotations

from typing import assert_never

import torch

from nearfar.errors import RunError
from nearfar.learn.encoders.cnn import CnnImageEncoder
from nearfar.learn.encoders.image import ImageEncoder
from nearfar.learn.encoders.mobilenet import MobileNetImageEncoder
from nearfar.learn.encoders.resnet import ResNetImageEncoder
from nearfar.learn.encoders.vit import VitImageEncoder
from nearfar.recipe.image_encoders import (
    CnnEncoder,
    ImageEncoderBlock,
    MobileNetEncoder,
    ResNetEncoder,
    TimmEncoder,
    VitEncoder,
)

_LARGE_FROM = 64  # pixels from which `stem: auto` is the large one


def build_image_encoder(settings: ImageEncoderBlock, *, size: int, channels: int) -> ImageEncoder:
    """The encoder that a recipe asks for, with fresh weights from torch's own generator (`timm` with pretrained: published).

    `settings.start` is left to the caller.

    Args:
        settings: the recipe's encoder block.
        size: height and width of a picture in pixels, `frontend.size`.
        channels: of a picture, `frontend.channels`.

    Returns:
        An encoder in training mode, its weights in channels-last order, in which convolutions are fastest.

    Raises:
        RunError: the pictures are too small for the encoder, or not a multiple of its patch; timm does not have or make it.
        MissingExtraError: timm is asked for and not installed.
    """
    encoder = _built(settings, size=size, channels=channels)
    return encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _built(settings: ImageEncoderBlock, *, size: int, channels: int) -> ImageEncoder:
    encoder: CnnImageEncoder | ResNetImageEncoder | MobileNetImageEncoder
    match settings:
        case CnnEncoder():
            encoder = CnnImageEncoder(settings, channels=channels, size=size)
        case ResNetEncoder():
            encoder = ResNetImageEncoder(settings, channels=channels, small_stem=_small(settings, size))
        case MobileNetEncoder():
            encoder = MobileNetImageEncoder(settings, channels=channels, small_stem=_small(settings, size))
        case VitEncoder():
            if size % settings.patch:
                raise RunError(
                    f"frontend.size ({size}) is not a multiple of encoder.patch ({settings.patch}): change one of the two"
                )
            return VitImageEncoder(settings, channels=channels, size=size)
        case TimmEncoder():
            from nearfar.learn.encoders.timm import TimmImageEncoder

            return TimmImageEncoder(settings, channels=channels, size=size)
        case _:
            assert_never(settings)
    if size < encoder.reduction:
        smaller_stem = ", or encoder.stem to small" if getattr(settings, "stem", "small") == "large" else ""
        raise RunError(
            f"frontend.size is {size}, but this encoder of kind {settings.kind!r} sees pictures at 1/{encoder.reduction} of "
            f"their size in the end: set frontend.size to at least {encoder.reduction}{smaller_stem}"
        )
    return encoder


def _small(settings: ResNetEncoder | MobileNetEncoder, size: int) -> bool:
    return size < _LARGE_FROM if settings.stem == "auto" else settings.stem == "small"
