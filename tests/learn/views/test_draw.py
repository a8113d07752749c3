"""What is drawn: by the documented rules, from the seed, each picture for itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from nearfar.learn.views import Draws, Views
from nearfar.recipe.views import Blur, Crop, Cutout, Jitter, LocalViews, Solarise, View, Warp
from nearfar.recipe.views import Views as ViewsSettings

MANY = 20_000
OFF = {"crop": None, "flip": 0.0, "jitter": None, "greyscale": 0.0}
EVERYTHING = ViewsSettings(
    rotation=10.0,
    vertical_flip=0.5,
    blur=Blur(),
    solarise=Solarise(),
    cutout=Cutout(),
    second=View(crop=Crop(scale=(0.5, 1.0)), blur=Blur(probability=0.1)),
    local=LocalViews(count=2),
)


def drawn(settings: ViewsSettings, aspects: NDArray[np.float64], *, channels: int = 3, seed: int = 0) -> Draws:
    return Views(settings, size=32, channels=channels).draw(aspects, np.random.default_rng(seed))


def boxes(draws: Draws, aspects: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Area, proportions and sides of the first views' crops, in the original picture; x and y are shares of it."""
    affine = draws.affine[:, 0].double().numpy()
    width, height = np.abs(affine[:, 0, 0]), np.abs(affine[:, 1, 1])
    x, y = (affine[:, 0, 2] + 1) / 2, (affine[:, 1, 2] + 1) / 2
    return {"area": width * height, "ratio": width / height * aspects, "w": width, "h": height, "x": x, "y": y}


