"""Views as a whole: shapes, kinds of pictures, determinism, and any part of a batch like the whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from nearfar.learn.views import Views, random_views
from nearfar.learn.views.colour import coloured, hue_turned
from nearfar.learn.views.filters import blurred, cut_out, solarised
from nearfar.learn.views.geometry import resampled
from nearfar.recipe.views import Blur, Crop, Cutout, Jitter, LocalViews, Solarise, View
from nearfar.recipe.views import Views as ViewsSettings

NOTHING = {"crop": None, "flip": 0.0, "jitter": None, "greyscale": 0.0}
EVERYTHING = ViewsSettings(
    vertical_flip=0.5,
    blur=Blur(),
    solarise=Solarise(),
    cutout=Cutout(),
    second=View(rotation=20.0, solarise=Solarise(probability=0.5)),
    local=LocalViews(count=2, size=12),
)


def pictures(n: int, c: int = 3, side: int = 24) -> Tensor:
    """Blots with soft edges, and a little noise."""
    source = torch.Generator().manual_seed(n + c)
    coarse = torch.rand(n, c, 4, 4, generator=source)
    smooth = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic", align_corners=False)
    return ((smooth + 0.05 * torch.randn(n, c, side, side, generator=source)).clamp(0, 1) * 255).byte()


def made(settings: ViewsSettings, pixels: Tensor, *, seed: int = 0, size: int = 20) -> tuple[Tensor, ...]:
    views = Views(settings, size=size, channels=pixels.shape[1])
    return views.apply(pixels, views.draw(np.linspace(0.7, 1.4, len(pixels)), np.random.default_rng(seed)))


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_views_of_full_size_come_first_and_local_ones_are_smaller(channels: int) -> None:
    views = Views(EVERYTHING, size=20, channels=channels)
    assert (views.count, views.full) == (4, 2)
    result = made(EVERYTHING, pictures(7, channels))
    assert [tuple(view.shape) for view in result] == [(7, channels, 20, 20)] * 2 + [(7, channels, 12, 12)] * 2
    for view in result:
        assert view.dtype == torch.float32
        assert view.min() >= -1e-6
        assert view.max() <= 1 + 1e-6


def test_without_any_step_the_views_are_the_picture_to_the_bit() -> None:
    pixels = pictures(9)
    for view in made(ViewsSettings(**NOTHING), pixels, size=24):
        assert torch.equal(view, pixels.float() / 255)


def test_where_every_step_may_come_a_picture_that_drew_none_is_not_changed_by_a_bit() -> None:
    rarely = {"blur": Blur(probability=0.1), "solarise": Solarise(probability=0.1), "cutout": Cutout(probability=0.1)}
    settings = ViewsSettings(crop=None, flip=0.0, jitter=Jitter(probability=0.2), greyscale=0.1, **rarely)
    pixels = pictures(200)
    views = Views(settings, size=24, channels=3)
    draws = views.draw(np.ones(200), np.random.default_rng(0))
    first = draws.of_view(0)
    none = (first.colour == torch.tensor([1.0, 1, 1, 0])).all(dim=1) & (first.sigma == 0) & ~first.solarised
    none &= first.cutout[:, 2] == 0
    assert 50 < none.sum() < 150
    same = (views.apply(pixels, draws)[0] == pixels.float() / 255).flatten(1).all(dim=1)
    assert same[none].all()
    assert same[~none].double().mean() < 0.05


def test_the_steps_come_in_the_order_of_the_keys() -> None:
    """Geometry, hue, the other colours, blur, solarisation, cutout: each by what was drawn for it."""
    settings = ViewsSettings(
        jitter=Jitter(probability=1.0, brightness=0.8, hue=0.3),
        greyscale=0.0,
        blur=Blur(probability=1.0),
        solarise=Solarise(probability=1.0, threshold=0.6),
        cutout=Cutout(probability=1.0),
    )
    pixels, views = pictures(8), Views(settings, size=20, channels=3)
    draws = views.draw(np.ones(8), np.random.default_rng(0))
    for view, result in enumerate(views.apply(pixels, draws)):
        drawn = draws.of_view(view)
        expected = resampled(pixels.float() / 255, drawn.affine, 20)
        expected = coloured(hue_turned(expected, drawn.colour[:, 3]), drawn.colour[:, :3])
        expected = cut_out(solarised(blurred(expected, drawn.sigma, 2.0), 0.6), drawn.cutout)
        torch.testing.assert_close(result, expected, atol=1e-5, rtol=0)


def test_one_seed_makes_one_result() -> None:
    pixels = pictures(30)
    once, again, other = (made(EVERYTHING, pixels, seed=seed) for seed in (1, 1, 2))
    assert all(torch.equal(*pair) for pair in zip(once, again, strict=True))
    assert not any(torch.equal(*pair) for pair in zip(once, other, strict=True))


def test_the_views_of_one_picture_differ() -> None:
    first, second = made(ViewsSettings(), pictures(10))
    assert ((first - second).abs().flatten(1).mean(dim=1) > 0.01).all()


@pytest.mark.parametrize("part", [slice(1, None, 3), torch.tensor([5, 0, 17])])
def test_a_rank_makes_of_its_share_what_one_makes_of_the_whole(part: slice | Tensor) -> None:
    pixels, views = pictures(20), Views(EVERYTHING, size=20, channels=3)
    draws = views.draw(np.ones(20), np.random.default_rng(0))
    for whole, share in zip(views.apply(pixels, draws), views.apply(pixels[part], draws.rows(part)), strict=True):
        torch.testing.assert_close(share, whole[part], atol=1e-5, rtol=0)


def test_how_many_are_worked_on_at_a_time_makes_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = pictures(23)
    together = made(EVERYTHING, pixels)
    monkeypatch.setattr(random_views, "_CACHED", 5 * pixels[0].numel())
    for whole, parts in zip(together, made(EVERYTHING, pixels), strict=True):
        torch.testing.assert_close(whole, parts, atol=1e-5, rtol=0)


def test_asking_every_picture_gives_what_asking_the_drawn_ones_gives() -> None:
    """On a GPU every step is done for all and kept where it was drawn; the two ways are compared on the CPU."""
    pixels = pictures(12).float() / 255
    sigma = torch.tensor([0.0, 1.0, 0.5] * 4)
    change = lambda x, s: blurred(x, s, 2.0)  # noqa: E731
    by_row = random_views._where(sigma > 0, change, pixels.clone(), sigma)
    torch.testing.assert_close(
        by_row, torch.where((sigma > 0)[:, None, None, None], change(pixels, sigma), pixels), atol=1e-6, rtol=0
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_makes_the_same_views() -> None:
    pixels, views = pictures(50), Views(EVERYTHING, size=20, channels=3)
    draws = views.draw(np.ones(50), np.random.default_rng(0))
    for here, there in zip(views.apply(pixels, draws), views.apply(pixels.cuda(), draws.to("cuda")), strict=True):
        # A pixel at the threshold may be inverted on the one and not on the other.
        assert ((here - there.cpu()).abs() > 1e-3).double().mean() < 1e-3


def test_sixteen_bits_and_floats_are_the_same_picture() -> None:
    pixels = pictures(6)
    wide = (pixels.to(torch.int32) * 257).to(torch.uint16)
    for kind in (wide, pixels.float() / 255):
        for ours, theirs in zip(made(EVERYTHING, pixels), made(EVERYTHING, kind), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_mixed_precision_around_it_leaves_the_views_alone() -> None:
    pixels = pictures(6)
    expected = made(EVERYTHING, pixels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = made(EVERYTHING, pixels)
    for ours, theirs in zip(result, expected, strict=True):
        assert torch.equal(ours, theirs)


def test_what_was_given_is_not_changed() -> None:
    pixels = pictures(6).float() / 255
    before = pixels.clone()
    made(ViewsSettings(crop=None, flip=0.0, cutout=Cutout(probability=1.0)), pixels, size=24)
    assert torch.equal(pixels, before)


def test_a_disc_in_a_wide_picture_comes_out_round() -> None:
    """Whatever part of it a crop of ratio 1 shows: an ellipse has other radii across and down."""
    aspect, side = 2.0, 96
    places = (torch.arange(side) + 0.5) / side - 0.5
    distance = ((places[None] * aspect) ** 2 + places[:, None] ** 2).sqrt()
    squashed = ((distance < 0.2).float() * 255).byte()[None, None].expand(400, 1, side, side)
    settings = ViewsSettings(**{**NOTHING, "crop": Crop(scale=(0.3, 0.5), ratio=(1.0, 1.0)), "rotation": 45.0})
    views = Views(settings, size=64, channels=1)
    view = views.apply(squashed, views.draw(np.full(400, aspect), np.random.default_rng(0)))[0][:, 0] > 0.5
    across, down = view.any(dim=1), view.any(dim=2)
    whole = ~(across[:, 0] | across[:, -1] | down[:, 0] | down[:, -1]) & across.any(dim=1)
    assert whole.sum() > 50
    torch.testing.assert_close(across[whole].sum(1).double(), down[whole].sum(1).double(), atol=2, rtol=0)


def test_draws_of_other_pictures_are_refused() -> None:
    views = Views(ViewsSettings(), size=20, channels=3)
    draws = views.draw(np.ones(4), np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"pixels \(5, 3, 24, 24\) do not fit draws for 4 pictures of 3 channels"):
        views.apply(pictures(5), draws)
    with pytest.raises(ValueError, match=r"of 3 channels"):
        views.apply(pictures(4, 1), draws)
