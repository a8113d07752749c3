"""Encoders of pictures: shapes, sizes, seeds, gradients, and what they must not depend on."""

from __future__ import annotations

import re

import pytest
import torch
from made_image_encoders import SMALL, made_encoder, made_pictures
from pydantic import ValidationError
from torch import Tensor

from nearfar.errors import RunError
from nearfar.learn.encoders.vit import grid_positions
from nearfar.recipe.image_encoders import ImageEncoderSettings, VitEncoder

KINDS = pytest.mark.parametrize("kind", SMALL)


@KINDS
@pytest.mark.parametrize(("size", "channels"), [(8, 1), (28, 1), (32, 3), (32, 5), (64, 3), (96, 1)])
def test_shapes(kind: str, size: int, channels: int) -> None:
    encoder = made_encoder(SMALL[kind], size=size, channels=channels).eval()
    if size == 8 or (size < 64 and "vit" not in kind):
        assert encoder.reduction == (4 if "vit" in kind else 8)
    pictures = made_pictures(3, size=size, channels=channels)
    with torch.no_grad():
        maps, features = encoder.maps(pictures), encoder(pictures)
    side = -(-size // encoder.reduction)
    assert maps.shape == (3, encoder.width, side, side)
    assert features.shape == (3, encoder.dim)
    torch.testing.assert_close(encoder.pooled(maps), features)
    assert len(torch.unique(features, dim=0)) == 3


@pytest.mark.parametrize(
    ("block", "low", "high", "dim"),
    [
        ({"kind": "cnn"}, 100e3, 160e3, 128),
        ({"kind": "cnn", "width": 22, "dim": 88}, 55e3, 65e3, 88),
        ({"kind": "cnn", "width": 48}, 230e3, 250e3, 128),
        # What the field calls ResNet-18 for CIFAR has 11.17 M without its classifier, ResNet-50 23.50 M.
        ({"kind": "resnet"}, 11.16e6, 11.18e6, 512),
        ({"kind": "resnet", "depth": 34}, 21.26e6, 21.29e6, 512),
        ({"kind": "resnet", "depth": 50}, 23.49e6, 23.52e6, 2048),
        # MobileNetV2 has 2.22 M without its classifier, 1.28 k of them times 320 in the last convolution.
        ({"kind": "mobilenet", "dim": 1280}, 2.21e6, 2.24e6, 1280),
        ({"kind": "mobilenet", "multiplier": 0.25, "dim": 128}, 100e3, 200e3, 128),
        ({"kind": "vit"}, 2.6e6, 2.7e6, 192),
    ],
)
def test_numbers_of_parameters(block: dict[str, object], low: float, high: float, dim: int) -> None:
    encoder = made_encoder(block)
    assert low <= sum(parameter.numel() for parameter in encoder.parameters()) <= high
    assert encoder.dim == encoder.width == dim


@KINDS
def test_every_weight_learns(kind: str) -> None:
    encoder = made_encoder(SMALL[kind])
    encoder(made_pictures(8)).square().sum(dim=1).log().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name
        assert float(parameter.grad.abs().max()) > 0, name


@KINDS
def test_weights_come_from_the_seed(kind: str) -> None:
    first, again, other = (made_encoder(SMALL[kind], seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def _in_parts(encoder: torch.nn.Module, pictures: Tensor) -> Tensor:
    return torch.cat([encoder(part) for part in pictures.split([1, 4, 3])])


@KINDS
def test_company_changes_nothing_but_through_batch_norm(kind: str) -> None:
    encoder, pictures = made_encoder(SMALL[kind]), made_pictures(8)
    alike = bool(torch.allclose(_in_parts(encoder, pictures), encoder(pictures), rtol=1e-3, atol=1e-4))
    assert alike == ("group" in kind or kind == "vit")
    encoder.eval()
    torch.testing.assert_close(_in_parts(encoder, pictures), encoder(pictures), rtol=1e-3, atol=1e-4)


@KINDS
def test_pixels_are_normalised_by_what_was_measured(kind: str) -> None:
    """Pictures of another brightness and contrast, with the figures that say so, are the same pictures."""
    encoder, pictures = made_encoder(SMALL[kind]).eval(), made_pictures(4)
    encoder.normalise_by([0.5, 0.4, 0.3], [0.2, 0.25, 0.3])
    expected = encoder(pictures)
    encoder.normalise_by([0.35, 0.3, 0.25], [0.1, 0.125, 0.15])
    torch.testing.assert_close(encoder(0.5 * pictures + 0.1), expected, rtol=1e-3, atol=1e-4)


@KINDS
def test_smaller_crops_go_through(kind: str) -> None:
    encoder = made_encoder(SMALL[kind], size=32).eval()
    assert encoder(made_pictures(2, size=16)).shape == (2, encoder.dim)


def test_positions_of_a_crop_lie_between_those_of_the_whole() -> None:
    whole = grid_positions(8, 8, 16, over=8).view(8, 8, 16)
    torch.testing.assert_close(grid_positions(1, 1, 16, over=1)[0], torch.tensor([0.0] * 4 + [1.0] * 4).repeat(2))
    crop = grid_positions(4, 4, 16, over=8).view(4, 4, 16)
    # Place 1 of a crop lies over places 2 and 3 of the whole; the slow waves are nearly straight there.
    torch.testing.assert_close(crop[1, 2, 1:4], whole[2:4, 4, 1:4].mean(0), rtol=0.05, atol=0.01)
    assert not torch.allclose(crop[1, 2], crop[2, 1])
    assert len(torch.unique(whole.flatten(0, 1), dim=0)) == 64


def test_a_transformer_sees_where_a_patch_is() -> None:
    encoder, pictures = made_encoder(SMALL["vit"]).eval(), made_pictures(2)
    moved = torch.cat([pictures[..., 16:], pictures[..., :16]], dim=3)
    assert not torch.allclose(encoder(moved), encoder(pictures), rtol=1e-2, atol=1e-3)


def test_zero_init_starts_with_the_shortcuts_alone() -> None:
    pictures = made_pictures(4)
    encoder = made_encoder({**SMALL["resnet18"], "zero_init": True}).eval()
    before = encoder(pictures)
    with torch.no_grad():
        for block in encoder.blocks:  # type: ignore[union-attr]
            block.residual[0][0].weight.mul_(-3)
    torch.testing.assert_close(encoder(pictures), before)
    assert not torch.allclose(made_encoder(SMALL["resnet18"]).eval()(pictures), before)


@pytest.mark.parametrize(
    ("block", "size", "says"),
    [
        ({"kind": "resnet", "stem": "large"}, 28, "frontend.size is 28.*at least 32, or encoder.stem to small"),
        ({"kind": "mobilenet", "stem": "large"}, 16, "frontend.size is 16.*at least 32, or encoder.stem to small"),
        ({"kind": "resnet"}, 7, "frontend.size is 7.*at least 8$"),
        ({"kind": "cnn"}, 4, "frontend.size is 4.*at least 8$"),
        ({"kind": "vit", "patch": 5}, 32, r"frontend.size \(32\) is not a multiple of encoder.patch \(5\)"),
    ],
)
def test_pictures_that_do_not_fit(block: dict[str, object], size: int, says: str) -> None:
    with pytest.raises(RunError, match=says):
        made_encoder(block, size=size)


def test_a_crop_that_patches_do_not_fill() -> None:
    with pytest.raises(RunError, match=r"18 x 18 pixels, which encoder.patch \(4\) does not divide"):
        made_encoder(SMALL["vit"])(made_pictures(1, size=18))


def test_the_stem_follows_the_size() -> None:
    for kind in ("resnet", "mobilenet"):
        assert made_encoder({"kind": kind, "stem": "auto"}, size=63).reduction == 8
        assert made_encoder({"kind": kind, "stem": "auto"}, size=64).reduction == 32
        assert made_encoder({"kind": kind, "stem": "small"}, size=64).reduction == 8


def test_settings_that_cannot_be() -> None:
    with pytest.raises(ValidationError, match=re.escape("dim (50) must be a multiple of heads (3) and of 4")):
        VitEncoder(kind="vit", dim=50)
    assert ImageEncoderSettings().start is None


# --- a linear map of the whole map -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "places"), [(8, 1), (28, 16), (32, 16), (20, 9)])
def test_a_map_is_taken_whole(size: int, places: int) -> None:
    encoder = made_encoder({"kind": "cnn", "width": 8, "dim": 24, "pool": "map"}, size=size).eval()
    pictures = made_pictures(3, size=size)
    with torch.no_grad():
        maps, features = encoder.maps(pictures), encoder(pictures)
    assert maps.shape[1] * maps[0, 0].numel() == encoder.projection.in_features == 32 * places
    assert features.shape == (3, 24)
    assert encoder.width == 32
    torch.testing.assert_close(encoder.pooled(maps), features)


def test_a_map_knows_where_things_are() -> None:
    """The mean over places does not: far from the edges it is the same wherever a spot lies."""
    spots = torch.full((2, 1, 64, 64), 0.5)
    spots[0, :, 16:24, 16:24] = spots[1, :, 32:40, 40:48] = 1.0
    mean, whole = (
        made_encoder({"kind": "cnn", "width": 8, "pool": pool}, size=64, channels=1).eval() for pool in ("mean", "map")
    )
    with torch.no_grad():
        torch.testing.assert_close(*mean(spots), rtol=1e-4, atol=1e-5)
        first, second = torch.nn.functional.normalize(whole(spots), dim=1)
    assert float(first @ second) < 0.99


def test_a_map_takes_one_size() -> None:
    encoder = made_encoder({"kind": "cnn", "width": 8, "pool": "map"}, size=32)
    with pytest.raises(RunError, match=r"encoder\.pool is map, which takes pictures of 32 x 32 pixels only"):
        encoder(made_pictures(2, size=16))
