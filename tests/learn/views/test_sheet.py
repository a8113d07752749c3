"""The grid of originals and views, and its file."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from nearfar.errors import MissingExtraError
from nearfar.learn.views import sheet, views_per_second_core, write_png
from nearfar.recipe.views import Views as ViewsSettings


def test_a_row_is_a_picture_and_its_views() -> None:
    pixels = torch.tensor([0, 100], dtype=torch.uint8)[:, None, None, None].expand(2, 3, 120, 120)
    views = [torch.full((2, 3, 120, 120), 0.2), torch.full((2, 3, 60, 60), 0.6)]
    grid = sheet(pixels, views)
    assert grid.shape == (2 * 122 + 2, 3 * 122 + 2, 3)
    assert grid.dtype == np.uint8
    for row, original in ((0, 0), (1, 100)):
        cells = grid[row * 122 + 2 : row * 122 + 122]
        assert (cells[:, 2:122] == original).all()
        assert (cells[:, 124:244] == 51).all()
        assert (cells[30:90, 276:336] == 153).all()
        assert (cells[:30, 246:366] == 255).all()
    assert (grid[:2] == 255).all()
    assert (grid[122:124] == 255).all()


def test_small_pictures_are_enlarged_pixel_by_pixel() -> None:
    pixels = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
    grid = sheet(pixels, [pixels.float() / 255])
    original, view = grid[2:98, 2:98], grid[2:98, 100:196]
    np.testing.assert_array_equal(original, view)
    np.testing.assert_array_equal(original[1::3, 1::3], pixels[0].permute(1, 2, 0).numpy())


@pytest.mark.parametrize(("aspect", "shape"), [(2.0, (50, 100)), (0.25, (100, 25))])
def test_an_original_is_shown_with_its_proportions(aspect: float, shape: tuple[int, int]) -> None:
    grid = sheet(torch.zeros(1, 1, 80, 80), [torch.ones(1, 1, 100, 100)], np.array([aspect]))
    black = (grid == 0).all(axis=2)
    assert (black.any(axis=1).sum(), black.any(axis=0).sum()) == shape


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_any_number_of_channels_is_shown(channels: int) -> None:
    pixels = torch.rand(2, channels, 100, 100)
    shown = sheet(pixels, [pixels])[2:102, 2:102] / 255
    first = pixels[0].permute(1, 2, 0).numpy()
    expected = {1: first, 2: first.mean(axis=2, keepdims=True)}.get(channels, first[..., :3])
    np.testing.assert_allclose(shown, np.broadcast_to(expected, (100, 100, 3)), atol=1 / 255)


def test_views_of_other_pictures_are_refused() -> None:
    with pytest.raises(ValueError, match=r"2 pictures and views of \[3\]"):
        sheet(torch.zeros(2, 3, 8, 8), [torch.zeros(3, 3, 8, 8)])


def test_the_file_holds_the_grid(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    grid = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    write_png(grid, tmp_path / "grid.png")
    with image.open(tmp_path / "grid.png") as opened:
        np.testing.assert_array_equal(np.array(opened), grid)


def test_without_pillow_the_user_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingExtraError, match=r'pip install "nearfar\[images\]"'):
        write_png(np.zeros((2, 2, 3), dtype=np.uint8), tmp_path / "grid.png")


def test_throughput_is_measured_on_one_thread_and_leaves_the_others_as_they_were() -> None:
    threads = torch.get_num_threads()
    pixels = torch.randint(0, 256, (10, 3, 16, 16), dtype=torch.uint8)
    assert views_per_second_core(ViewsSettings(), pixels, size=16, seconds=0.01, batch=4) > 0
    assert torch.get_num_threads() == threads
