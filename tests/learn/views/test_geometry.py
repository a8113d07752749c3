"""Where the pixels of a view come from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from nearfar.learn.views import plain
from nearfar.learn.views.geometry import as_float, resampled, turned, warped

WHOLE = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


def made(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def box(left: float, top: float, right: float, bottom: float) -> Tensor:
    """The affine map (1, 2, 3) of a box given in shares of the picture."""
    return torch.tensor([[[right - left, 0, left + right - 1], [0, bottom - top, top + bottom - 1]]])


def triangle_by_hand(line: NDArray[np.float64], start: float, end: float, size: int) -> NDArray[np.float64]:
    """One line resized: pixel after pixel, the weighted mean of what lies under a triangle at least one pixel wide each way."""
    step, resized = (end - start) / size, []
    reach = max(1.0, abs(step))
    for place in range(size):
        middle = start + (place + 0.5) * step
        weights = [max(0.0, 1 - abs(source + 0.5 - middle) / reach) for source in range(len(line))]
        resized.append(np.dot(weights, line) / sum(weights))
    return np.array(resized)


def test_the_whole_picture_at_its_own_size_is_the_picture_to_the_bit() -> None:
    pixels = made(3, 3, 32, 32)
    result = resampled(pixels, WHOLE.expand(3, 2, 3), 32)
    assert torch.equal(result, pixels)
    torch.testing.assert_close(turned(pixels, WHOLE.expand(3, 2, 3), 32), pixels, atol=1e-5, rtol=0)


def test_flips_are_exact() -> None:
    pixels = made(2, 3, 17, 17)
    affine = torch.stack([WHOLE, WHOLE])
    affine[0, 0, 0] = affine[1, 1, 1] = -1.0
    result = resampled(pixels, affine, 17)
    assert torch.equal(result[0], pixels[0].flip(-1))
    assert torch.equal(result[1], pixels[1].flip(-2))


@pytest.mark.parametrize("size", [5, 16, 24, 40, 100])
def test_resizing_the_whole_is_bilinear_with_antialiasing(size: int) -> None:
    pixels = made(2, 3, 40, 32)
    expected = F.interpolate(pixels, (size, size), mode="bilinear", antialias=True, align_corners=False)
    torch.testing.assert_close(resampled(pixels, WHOLE.expand(2, 2, 3), size), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("sides", [(0.1, 0.35, 0.83, 0.9), (0.0, 0.0, 0.2, 1.0), (0.9, 0.4, 0.1, 0.45)])
def test_a_window_is_cut_out_where_its_box_says(sides: tuple[float, float, float, float]) -> None:
    """Shrunk along one axis and enlarged along the other, with edges between pixels, mirrored too."""
    pixels = made(1, 1, 24, 48)
    columns = np.stack(
        [triangle_by_hand(row, 48 * sides[0], 48 * sides[2], 12) for row in pixels[0, 0].double().numpy()]
    )
    expected = np.stack([triangle_by_hand(column, 24 * sides[1], 24 * sides[3], 12) for column in columns.T], axis=1)
    torch.testing.assert_close(
        resampled(pixels, box(*sides), 12)[0, 0].double(), torch.from_numpy(expected), atol=1e-5, rtol=0
    )


def test_each_picture_is_sampled_by_its_own_window() -> None:
    pixels, affine = made(5, 3, 20, 20), torch.cat([box(0.1 * i, 0.05 * i, 0.6 + 0.08 * i, 1.0) for i in range(5)])
    together = resampled(pixels, affine, 16)
    for i in range(5):
        torch.testing.assert_close(together[i : i + 1], resampled(pixels[i : i + 1], affine[i : i + 1], 16))


def test_without_a_turn_both_samplings_agree() -> None:
    pixels, affine = made(4, 3, 32, 32), box(0.2, 0.3, 0.7, 0.9).expand(4, 2, 3)
    inner = (slice(None), slice(None), slice(1, -1), slice(1, -1))
    torch.testing.assert_close(
        turned(pixels, affine, 32)[inner], resampled(pixels, affine, 32)[inner], atol=1e-5, rtol=0
    )


@pytest.mark.parametrize(("cosine", "sine", "turns"), [(0.0, 1.0, 1), (-1.0, 0.0, 2), (0.0, -1.0, 3)])
def test_quarter_turns(cosine: float, sine: float, turns: int) -> None:
    pixels = made(2, 3, 16, 16)
    affine = torch.tensor([[cosine, -sine, 0.0], [sine, cosine, 0.0]]).expand(2, 2, 3)
    torch.testing.assert_close(turned(pixels, affine, 16), torch.rot90(pixels, turns, (2, 3)), atol=1e-4, rtol=0)


@pytest.mark.parametrize("factor", [3, 5])
def test_fine_stripes_become_grey_instead_of_coarse_stripes(factor: int) -> None:
    """Stripes of one pixel, in a view of a smaller size: a sampling that skips pixels shows stripes that are not there."""
    pixels, size = (torch.arange(120) % 2).float().expand(1, 1, 120, 120), 120 // factor
    skipping = F.interpolate(pixels, (size, size), mode="bilinear", align_corners=False)
    assert (skipping - 0.5).abs().max() == 0.5
    for sample, left in ((resampled, 0.06), (turned, 0.26)):
        assert (sample(pixels, WHOLE[None], size)[..., 1:-1, 1:-1] - 0.5).abs().max() < left


def test_outside_the_picture_is_its_mirror_image() -> None:
    pixels = 0.5 + 0.5 * made(1, 1, 32, 32)
    eighth = torch.tensor([[[0.7071, -0.7071, 0.0], [0.7071, 0.7071, 0.0]]])
    assert turned(pixels, eighth, 32).min() >= 0.5


@pytest.mark.parametrize("aspect", [0.5, 1.0, 2.0])
def test_the_plain_view_is_the_central_square_of_the_original(aspect: float) -> None:
    """A circle in the middle of a picture that is not square, squashed to a square, comes out round."""
    squashed = disc(aspect, radius=0.2)
    view = plain(squashed, np.array([aspect]), 60)[0, 0]
    shorter = min(1.0, aspect)
    across, down = (view[30] > 0.5).sum().item(), (view[:, 30] > 0.5).sum().item()
    assert across == pytest.approx(0.4 * 60 / shorter, abs=2)
    assert down == pytest.approx(across, abs=2)


def disc(aspect: float, *, radius: float, side: int = 120) -> Tensor:
    """A white disc in the middle of a picture (aspect x 1) that is stored as a square; radius in units of its height."""
    places = (torch.arange(side) + 0.5) / side - 0.5
    distance = ((places[None] * aspect) ** 2 + places[:, None] ** 2).sqrt()
    return (distance < radius).to(torch.uint8)[None, None] * 255


def test_the_plain_view_at_the_stored_size_is_the_picture() -> None:
    pixels = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    assert torch.equal(plain(pixels, np.ones(4), 32), pixels.float() / 255)


def test_pixels_of_every_kind_come_to_lie_between_zero_and_one() -> None:
    assert as_float(torch.tensor([0, 51, 255], dtype=torch.uint8)).tolist() == pytest.approx([0, 0.2, 1])
    assert as_float(torch.tensor([0, 13_107, 65_535], dtype=torch.uint16)).tolist() == pytest.approx([0, 0.2, 1])
    floats = made(5)
    assert torch.equal(as_float(floats), floats)
    assert as_float(floats.double()).dtype == torch.float32
    with pytest.raises(ValueError, match=r"not torch\.int64"):
        as_float(torch.tensor([1]))


def test_a_warp_that_changes_nothing_is_the_picture() -> None:
    pixels = made(3, 2, 24, 24)
    affine = WHOLE.expand(3, 2, 3)
    torch.testing.assert_close(warped(pixels, affine, None, 24), pixels, atol=1e-5, rtol=0)
    torch.testing.assert_close(warped(pixels, affine, torch.zeros(3, 2, 4, 4), 24), pixels, atol=1e-5, rtol=0)


def test_beyond_its_edge_a_warped_picture_goes_on_as_its_last_pixel() -> None:
    pixels = made(1, 1, 16, 16)
    shifted = warped(pixels, torch.tensor([[[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]]), None, 16)
    torch.testing.assert_close(shifted[..., :8], pixels[..., 8:], atol=1e-5, rtol=0)
    torch.testing.assert_close(shifted[..., 8:], pixels[..., -1:].expand(1, 1, 16, 8), atol=1e-5, rtol=0)


def test_an_even_bend_is_a_shift_and_comes_before_the_map() -> None:
    pixels = made(2, 1, 16, 16)
    affine = torch.stack([WHOLE, torch.tensor([[-0.5, 0.0, 0.1], [0.0, 0.5, 0.0]])])
    bend = torch.zeros(2, 2, 4, 4)
    bend[:, 0], bend[:, 1] = 0.25, -0.5
    moved = affine.clone()
    moved[:, :, 2] += affine[:, :, :2] @ torch.tensor([0.25, -0.5])
    torch.testing.assert_close(warped(pixels, affine, bend, 16), warped(pixels, moved, None, 16), atol=1e-4, rtol=0)


def test_a_bend_of_one_corner_leaves_the_opposite_one() -> None:
    pixels = made(1, 1, 32, 32)
    bend = torch.zeros(1, 2, 4, 4)
    bend[0, 0, 0, 0] = 0.3
    result = warped(pixels, WHOLE[None], bend, 32)
    torch.testing.assert_close(result[..., 22:, 22:], pixels[..., 22:, 22:], atol=1e-5, rtol=0)
    assert float((result - pixels)[..., :6, :6].abs().mean()) > 0.05