def by_the_rule(
    aspect: float, count: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> NDArray[np.float64]:
    """RandomResizedCrop.get_params as documented, on a picture without pixels: (count, 4) of area, ratio, left, top."""
    rng, made = np.random.default_rng(99), []
    for _ in range(count):
        for _ in range(10):
            area = aspect * rng.uniform(*scale)
            proportion = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
            width, height = math.sqrt(area * proportion), math.sqrt(area / proportion)
            if width <= aspect and height <= 1:
                left, top = rng.uniform(0, aspect - width), rng.uniform(0, 1 - height)
                break
        else:
            width, height = aspect, 1.0
            if aspect < ratio[0]:
                height = width / ratio[0]
            elif aspect > ratio[1]:
                width = height * ratio[1]
            left, top = (aspect - width) / 2, (1 - height) / 2
        made.append((width * height / aspect, width / height, left / aspect, top))
    return np.array(made)


@pytest.mark.parametrize("aspect", [0.3, 1.0, 1.5, 4.0])
@pytest.mark.parametrize(("scale", "ratio"), [((0.2, 1.0), (0.75, 4 / 3)), ((0.05, 0.2), (0.5, 2.0))])
def test_crops_have_the_distribution_of_random_resized_crop(
    aspect: float, scale: tuple[float, float], ratio: tuple[float, float]
) -> None:
    aspects = np.full(MANY, aspect)
    found = boxes(drawn(ViewsSettings(**{**OFF, "crop": Crop(scale=scale, ratio=ratio)}), aspects), aspects)
    expected = by_the_rule(aspect, 6_000, scale, ratio)
    ours = np.stack([found["area"], found["ratio"], found["x"] - found["w"] / 2, found["y"] - found["h"] / 2], axis=1)
    for column in range(4):
        # Kolmogorov-Smirnov: samples of 20,000 and 6,000 of one distribution differ by more than 0.0287 once in a thousand.
        ends = np.sort(np.concatenate([ours[:, column], expected[:, column]])) + 1e-6
        shares = [
            np.searchsorted(np.sort(sample[:, column]), ends, side="right") / len(sample) for sample in (ours, expected)
        ]
        assert np.abs(shares[0] - shares[1]).max() < 0.0287


def test_crops_lie_within_the_picture() -> None:
    aspects = np.random.default_rng(1).uniform(0.2, 5.0, MANY)
    found = boxes(drawn(ViewsSettings(), aspects), aspects)
    for centre, extent in ((found["x"], found["w"]), (found["y"], found["h"])):
        assert (centre - extent / 2).min() > -1e-6
        assert (centre + extent / 2).max() < 1 + 1e-6


def test_where_no_box_fits_the_largest_central_one_is_taken() -> None:
    """A strip 20 times as wide as high has no crop of at least 90% of its area that is nearly square."""
    aspects = np.array([20.0, 1 / 20])
    found = boxes(drawn(ViewsSettings(**{**OFF, "crop": Crop(scale=(0.9, 1.0))}), aspects), aspects)
    np.testing.assert_allclose(found["ratio"], [4 / 3, 3 / 4], rtol=1e-5)
    np.testing.assert_allclose(found["x"], 0.5)
    np.testing.assert_allclose(found["y"], 0.5)
    np.testing.assert_allclose([found["h"][0], found["w"][1]], 1.0)


def test_factors_are_uniform_over_the_documented_ranges() -> None:
    jitter = Jitter(probability=0.7, brightness=0.4, contrast=1.5, saturation=0.2, hue=0.1)
    colour = drawn(ViewsSettings(**{**OFF, "jitter": jitter}), np.ones(MANY)).colour[:, 0].double()
    changed = (colour != torch.tensor([1.0, 1.0, 1.0, 0.0])).any(dim=1)
    assert changed.double().mean() == pytest.approx(0.7, abs=0.015)
    assert (colour[~changed] == torch.tensor([1.0, 1.0, 1.0, 0.0])).all()
    for column, (low, high) in enumerate([(0.6, 1.4), (0.0, 2.5), (0.8, 1.2), (-0.1, 0.1)]):
        places = (colour[changed, column] - low) / (high - low)
        deciles = torch.quantile(places, torch.linspace(0, 1, 11).double())
        torch.testing.assert_close(deciles, torch.linspace(0, 1, 11).double(), atol=0.02, rtol=0)
        assert places.min() > -1e-6
        assert places.max() < 1 + 1e-6
    assert torch.corrcoef(colour[changed].T).fill_diagonal_(0).abs().max() < 0.04


def test_each_step_comes_as_often_as_it_is_asked_for() -> None:
    settings = ViewsSettings(
        crop=None,
        jitter=None,
        flip=0.3,
        vertical_flip=0.6,
        greyscale=0.2,
        blur=Blur(probability=0.4, sigma=(0.5, 1.5)),
        solarise=Solarise(probability=0.1),
        cutout=Cutout(probability=0.25, area=(0.1, 0.2), ratio=(1.0, 1.0)),
    )
    draws = drawn(settings, np.ones(MANY)).of_view(0)
    shares = {
        0.3: draws.affine[:, 0, 0] < 0,
        0.6: draws.affine[:, 1, 1] < 0,
        0.2: draws.colour[:, 2] == 0,
        0.4: draws.sigma > 0,
        0.1: draws.solarised,
        0.25: draws.cutout[:, 2] > 0,
    }
    for expected, happened in shares.items():
        assert happened.double().mean() == pytest.approx(expected, abs=0.015)
    together = torch.corrcoef(torch.stack([happened.double() for happened in shares.values()]))
    assert together.fill_diagonal_(0).abs().max() < 0.04
    sigma = draws.sigma[draws.sigma > 0]
    assert sigma.mean() == pytest.approx(1.0, abs=0.02)
    assert sigma.min() >= 0.5
    assert sigma.max() <= 1.5
    left, top, right, bottom = draws.cutout[draws.cutout[:, 2] > 0].double().unbind(1)
    torch.testing.assert_close(right - left, bottom - top)
    assert ((right - left) * (bottom - top)).mean() == pytest.approx(0.15, abs=0.003)
    assert left.min() >= 0
    assert bottom.max() <= 1 + 1e-6


def test_rotation_is_a_turn_of_the_original_picture() -> None:
    aspects = np.array([0.5, 1.0, 2.0] * 1000)
    affine = drawn(ViewsSettings(**{**OFF, "rotation": 30.0}), aspects).affine[:, 0].double().numpy()
    # In units of the original's height a step along the view's x and y axis; the whole picture is `aspect` wide.
    across = affine[:, :, 0] * np.stack([aspects, np.ones(3000)], axis=1)
    down = affine[:, :, 1] * np.stack([aspects, np.ones(3000)], axis=1)
    np.testing.assert_allclose(np.linalg.norm(across, axis=1), aspects, rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(down, axis=1), 1.0, rtol=1e-6)
    np.testing.assert_allclose((across * down).sum(axis=1), 0.0, atol=1e-6)
    angles = np.rad2deg(np.arctan2(across[:, 1], across[:, 0]))
    assert -30 <= angles.min() < -29
    assert 29 < angles.max() <= 30
    assert angles.mean() == pytest.approx(0, abs=1.5)


def test_the_same_seed_draws_the_same_and_another_does_not() -> None:
    aspects = np.random.default_rng(0).uniform(0.5, 2, 50)
    rules = EVERYTHING.model_copy(update={"warp": Warp(bend=0.1)})
    once, again, other = (drawn(rules, aspects, seed=seed) for seed in (3, 3, 4))
    assert all(torch.equal(*pair) for pair in zip(once, again, strict=True))
    assert not any(torch.equal(*pair) for pair in zip(once, other, strict=True))


def test_what_a_picture_gets_does_not_depend_on_the_others() -> None:
    aspects = np.random.default_rng(0).uniform(0.5, 2, 50)
    changed = aspects.copy()
    changed[10:] = 1.0
    whole, part, beside = drawn(EVERYTHING, aspects), drawn(EVERYTHING, aspects[:10]), drawn(EVERYTHING, changed)
    for field in range(len(Draws._fields)):
        assert torch.equal(whole[field][:10], part[field])
        assert torch.equal(whole[field][:10], beside[field][:10])


def test_turning_a_step_on_leaves_what_the_others_draw() -> None:
    aspects = np.ones(50)
    plain, more = drawn(ViewsSettings(), aspects), drawn(ViewsSettings(blur=Blur(), cutout=Cutout()), aspects)
    assert torch.equal(plain.affine, more.affine)
    assert torch.equal(plain.colour, more.colour)


def test_views_of_one_picture_are_drawn_apart() -> None:
    draws = drawn(ViewsSettings(), np.ones(MANY))
    first, second = draws.affine[:, :, 0, 2].T
    assert torch.corrcoef(torch.stack([first, second]))[0, 1].abs() < 0.04


def test_the_second_view_and_local_views_follow_their_own_rules() -> None:
    settings = ViewsSettings(
        blur=Blur(probability=1.0),
        second=View(crop=Crop(scale=(1.0, 1.0), ratio=(1.0, 1.0)), solarise=Solarise(probability=1.0)),
        local=LocalViews(count=3, scale=(0.1, 0.2)),
    )
    draws = drawn(settings, np.ones(500))
    assert draws.sigma.shape == (500, 5)
    assert (draws.sigma[:, [0, 2, 3, 4]] > 0).all()
    assert (draws.sigma[:, 1] == 0).all()
    assert draws.solarised.any(dim=0).tolist() == [False, True, False, False, False]
    areas = (draws.affine[..., 0, 0] * draws.affine[..., 1, 1]).abs()
    torch.testing.assert_close(areas[:, 1], torch.ones(500))
    assert areas[:, 2:].min() > 0.0999
    assert areas[:, 2:].max() < 0.2001
    assert areas[:, 0].max() > 0.9


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_only_pictures_of_three_channels_have_saturation_and_hue(channels: int) -> None:
    grey, colour = (drawn(ViewsSettings(), np.ones(200), channels=c) for c in (channels, 3))
    assert (grey.colour[..., 2:] == torch.tensor([1.0, 0.0])).all()
    assert torch.equal(grey.colour[..., :2], colour.colour[..., :2])
    assert torch.equal(grey.affine, colour.affine)


def test_warps_are_as_wide_as_they_say_and_about_the_centre() -> None:
    still = {"turn": 0.0, "stretch": 0.0, "slant": 0.0, "shift": 0.0}
    square = np.ones(MANY)

    def affine(**keys: float) -> NDArray[np.float64]:
        return drawn(ViewsSettings(**OFF, warp=Warp(**{**still, **keys})), square).affine[:, 0].double().numpy()

    whole = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    np.testing.assert_allclose(affine(), np.broadcast_to(whole, (MANY, 2, 3)), atol=1e-7)
    turned = affine(turn=10.0)
    np.testing.assert_allclose(np.linalg.det(turned[:, :, :2]), 1.0, atol=1e-6)
    assert np.rad2deg(np.arctan2(turned[:, 1, 0], turned[:, 0, 0])).std() == pytest.approx(10.0, rel=0.03)
    stretched = np.log(affine(stretch=0.12)[:, [0, 1], [0, 1]])
    np.testing.assert_allclose(stretched.std(axis=0), 0.12, rtol=0.03)
    assert abs(np.corrcoef(stretched.T)[0, 1]) < 0.03
    assert affine(slant=0.15)[:, 0, 1].std() == pytest.approx(0.15, rel=0.03)
    shifted = affine(shift=0.06)[:, :, 2]
    np.testing.assert_allclose(shifted.std(axis=0), 0.06, rtol=0.03)
    assert not affine(turn=10.0, stretch=0.2, slant=0.2)[:, :, 2].any()


def test_a_warp_comes_before_crop_and_flip() -> None:
    """A shift by a tenth of half the view is a tenth of half the crop."""
    rules = ViewsSettings(**{**OFF, "flip": 1.0, "crop": Crop(scale=(0.25, 0.25), ratio=(1.0, 1.0))})
    shift = Warp(turn=0, stretch=0, slant=0, shift=0.1)
    aspects = np.ones(MANY)
    affine = drawn(rules.model_copy(update={"warp": shift}), aspects).affine[:, 0].double().numpy()
    np.testing.assert_allclose(affine[:, :, :2], np.broadcast_to([[-0.5, 0], [0, 0.5]], (MANY, 2, 2)), atol=1e-6)
    # The centre of the crop, uniform in [-0.5, 0.5], and the shift, which is independent of it.
    np.testing.assert_allclose(affine[:, :, 2].var(axis=0), 1 / 12 + 0.05**2, rtol=0.03)


def test_a_bend_is_drawn_where_it_is_asked_for() -> None:
    bent = drawn(ViewsSettings(**OFF, warp=Warp(bend=0.2)), np.ones(2_000)).bend
    assert bent.shape == (2_000, 2, 2, 4, 4)
    np.testing.assert_allclose(bent.std(dim=(0, 1)), 0.2, rtol=0.1)
    assert not drawn(ViewsSettings(**OFF, warp=Warp()), np.ones(5)).bend.any()


def test_recipes_without_warp_draw_what_they_drew_before_there_was_one() -> None:
    """Numbers of the version before; a new rule must not change what an old recipe gives."""
    draws = drawn(EVERYTHING, np.array([1.0, 1.5]))
    flat = torch.cat([field.double().flatten() for name, field in draws._asdict().items() if name != "bend"])
    assert float(flat.sum()) == pytest.approx(37.1226170794107, abs=1e-5)
