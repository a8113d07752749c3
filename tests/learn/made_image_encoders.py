"""One small encoder of pictures of each kind, by the recipe's own words."""

from __future__ import annotations

import torch
from pydantic import TypeAdapter

from nearfar.learn.encoders.build_image import build_image_encoder
from nearfar.learn.encoders.image import ImageEncoder
from nearfar.recipe.image_encoders import ImageEncoderBlock

_BLOCK: TypeAdapter[ImageEncoderBlock] = TypeAdapter(ImageEncoderBlock)

SMALL: dict[str, dict[str, object]] = {
    "cnn": {"kind": "cnn", "width": 8, "dim": 24},
    "cnn-group": {"kind": "cnn", "width": 16, "dim": 40, "norm": "group"},
    "resnet18": {"kind": "resnet", "width": 8},
    "resnet50-group": {"kind": "resnet", "depth": 50, "width": 8, "norm": "group"},
    "mobilenet": {"kind": "mobilenet", "multiplier": 0.1, "dim": 32},
    "mobilenet-group": {"kind": "mobilenet", "multiplier": 0.1, "dim": 32, "norm": "group"},
    "vit": {"kind": "vit", "dim": 24, "heads": 3, "layers": 2, "feedforward": 48},
}


def made_encoder(block: dict[str, object], *, size: int = 32, channels: int = 3, seed: int = 0) -> ImageEncoder:
    """The encoder of a recipe's block, with the weights of a seed."""
    torch.manual_seed(seed)
    return build_image_encoder(_BLOCK.validate_python(block), size=size, channels=channels)


def made_pictures(n: int, *, size: int = 32, channels: int = 3, seed: int = 0) -> torch.Tensor:
    """Pictures (n, channels, size, size) in [0, 1]: smooth blobs with a little noise, no two alike."""
    source = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, channels, 4, 4, generator=source)
    smooth = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear")
    return (smooth + 0.1 * torch.rand(smooth.shape, generator=source)).clamp(0, 1)
