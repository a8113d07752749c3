"""Blur, solarisation and cutout against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from nearfar.learn.views.filters import blurred, cut_out, solarised


def made(n: int = 3, c: int = 3, height: int = 20, width: int = 20) -> Tensor:
    return torch.rand(n, c, height, width, generator=torch.Generator().manual_seed(7))


def dense(picture: np.ndarray, sigma: float) -> np.ndarray:
    """A Gaussian over the whole plane, each point of which is the picture mirrored at the middle of its outermost pixels."""
    reach = math.ceil(6 * sigma)
    padded = np.pad(picture, reach, mode="reflect")
    offsets = np.arange(-reach, reach + 1)
    kernel = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * sigma**2))
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape)
    return np.einsum("hwij,ij->hw", windows, kernel / kernel.sum())


def test_each_picture_is_blurred_by_its_own_gaussian() -> None:
    pixels, sigma = made(), torch.tensor([0.3, 1.0, 2.0])
    result = blurred(pixels, sigma, 2.0)
    for i in range(3):
        for channel in range(3):
            expected = dense(pixels[i, channel].double().numpy(), float(sigma[i]))
            # The filter ends at three standard deviations of the widest: 0.3% of its weight lies beyond.
            np.testing.assert_allclose(result[i, channel].numpy(), expected, atol=3e-3)
    assert (result[2].std() < 0.3 * pixels[2].std()).item()


def test_next_to_no_blur_changes_next_to_nothing() -> None:
    pixels = made()
    torch.testing.assert_close(blurred(pixels, torch.tensor([0.0, 0.05, 0.1]), 2.0), pixels, atol=1e-6, rtol=0)


def test_a_flat_picture_stays_flat() -> None:
    flat = torch.full((2, 1, 8, 12), 0.3)
    torch.testing.assert_close(blurred(flat, torch.tensor([1.0, 2.0]), 2.0), flat)


def test_a_filter_wider_than_the_picture_ends_at_its_edge() -> None:
    assert blurred(made(height=5, width=9), torch.full((3,), 10.0), 10.0).isfinite().all()


def test_solarising_inverts_what_is_bright() -> None:
    pixels = torch.tensor([[[[0.0, 0.4, 0.5, 0.75, 1.0]]]])
    torch.testing.assert_close(solarised(pixels, 0.5), torch.tensor([[[[0.0, 0.4, 0.5, 0.25, 0.0]]]]))


@pytest.mark.parametrize("channels", [1, 3])
def test_cutout_fills_its_rectangle_with_the_mean(channels: int) -> None:
    pixels = made(c=channels, height=10, width=20)
    boxes = torch.tensor([[0.1, 0.2, 0.5, 0.9], [0.0, 0.0, 1.0, 1.0], [0.9, 0.9, 1.0, 1.0]])
    expected = pixels.clone()
    for i, (rows, columns) in enumerate(
        [(slice(2, 9), slice(2, 10)), (slice(None), slice(None)), (slice(9, 10), slice(18, 20))]
    ):
        expected[i, :, rows, columns] = pixels[i].mean(dim=(1, 2))[:, None, None]
    torch.testing.assert_close(cut_out(pixels, boxes), expected)
