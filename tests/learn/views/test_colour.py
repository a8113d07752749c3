"""Colour changes against their formulas."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
import torch
from torch import Tensor

from nearfar.learn.views.colour import coloured, hue_turned


def made(n: int = 4, c: int = 3, side: int = 9) -> Tensor:
    return torch.rand(n, c, side, side, generator=torch.Generator().manual_seed(n + c))


def factors(brightness: float = 1.0, contrast: float = 1.0, saturation: float = 1.0, *, n: int = 4) -> Tensor:
    return torch.tensor([[brightness, contrast, saturation]]).expand(n, 3)


def grey(pixels: Tensor) -> Tensor:
    red, green, blue = pixels.double().unbind(1)
    return (0.299 * red + 0.587 * green + 0.114 * blue)[:, None]


@pytest.mark.parametrize("factor", [0.0, 0.3, 1.0, 1.7])
def test_each_change_is_a_blend_as_documented(factor: float) -> None:
    pixels = made()
    exact = pixels.double()
    blends = {
        (factor, 1.0, 1.0): torch.zeros_like(exact),
        (1.0, factor, 1.0): grey(pixels).mean(dim=(1, 2, 3), keepdim=True),
        (1.0, 1.0, factor): grey(pixels),
    }
    for drawn, towards in blends.items():
        expected = (factor * exact + (1 - factor) * towards).clamp(0, 1)
        torch.testing.assert_close(coloured(pixels, factors(*drawn)).double(), expected, atol=1e-6, rtol=0)


def test_in_which_order_the_three_come_makes_no_difference_within_range() -> None:
    pixels = 0.4 + 0.2 * made()
    at_once = coloured(pixels, factors(1.1, 0.8, 1.3))
    one, two, three = factors(brightness=1.1), factors(contrast=0.8), factors(saturation=1.3)
    for order in ((one, two, three), (three, one, two), (two, three, one), (three, two, one)):
        result = pixels
        for drawn in order:
            result = coloured(result, drawn)
        torch.testing.assert_close(result, at_once, atol=1e-6, rtol=0)


def test_what_is_not_drawn_is_not_changed_by_a_bit() -> None:
    for channels in (1, 3, 5):
        pixels = made(c=channels)
        assert torch.equal(coloured(pixels, factors()), pixels)


def test_without_saturation_the_channels_are_equal() -> None:
    view = coloured(made(), factors(saturation=0.0))
    torch.testing.assert_close(view[:, 0], view[:, 1])
    torch.testing.assert_close(view[:, 0], view[:, 2])


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_contrast_of_other_pictures_is_about_the_mean_of_their_channels(channels: int) -> None:
    pixels = made(c=channels)
    expected = (1.4 * pixels - 0.4 * pixels.mean(dim=(1, 2, 3), keepdim=True)).clamp(0, 1)
    torch.testing.assert_close(coloured(pixels, factors(contrast=1.4)), expected)


def test_each_picture_has_its_own_factors() -> None:
    pixels, drawn = made(), torch.rand(4, 3, generator=torch.Generator().manual_seed(0)) * 2
    together = coloured(pixels, drawn)
    for i in range(4):
        torch.testing.assert_close(together[i : i + 1], coloured(pixels[i : i + 1], drawn[i : i + 1]))


def test_values_stay_in_range() -> None:
    view = coloured(made(), factors(4.0, 4.0, 4.0))
    assert view.min() == 0
    assert view.max() == 1


@pytest.mark.parametrize("turns", [-0.5, -0.1, 0.03, 0.25, 0.5])
def test_hue_turns_as_hsv_has_it(turns: float) -> None:
    # With pixels whose channels are equal, in part or all, where the hue is undefined or on an edge.
    levels = torch.tensor(np.stack(np.meshgrid(*[[0.0, 0.25, 0.5, 1.0]] * 3)).reshape(3, 64), dtype=torch.float32)
    pixels = torch.cat([levels, made(1, 3, 16).flatten(2)[0]], dim=1)[None, :, None]
    result = hue_turned(pixels, torch.tensor([turns]))[0, :, 0].T.double().numpy()
    for before, after in zip(pixels[0, :, 0].T.double().numpy(), result, strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*before)
        np.testing.assert_allclose(after, colorsys.hsv_to_rgb((hue + turns) % 1.0, saturation, value), atol=2e-6)


def test_each_picture_turns_by_its_own_angle() -> None:
    pixels, turns = made(), torch.tensor([0.0, 0.1, -0.2, 0.5])
    together = hue_turned(pixels, turns)
    torch.testing.assert_close(together[0], pixels[0], atol=1e-6, rtol=0)
    for i in range(4):
        torch.testing.assert_close(together[i : i + 1], hue_turned(pixels[i : i + 1], turns[i : i + 1]))
