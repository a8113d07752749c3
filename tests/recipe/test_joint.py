"""Recipes for several modalities in one space: what is filled in, what goes together, and how mistakes are told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nearfar.errors import RecipeError
from nearfar.recipe import Recipe, dump_recipe, parse_recipe
from nearfar.recipe.load import load_recipe
from nearfar.recipe.provenance import in_words, policy_of
from nearfar.recipe.summary import summarise

BASE = Path("/base")
RECIPES = Path(__file__).parents[2] / "recipes"
YAML = """\
name: x
data:
  source:
    kind: pairs
    files:
      - path: a/pairs.csv
        columns: {image: photo, text: [caption, caption_de]}
encoder: {dim: 32}
towers:
  image:
    encoder: {width: 8}
  text: {}
method: {temperature: {initial: 0.1}}
"""


def parse(text: str = YAML, *overrides: str) -> Recipe:
    return parse_recipe(text, name="r.yaml", base=BASE, overrides=overrides)


def test_kinds_and_defaults_are_filled_in() -> None:
    recipe = parse()
    assert recipe.modality == "joint"
    assert recipe.method.kind == "clip"
    assert [tower.kind for tower in recipe.towers.values()] == ["image", "text"]
    assert recipe.data.source.files[0].columns == {"image": ("photo",), "text": ("caption", "caption_de")}  # type: ignore[union-attr]
    assert recipe.evaluate.baselines == ("untrained",)
    assert recipe.train.early_stop is None
    assert parse(dump_recipe(recipe)) == recipe


def test_paths_inside_towers_start_at_the_recipe_or_at_the_command_line(tmp_path: Path) -> None:
    own = parse(YAML.replace("{width: 8}", "{kind: bundle, path: b}").replace("text: {}", "text: {start: run}"))
    assert own.towers["image"].encoder.path == BASE / "b"  # type: ignore[union-attr]
    assert own.towers["text"].start == BASE / "run"
    assert own.data.source.files[0].path == BASE / "a/pairs.csv"  # type: ignore[union-attr]
    assert parse(YAML, "towers.text.start=run").towers["text"].start == Path.cwd() / "run"
    (tmp_path / "clip").mkdir()
    with_models = YAML.replace("{width: 8}", "{kind: hf, model: clip}").replace(
        "text: {}", "text: {encoder: {kind: hf, model: owner/name}}"
    )
    towers = parse_recipe(with_models, base=tmp_path).towers
    assert towers["image"].encoder.model == str(tmp_path / "clip")  # type: ignore[union-attr]
    assert towers["text"].encoder.model == "owner/name"  # type: ignore[union-attr]
    assert towers["text"].frontend.tokenizer.kind == "model"  # type: ignore[union-attr]


def test_set_reaches_into_towers_and_columns() -> None:
    recipe = parse(
        YAML, "towers.image.encoder.kind=vit", "towers.sound.kind=audio", "data.source.files.0.columns.sound=wav"
    )
    assert recipe.towers["image"].encoder.kind == "vit"  # the file's `width` went with the CNN
    assert recipe.towers["sound"].kind == "audio"
    assert recipe.data.source.files[0].columns["sound"] == ("wav",)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("encoder: {width: 8}", "frozn: true", r'r.yaml:11: towers.image.frozn: unknown key; did you mean "frozen"\?'),
        ("{width: 8}", "{widht: 8}", r'r.yaml:11: towers.image.encoder.widht: unknown key; did you mean "width"\?'),
        ("{width: 8}", "{patch: 8}", "towers.image.encoder.patch: unknown key; it belongs to kind vit, not 'cnn'"),
        ("{width: 8}", "{width: many}", "r.yaml:11: towers.image.encoder.width: expected a whole number"),
        ("text: {}", "pic: {}", "r.yaml:12: towers.pic.kind: missing key; one of text, image"),
        ("text: {}", "pic: {kind: imag}", "towers.pic.kind: unknown value 'imag'; did you mean \"image\""),
        ("text: {}", "Big: {kind: text}", "r.yaml:12: towers.Big: a name has lower-case letters"),
        ("{image: photo,", "{image: 3,", "data.source.files.0.columns.image: expected text or a list"),
    ],
)
def test_mistakes_inside_a_tower_have_line_and_key(old: str, new: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse(YAML.replace(old, new))


Change = Callable[[dict[str, Any]], object]


def changed(change: Change) -> str:
    values: dict[str, Any] = {
        "name": "x",
        "data": {
            "source": {
                "kind": "pairs",
                "files": [{"path": "p.csv", "columns": {"image": "i", "text": "t", "audio": "a", "series": "s"}}],
            },
            "pairings": [{"kind": "partners"}],
            "split": {},
        },
        "encoder": {"dim": 32},
        "towers": {"image": {}, "text": {}, "audio": {}, "series": {}},
        "method": {"kind": "clip"},
        "train": {},
        "export": {},
    }
    change(values)
    return json.dumps(values)


def tower(name: str, **keys: object) -> Change:
    return lambda values: values["towers"][name].update(keys)


def files(*columns: dict[str, str]) -> Change:
    return lambda v: v["data"]["source"].update(files=[{"path": "p.csv", "columns": some} for some in columns])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v["towers"].update(log={"kind": "text"}), "towers.log is in no file"),
        (lambda v: v["towers"].pop("series"), "columns.series has no tower"),
        (lambda v: v.update(towers={"text": {}}), "towers has only one"),
        (lambda v: (v.pop("towers"), v.update(encoder={"kind": "static"}, method={"kind": "dual_encoder"})), "read by towers, and there are none"),
        (lambda v: v["data"].update(source={"kind": "rows", "path": "x"}, pairings=[{"kind": "views"}]), "learn from tables of pairs"),
        (lambda v: v.update(frontend={"kind": "text"}), "frontend is set beside towers"),
        (lambda v: v.update(encoder={"kind": "cnn"}), "encoder 'cnn' is set beside towers"),
        (lambda v: v.update(views={"kind": "image"}), "views are set beside towers"),
        (lambda v: v["data"]["pairings"][0].update(anchor="log"), "log, which is no tower"),
        (files({"image": "i", "text": "t"}, {"audio": "a", "series": "s"}), "paired with nothing in common"),
        (lambda v: v["data"]["split"].update(by="identity"), "split.by identity is for the pairing"),
        (lambda v: v["data"]["split"].update(by="group"), "no file says what its groups are"),
        (tower("image", views={"second": {}}), "towers.image.views.second"),
        (tower("audio", views={"seconds": 9.0}), "towers.audio.views.seconds is 9"),
        (tower("series", encoder={"kind": "patch_transformer", "patch": 5}), "towers.series.encoder.patch is 5"),
        (tower("text", encoder={"kind": "static", "start": "teacher"}), "towers.text.encoder.start is teacher"),
        (tower("text", encoder={"kind": "static", "projection": 64}), "towers.text.encoder.projection"),
        (tower("text", frontend={"tokenizer": {"kind": "model"}}), "towers.text.frontend.tokenizer 'model'"),
        (tower("image", projection="none"), "128 components and encoder.dim is 32"),
        (tower("image", frozen=True), "starts from random weights"),
        (tower("image", frozen=True, start="run", rate=0.1), "towers.image.rate"),
        (tower("image", encoder={"kind": "bundle", "path": "b"}, frontend={"size": 64}), "towers.image.frontend is set"),
        (lambda v: v["method"].update(temperature={"initial": 2.0}), "lies between 0.01 and 1"),
        (lambda v: v["export"].update(dim=16), "export.dim"),
        (lambda v: v.update(compress={"steps": []}), "compress is for text and pictures"),
        (lambda v: v["train"].update(early_stop={"metric": "knn_accuracy"}), "early_stop.metric is knn_accuracy"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(change: Change, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse(changed(change))


def test_an_anchor_must_share_a_file_with_every_tower() -> None:
    apart = files({"image": "i", "text": "t", "series": "s"}, {"audio": "a", "image": "i"})
    assert parse(changed(apart)).towers.keys() == {"image", "text", "audio", "series"}
    with pytest.raises(RecipeError, match=r"towers.audio shares no file with text, the anchor"):
        parse(changed(lambda v: (apart(v), v["data"]["pairings"][0].update(anchor="text"))))


def test_the_gap_is_of_several_modalities_alone() -> None:
    assert parse(YAML, "export.gap=centre").export.gap == "centre"
    with pytest.raises(RecipeError, match=r"export\.gap is for several modalities"):
        load_recipe(RECIPES / "tldr.yaml", ["export.gap=centre"])


@pytest.mark.parametrize("name", ["emoji", "spoken-digits", "factory", "glyph-names"])
def test_shipped_recipes_are_told_in_words(name: str) -> None:
    recipe = load_recipe(RECIPES / f"{name}.yaml")
    told = dict(summarise(recipe))
    assert all(f"tower {tower}" in told for tower in recipe.towers)
    assert told["space"].startswith(f"{recipe.of_joint.encoder.dim} dimensions")
    negatives, mining = in_words(policy_of(recipe))
    assert "never counted: equal items" in negatives
    assert mining == "none"
    assert parse_recipe(dump_recipe(recipe), base=BASE) == recipe


def test_hard_pairs_are_in_the_policy() -> None:
    policy = policy_of(parse(YAML, "method.hard={skip: 2}"))
    assert policy["mining"]["left_out"] == ["partners", "the nearest 2 that are no partners"]
