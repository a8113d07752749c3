"""The timm encoder where timm can be imported, and what is said where it cannot."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from made_image_encoders import made_encoder, made_pictures

from nearfar.errors import MissingExtraError, RunError

BLOCK: dict[str, object] = {"kind": "timm", "model": "resnet18"}


def _why_not() -> Exception | None:
    try:
        import timm  # noqa: F401
    except Exception as error:  # a torchvision for another torch raises what it likes
        return error
    return None


WHY_NOT = _why_not()


@pytest.mark.skipif(WHY_NOT is None, reason="timm can be imported")
def test_what_is_missing_is_named() -> None:
    if any(importlib.util.find_spec(package) is None for package in ("timm", "torchvision")):
        with pytest.raises(MissingExtraError, match=r'encoder .timm. needs packages.*"nearfar\[timm\]"'):
            made_encoder(BLOCK)
    else:
        with pytest.raises(RunError, match="timm is installed but cannot be imported"):
            made_encoder(BLOCK)


@pytest.mark.skipif(WHY_NOT is not None, reason="timm cannot be imported")
@pytest.mark.parametrize(
    ("model", "size"), [("resnet18", 32), ("mobilenetv4_conv_small", 64), ("vit_tiny_patch16_224", 64)]
)
def test_models_of_timm(model: str, size: int) -> None:
    encoder = made_encoder({"kind": "timm", "model": model}, size=size, channels=1)
    assert encoder.training
    pictures = made_pictures(4, size=size, channels=1)
    with torch.no_grad():
        maps, features = encoder.maps(pictures), encoder(pictures)
    assert maps.shape[1] == encoder.width
    assert features.shape == (4, encoder.dim)


@pytest.mark.skipif(WHY_NOT is not None, reason="timm cannot be imported")
def test_a_model_that_timm_does_not_have() -> None:
    with pytest.raises(RunError, match="has no 'resnet_18'; did you mean resnet18"):
        made_encoder({"kind": "timm", "model": "resnet_18"})
