"""Items of every tower get the names of their colours, which no labelled example taught."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from made_joint import COLOURS, row, tone, write_colours, write_joint_bundle

from nearfar.edge.zero_shot import ZeroShot
from nearfar.errors import BundleError, DataError
from nearfar.evaluate.zero_shot import class_vectors

NAMES = tuple(COLOURS)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_joint_bundle(tmp_path_factory.mktemp("bundles") / "colours")


@pytest.mark.parametrize("tower", ["image", "audio", "table", "text"])
def test_items_of_every_tower_are_named(bundle, tower, tmp_path):
    items = {
        "image": write_colours(tmp_path, 1),
        "audio": [tone(colour) for colour in COLOURS],
        "table": [row(colour) for colour in COLOURS],
        "text": [f"some {colour} things" for colour in COLOURS],
    }[tower]
    found = ZeroShot.open(bundle, NAMES, tower=tower).classify(items)
    assert [one.label for one in found] == list(NAMES)
    assert all(one.margin > 0 for one in found)


def test_scores_are_counted_in_spreads_above_chance(bundle, tmp_path):
    """A cosine by chance is 0 in the made bundle, and its spread 0.2."""
    paths = write_colours(tmp_path, 1)
    scaled = ZeroShot.open(bundle, NAMES, tower="image").scores(paths)
    plain = ZeroShot.open(write_joint_bundle(tmp_path / "plain", scaled=False), NAMES, tower="image").scores(paths)
    np.testing.assert_allclose(scaled, plain / 0.2, atol=1e-5)


def test_it_abstains_below_a_score(bundle, tmp_path):
    paths = write_colours(tmp_path, 1)
    least = float(ZeroShot.open(bundle, NAMES, tower="image").scores(paths).max(axis=1).min())
    found = ZeroShot.open(bundle, NAMES, tower="image", abstain=least + 1).classify(paths[:1])
    assert (found[0].label, found[0].best) == (None, NAMES[0])
    assert ZeroShot.open(bundle, NAMES, tower="image", abstain=least - 1).classify(paths[:1])[0].label == NAMES[0]


@pytest.mark.parametrize("names", [[], ["red"], ["red", "red"], ["red", " "]])
def test_names_that_are_no_choice_are_refused(bundle, names):
    with pytest.raises(DataError, match="two different names"):
        ZeroShot.open(bundle, names, tower="image")


@pytest.mark.parametrize("templates", [[], ["a photo"], ["{} and {}"]])
def test_templates_without_a_place_are_refused(bundle, templates):
    with pytest.raises(DataError, match="templates"):
        ZeroShot.open(bundle, NAMES, tower="image", templates=templates)


def test_bundles_without_the_towers_are_refused(bundle, tmp_path):
    with pytest.raises(BundleError, match="no tower 'smell'"):
        ZeroShot.open(bundle, NAMES, tower="smell")
    mute = write_joint_bundle(tmp_path / "mute", towers=("image", "audio"))
    with pytest.raises(BundleError, match="text"):
        ZeroShot.open(mute, NAMES, tower="image")


def test_class_vectors_are_means_over_templates():
    class Letters:
        dim = 3

        def embed(self, items, side="document"):
            made = np.array([[item.count("a"), item.count("b"), len(item)] for item in items], np.float32)
            return made / np.linalg.norm(made, axis=1, keepdims=True)

    letters = Letters()
    found = class_vectors(letters, ["a", "bb"], ["{}", "x{}", "b {}"])
    for name, vector in zip(["a", "bb"], found, strict=True):
        mean = letters.embed([name, f"x{name}", f"b {name}"]).mean(axis=0)
        np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-6)


def test_torch_is_not_needed():
    code = "import nearfar.edge.zero_shot, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
