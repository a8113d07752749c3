"""Recipes for pictures: what fits together, what does not and in which words, and that nothing is lost on the way to disk."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import get_args

import pytest

from nearfar.errors import RecipeError
from nearfar.recipe import Recipe, dump_recipe, load_recipe, parse_recipe
from nearfar.recipe.image_encoders import ImageEncoderBlock
from nearfar.recipe.methods import ImageMethodSettings
from nearfar.recipe.provenance import in_words, policy_of
from nearfar.recipe.summary import summarise

RECIPES = Path(__file__).parents[2] / "recipes"
SHIPPED = sorted(RECIPES.glob("*.yaml"))
OF_PICTURES = [path for path in SHIPPED if "\nfrontend:\n  kind: image\n" in path.read_text("utf-8")]

PICTURES = {
    "source": "{kind: images, path: photos, labels: folder}",
    "pairing": "{kind: views}",
    "frontend": "{kind: image}",
    "encoder": "{kind: cnn}",
    "method": "{kind: simclr}",
}
TEXT = {
    "source": "{kind: folder, path: notes}",
    "pairing": "{kind: spans}",
    "frontend": "{kind: text}",
    "encoder": "{kind: static}",
    "method": "{kind: dual_encoder}",
}


def written(parts: dict[str, str], *more: str) -> str:
    return "\n".join(
        [
            "name: made",
            "data:",
            f"  source: {parts['source']}",
            f"  pairings: [{parts['pairing']}]",
            *(f"{block}: {parts[block]}" for block in ("frontend", "encoder", "method")),
            *more,
        ]
    )


def parsed(text: str, *overrides: str) -> Recipe:
    return parse_recipe(text, name="r.yaml", base=Path("/recipes"), overrides=overrides)


def complaint(text: str, *overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        parsed(text, *overrides)
    return str(caught.value)


@pytest.mark.parametrize("chosen", list(product(("text", "pictures"), repeat=5)), ids="-".join)
def test_parts_of_two_kinds_give_one_line_that_names_a_mend(chosen: tuple[str, ...]) -> None:
    kinds = {"text": TEXT, "pictures": PICTURES}
    text = written({block: kinds[kind][block] for block, kind in zip(PICTURES, chosen, strict=True)})
    if len(set(chosen)) == 1:
        assert parsed(text).modality == ("text" if chosen[0] == "text" else "image")
        return
    found = complaint(text)
    assert found.count("\n") == 0, found
    assert found.startswith("r.yaml:"), found
    assert any(word in found for word in ("is for", "set frontend.kind to", "does not take")), found
    assert "Traceback" not in found
    assert "Assertion" not in found


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("frontend.kind=text",), "set frontend.kind to image"),
        (("encoder.kind=static",), "encoder 'static' does not take what frontend 'image' gives"),
        (("method={kind: dual_encoder}",), "method 'dual_encoder' is for text: choose one for pictures, such as simclr"),
        (("views.local={count: 2}",), "views.local are of no use to method 'simclr'"),
        (("views.local={count: 2, size: 32}", "method.kind=swav"), "views.local.size is 32, but frontend.size is 32"),
        (("views.local={count: 2, size: 40}", "method.kind=swav"), "views.local.size is 40, but frontend.size is 32"),
        (("negatives.margin=0.1",), "negatives are set, but method 'simclr' has its own"),
        (("negatives.queue={size: 4096}",), "negatives are set, but method 'simclr' has its own"),
        (("evaluate.baselines=[bm25]",), "evaluate.baselines has bm25, which frontend 'image' cannot be measured by"),
        (("train.early_stop={patience: 2}",), "train.early_stop.metric is ndcg_at_10, which is not measured"),
        (("train.early_stop={metric: knn_accuracy}", "data.split.validation=0"), "needs validation"),
        (("export.dim=200",), "export.dim is 200, but the encoder gives only 128 dimensions"),
        (("method.kind=sup_con", "data.source.labels=none"), "method 'sup_con' learns from labels: set data.source.labels to folder"),
        (("method.kind=classifier", "data.source={kind: image_table, path: p}"), "learns from labels: set data.source.columns.label"),
        (("data.pairings=[{kind: columns}]",), "pairing 'columns' is for text"),
        (("method.kind=simklr",), "unknown value 'simklr'; did you mean \"simclr\"?"),
        (("method.queue=5",), "unknown key; it belongs to kind moco_v2"),
        (("encoder={kind: vit, dim: 10}",), "dim (10) must be a multiple of heads"),
        (("frontend.size=0",), "frontend.size: expected a whole number from 8 to 2048"),
        (("frontend.fit=stretch",), "frontend.fit: unknown value 'stretch'"),
        (("data.labels_per_class=0",), "data.labels_per_class: expected a whole number"),
        (("views.crop.scale=[0.9, 0.2]",), "the smaller limit comes first"),
        (("views.crop.scale=[0.9]",), "views.crop.scale"),
        (("train.decay=cosin",), 'did you mean "cosine"?'),
        (("train.optimiser=lars",), "train.optimiser: unknown value 'lars'"),
    ],
)  # fmt: skip
def test_a_recipe_for_pictures_that_makes_no_sense(settings: tuple[str, ...], message: str) -> None:
    found = complaint(written(PICTURES), *settings)
    assert found.count("\n") == 0, found
    assert message in found


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("views={flip: 0.0}",), "views are for pictures: leave them out"),
        (("data.labels_per_class=5",), "data.labels_per_class is for pictures: leave it out"),
        (("evaluate.baselines=[pixels]",), "evaluate.baselines has pixels"),
        (("train.early_stop={metric: knn_accuracy}",), "train.early_stop.metric is knn_accuracy, which is not measured for frontend 'text'"),
        (("method={kind: byol}",), "method 'byol' is for pictures: leave it out, or set it to dual_encoder"),
        (("frontend.kind=image",), "set frontend.kind to text"),
    ],
)  # fmt: skip
def test_a_recipe_for_text_with_what_is_for_pictures(settings: tuple[str, ...], message: str) -> None:
    found = complaint(written(TEXT), *settings)
    assert found.count("\n") == 0, found
    assert message in found


def test_pictures_have_defaults_of_their_own() -> None:
    recipe = parsed(written(PICTURES))
    assert recipe.train.early_stop is None
    assert recipe.evaluate.baselines == ("pixels", "untrained")
    assert recipe.of_images.views.crop is not None
    kept = parsed(
        written(PICTURES, "train: {epochs: 2.0}", "evaluate: {bootstrap: 5}", "views: {flip: 0.0}"),
        "train.early_stop={metric: knn_accuracy}",
        "evaluate.baselines=[untrained]",
    )
    assert kept.train.early_stop is not None
    assert (kept.train.epochs, kept.evaluate.bootstrap, kept.of_images.views.flip) == (2.0, 5, 0.0)
    assert kept.evaluate.baselines == ("untrained",)
    assert parsed(written(TEXT)).train.early_stop is not None
    assert parsed(written(TEXT)).evaluate.baselines == ("bm25", "untrained")


def test_the_kind_of_frontend_is_asked_for_where_the_source_has_pictures() -> None:
    without = "\n".join(line for line in written(PICTURES).splitlines() if not line.startswith("frontend"))
    assert "set frontend.kind to image" in complaint(without)
    assert complaint(without, "frontend.size=64").count("\n") == 0


@pytest.mark.parametrize("kind", [method.model_fields["kind"].annotation for method in get_args(ImageMethodSettings)])
@pytest.mark.parametrize("path", [path for path in OF_PICTURES if path.stem != "glyphs"], ids=lambda path: path.stem)
def test_every_method_goes_with_the_shipped_recipes(path: Path, kind: object) -> None:
    (name,) = get_args(kind)
    labels = {"images-simclr": "data.source.labels=folder", "cells": "data.source.labels=folder"}
    extra = [labels[path.stem]] if name in ("sup_con", "classifier") and path.stem in labels else []
    recipe = load_recipe(path, [*extra, f"method.kind={name}"])
    assert recipe.of_images.method.kind == name
    again = parse_recipe(dump_recipe(recipe), base=Path("/elsewhere"))
    assert again == recipe
    negatives, mining = in_words(policy_of(recipe))
    assert mining == "none"
    has_none = name in ("byol", "simsiam", "barlow_twins", "vicreg", "classifier")
    assert (negatives == "none") == has_none
    if extra:
        with pytest.raises(RecipeError, match=rf"method '{name}' learns from labels"):
            load_recipe(path, [f"method.kind={name}"])


@pytest.mark.parametrize("kind", [block.model_fields["kind"].annotation for block in get_args(ImageEncoderBlock)])
def test_every_encoder_survives_the_way_to_disk(kind: object) -> None:
    (name,) = get_args(kind)
    more = ["encoder.model=mobilenetv4_conv_small"] if name == "timm" else []
    recipe = parsed(written(PICTURES), f"encoder={{kind: {name}}}", *more, "encoder.start=runs/first")
    assert recipe.of_images.encoder.start == Path.cwd() / "runs" / "first"
    assert parse_recipe(dump_recipe(recipe), base=Path("/elsewhere")) == recipe


@pytest.mark.parametrize(
    "source",
    [
        "{kind: digits}",
        "{kind: images, path: photos}",
        "{kind: images, path: photos, labels: folder, suffixes: [.png]}",
        "{kind: image_table, path: t.parquet, columns: {image: img, label: y, label_name: n, split: s, id: i, group: g}}",
    ],
)
def test_a_whole_recipe_survives_the_way_to_disk(source: str) -> None:
    everything = (
        f"data.source={source}",
        "data.split={by: group, validation: 0.2, test: 0.0}",
        "data.labels_per_class=7",
        "frontend={kind: image, size: 48, channels: 5, fit: squash, store_size: 96}",
        "views={crop: null, vertical_flip: 0.5, rotation: 180.0, blur: {}, solarise: {}, cutout: {}, second: {flip: 0.0}}",
        "views.local={count: 3, size: 24}",
        "method={kind: swav, queue: 3840}",
        "encoder={kind: resnet, depth: 34, norm: group, zero_init: true}",
        "train={early_stop: {metric: knn_accuracy}, optimiser: sgd, decay: cosine, chunk: 32, precision: bf16-mixed}",
        "evaluate={baselines: [], neighbours: 20}",
        "export={quantise: none, dim: 64}",
    )
    recipe = parsed(written(PICTURES), *everything)
    assert parse_recipe(dump_recipe(recipe), base=Path("/elsewhere")) == recipe
    assert len(recipe.of_images.views.each()) == 5


def test_the_summary_says_what_matters() -> None:
    recipe = parsed(
        written(PICTURES),
        "data.labels_per_class=7",
        "frontend={kind: image, size: 48, channels: 1, fit: squash}",
        "views.rotation=30.0",
        "method={kind: moco_v2, queue: 512}",
        "encoder.norm=group",
        "encoder.start=/runs/first",
        "train={optimiser: sgd, decay: cosine, batch_size: 96, chunk: 32, devices: 3}",
    )
    rows = dict(summarise(recipe))
    assert (
        rows["data"]
        == "pictures in /recipes/photos, their folder is their label (does not exist yet); 7 labels a class"
    )
    assert rows["positives"] == "two views of a picture"
    assert rows["pictures"] == "48 x 48 pixels, 1 channels, squash"
    for part in ("flip 0.5", "rotation 30", "scale [0.2, 1]"):
        assert part in rows["views"]
    assert rows["encoder"].startswith("cnn (start /runs/first, norm group")
    assert rows["method"].startswith("moco v2 (")
    assert "queue 512" in rows["method"]
    for part in ("96 pictures a step", "sgd", "cosine", "32 at a time", "3 devices"):
        assert part in rows["training"], part
    assert rows["evaluation"].startswith("beside pixels and untrained")
    of_table = "data.source={kind: image_table, path: /t.parquet, columns: {label: y}}"
    assert "labels in y" in dict(summarise(parsed(written(PICTURES), of_table)))["data"]
    assert (
        dict(summarise(parsed(written(PICTURES), "data.source={kind: digits}")))["data"] == "the digits of scikit-learn"
    )
