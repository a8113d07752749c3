"""Recipes that learn who is who: what goes together, and what is said where it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from nearfar.errors import RecipeError
from nearfar.recipe import Recipe, load_recipe, parse_recipe

PICTURES = """
name: who
data:
  source: {kind: images, path: people, labels: folder}
  pairings: [{kind: identity}]
frontend: {kind: image}
encoder: {kind: cnn}
method: {kind: sup_con}
train: {batch_size: 64}
"""

SOUND = """
name: who
data:
  source: {kind: audio, path: voices, labels: folder}
  pairings: [{kind: identity}]
frontend: {kind: audio}
encoder: {kind: ecapa}
method: {kind: sup_con}
train: {batch_size: 64}
"""


def recipe(text: str, *overrides: str) -> Recipe:
    return parse_recipe(text, base=Path.cwd(), overrides=overrides)


@pytest.mark.parametrize("text", [PICTURES, SOUND])
@pytest.mark.parametrize(
    "method", ["{kind: sup_con, projector: []}", "{kind: arc_face}", "{kind: triplet, margin: 0.2}"]
)
def test_methods_that_learn_who_is_who(text: str, method: str) -> None:
    made = recipe(text, f"method={method}")
    assert made.data.split.by == "identity"
    assert made.verify is not None
    assert made.identity is not None


@pytest.mark.parametrize("text", [PICTURES, SOUND])
@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["method={kind: simclr}"], "'simclr' does not learn from labels: choose sup_con, arc_face or triplet, or set"),
        (["method={kind: byol}"], "'byol' does not learn from labels"),
        (["data.source.labels=none"], "'sup_con' learns from labels: set data.source.labels to folder$"),
        (["train.batch_size=66"], "train.batch_size is 66, .* multiple of 4, such as 6[48]"),
        (["train.batch_size=4"], "at least two: set it to a multiple of 4, such as 8"),
        (
            ["data.pairings=[{kind: views}]", "method={kind: arc_face}"],
            "'arc_face' needs several samples of each identity",
        ),
        (["data.pairings=[{kind: views}]", "method={kind: triplet}"], r"set data.pairings to \[\{kind: identity\}\]"),
        (["data.split.by=random"], "split.by is random"),
        (["export.dim=500"], "export.dim is 500, but the encoder gives only 128"),
    ],
)
def test_what_does_not_go_with_identities(text: str, overrides: list[str], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        recipe(text, *overrides)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["method={kind: classifier}"], "'classifier' learns classes: choose sup_con"),
        (["data.labels_per_class=5"], "labels_per_class is not for the pairing 'identity'"),
        (["views.second={flip: 0.0}"], "takes one view of each sample: leave views.second out"),
        (["views.local={count: 2}"], "views.local are of no use to method 'sup_con'"),
        (["data.source={kind: image_table, path: t.parquet}"], "set data.source.columns.label$"),
    ],
)
def test_what_does_not_go_with_identities_of_pictures(overrides: list[str], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        recipe(PICTURES, *overrides)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["data.pairings=[{kind: identity, turned: 8}]"], "turned of the pairing 'identity' is for pictures"),
        (
            ["compress={steps: [{kind: weights, format: int8}]}"],
            "compress is for text and pictures: leave it out; encoder.dim",
        ),
        (
            ["views.seconds=20.0"],
            r"views.seconds is 20, but must lie between frontend.frame \(0.025\) and frontend.max_seconds \(8\)",
        ),
        (["data.source={kind: audio_table, path: t.parquet}"], "set data.source.columns.label$"),
        (["data.labels_per_class=5"], "data.labels_per_class is for pictures"),
    ],
)
def test_what_does_not_go_with_identities_of_sound(overrides: list[str], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        recipe(SOUND, *overrides)


def test_a_label_by_its_name_is_a_label() -> None:
    source = "data.source={kind: image_table, path: t.parquet, columns: {label_name: who}}"
    assert recipe(PICTURES, source).identity is not None


def test_a_linear_map_of_the_whole_map_takes_no_smaller_views() -> None:
    swav = [
        "data.pairings=[{kind: views}]",
        "method={kind: swav}",
        "views.local={count: 2, size: 16}",
        "encoder={kind: cnn, pool: map}",
    ]
    with pytest.raises(RecipeError, match=r"encoder\.pool is map, which takes views of one size"):
        recipe(PICTURES, *swav)


def test_the_recipe_of_glyphs_is_sound() -> None:
    made = load_recipe(Path(__file__).parents[2] / "recipes" / "glyphs.yaml")
    pairing = made.identity
    assert pairing is not None
    assert (pairing.turned, made.train.batch_size // pairing.samples) == (8, 48)
    assert made.of_images.views.warp is not None
