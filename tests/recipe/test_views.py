"""The views block: defaults, limits, and the rules of each view."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from nearfar.recipe.views import Crop, Jitter, LocalViews, View, Views


def test_the_defaults_are_those_of_simclr_on_small_pictures() -> None:
    views = Views()
    assert views.crop == Crop(scale=(0.2, 1.0), ratio=(3 / 4, 4 / 3))
    assert views.jitter == Jitter(probability=0.8, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
    assert (views.flip, views.vertical_flip, views.greyscale, views.rotation) == (0.5, 0.0, 0.2, 0.0)
    assert (views.blur, views.solarise, views.cutout, views.second, views.local) == (None,) * 5


def test_both_views_follow_the_first_rules_unless_the_second_has_its_own() -> None:
    first, second = Views(flip=0.1).each()
    assert first == second == View(flip=0.1)
    first, second = Views(flip=0.1, second=View(greyscale=0.7)).each()
    assert first == View(flip=0.1)
    assert second == View(greyscale=0.7)


def test_local_views_follow_the_first_rules_but_for_their_crop_and_size() -> None:
    views = Views(crop=Crop(ratio=(0.5, 2.0)), flip=0.1, local=LocalViews(count=2, size=16, scale=(0.1, 0.3)))
    rules = views.each()
    assert rules[2:] == (View(crop=Crop(scale=(0.1, 0.3), ratio=(0.5, 2.0)), flip=0.1),) * 2
    assert views.sizes(32) == (32, 32, 16, 16)


def test_local_views_are_crops_even_where_the_others_are_not() -> None:
    assert Views(crop=None, local=LocalViews(count=1)).each()[2].crop == Crop(scale=(0.05, 0.2))


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ({"crop": {"scale": [0.8, 0.2]}}, r"the smaller limit comes first: \[0.2, 0.8\]"),
        ({"crop": {"scale": [0.0, 1.0]}}, "greater than 0"),
        ({"crop": {"scale": [0.2]}}, "at least 2 items"),
        ({"crop": {"scale": [0.2, 0.3, 0.4]}}, "at most 2 items"),
        ({"crop": {"ratio": [-1.0, 1.0]}}, "greater than or equal to 0.01"),
        ({"flip": 1.5}, "less than or equal to 1"),
        ({"jitter": {"hue": 0.6}}, "less than or equal to 0.5"),
        ({"jitter": {"brightness": -0.1}}, "greater than or equal to 0"),
        ({"blur": {"sigma": [2.0, 0.1]}}, "smaller limit comes first"),
        ({"local": {"count": 0}}, "greater than or equal to 1"),
        ({"second": {"local": {}}}, "Extra inputs"),
        ({"rotate": 3.0}, "Extra inputs"),
    ],
)
def test_what_makes_no_sense_is_refused(written: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Views.model_validate(written)
