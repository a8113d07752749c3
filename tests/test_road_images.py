"""The whole road over pictures: train, export, embed, classify, fine-tune. Run like any user would, from Python."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_pictures import digits_recipe, noise, picture_recipe, write_classes, write_picture
from PIL import Image
from sklearn.datasets import load_digits

import nearfar
from nearfar import road
from nearfar.bundle import Bundle, describe
from nearfar.edge import Encoder
from nearfar.errors import BundleError, DataError, RecipeError, RunError
from nearfar.learn.data.split import TEST
from nearfar.learn.pictures import TrainedPictures
from nearfar.learn.run import open_run
from nearfar.progress import Tick, silent
from nearfar.recipe import dump_recipe
from nearfar.road.finetune import finetuning_of
from nearfar.road.picture_items import RandomViews, SourceItems

pytestmark = pytest.mark.recipe

LABELLED = {"knn_accuracy", "probe_accuracy", "few_label_accuracy", "nmi", "view_recall_at_1"}


class Heard:
    """Stages that remember what they were told."""

    def __init__(self) -> None:
        self.stages: dict[str, int] = {}
        self.totals: dict[str, int | None] = {}

    def __call__(self, name: str, total: int | None = None) -> Tick:
        self.stages.setdefault(name, 0)
        self.totals[name] = total

        def tick(count: int, note: str = "") -> None:
            self.stages[name] += count

        return tick


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> road.Run:
    """Two epochs over the digits."""
    settings = ("train.epochs=4", "evaluate.max_queries=200", "evaluate.max_documents=700")
    return nearfar.train(digits_recipe(*settings), tmp_path_factory.mktemp("runs") / "digits")


@pytest.fixture(scope="module")
def heard() -> Heard:
    return Heard()


@pytest.fixture(scope="module")
def bundle(digits: road.Run, heard: Heard) -> Bundle:
    return digits.export(stages=heard)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classes(tmp_path_factory.mktemp("photos") / "in", 3, 24, size=16)


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> road.Run:
    """A few steps over three colours."""
    recipe = picture_recipe(photos, "train.epochs=6", "train.batch_size=16", "data.split.test=0.3")
    return road.train(recipe, tmp_path_factory.mktemp("runs") / "photos")


def trained(run: road.Run) -> TrainedPictures:
    opened = open_run(run.directory)
    assert isinstance(opened, TrainedPictures)
    return opened


def every_digit() -> npt.NDArray[np.uint8]:
    """In the order of scikit-learn, (1797, 8, 8)."""
    return np.rint(load_digits().images * (255 / 16)).astype(np.uint8)


def values(bundle: Bundle, name: str) -> dict[str, float]:
    return {row: figures[name].value for row, figures in bundle.manifest.metrics.items() if name in figures}


# --- from a run to a bundle --------------------------------------------------------------------------------------------


def test_what_ships_is_what_was_trained(digits: road.Run, bundle: Bundle) -> None:
    assert list(bundle.manifest.metrics) == ["pixels", "untrained", "model", "bundle"]
    for figures in bundle.manifest.metrics.values():
        assert set(figures) == LABELLED
        for metric in figures.values():
            assert metric.low is not None
            assert metric.high is not None
            assert metric.low <= metric.value <= metric.high
    for name in ("knn_accuracy", "probe_accuracy", "view_recall_at_1"):
        found = values(bundle, name)
        assert abs(found["bundle"] - found["model"]) < 0.06, "int8 costs next to nothing"
    assert values(bundle, "knn_accuracy")["bundle"] > 0.75
    assert values(bundle, "view_recall_at_1")["model"] > values(bundle, "view_recall_at_1")["untrained"] + 0.05


def test_a_figure_is_what_one_finds_by_hand(digits: road.Run, bundle: Bundle) -> None:
    """The share of test digits that the three nearest of the same 700 training digits name right."""
    opened = trained(digits)
    every = every_digit()
    place = {opened.corpus.ids[i]: i for i in range(len(every))}
    assert [place[f"digits#{i + 1}"] for i in range(len(every))] == list(range(len(every)))
    rng = np.random.default_rng([0, 3])
    test = np.sort(rng.permutation(opened.corpus.numbers_of(TEST))[:200])
    bank = np.sort(rng.permutation(opened.corpus.numbers_of(0))[:700])
    encoder, labels = Encoder.open(bundle), opened.corpus.labels
    cosines = encoder.embed(list(every[test])) @ encoder.embed(list(every[bank])).T
    nearest = labels[bank][np.argsort(-cosines, axis=1, kind="stable")[:, :3]]
    # Where no two of three agree the votes are weighed; such pictures are left out of the count.
    clear = np.array([len(set(row)) < 3 for row in nearest.tolist()])
    voted = np.array([np.bincount(row, minlength=10).argmax() for row in nearest])
    right = float((voted == labels[test])[clear].mean())
    assert right == pytest.approx(values(bundle, "knn_accuracy")["bundle"], abs=0.02 + float((~clear).mean()))


def test_paths_bytes_and_arrays_are_all_pictures(run: road.Run, photos: Path, tmp_path: Path) -> None:
    exported = run.export(tmp_path / "bundle", quantise="none", baselines=())
    paths = sorted(photos.rglob("*.png"))[:7]
    arrays = [np.asarray(Image.open(path)) for path in paths]
    encoder = Encoder.open(exported)
    vectors = encoder.embed(paths)
    assert vectors.shape == (7, 16)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)
    np.testing.assert_allclose(encoder.embed([str(path) for path in paths]), vectors, atol=1e-6)
    np.testing.assert_allclose(encoder.embed([path.read_bytes() for path in paths]), vectors, atol=1e-6)
    np.testing.assert_allclose(encoder.embed(arrays), vectors, atol=1e-6)
    # Float weights: no more than rounding away from the model.
    np.testing.assert_allclose(run.embedder().embed(paths), vectors, atol=1e-4)  # type: ignore[arg-type]
    assert list(exported.manifest.metrics) == ["model", "bundle"]
    with pytest.raises(BundleError, match="no classifier"):
        encoder.classify(paths)


def test_int8_is_near_and_smaller(run: road.Run, photos: Path, tmp_path: Path) -> None:
    whole = run.export(tmp_path / "whole", quantise="none", baselines=())
    short = run.export(tmp_path / "short", quantise="int8", baselines=(), dim=8)
    paths = sorted(photos.rglob("*.png"))
    found, expected = Encoder.open(short).embed(paths), run.embedder(dim=8).embed(paths)  # type: ignore[arg-type]
    assert found.shape == expected.shape == (72, 8)
    assert float((found * expected).sum(axis=1).min()) > 0.95
    cut = Encoder.open(whole).embed(paths)[:, :8]
    np.testing.assert_allclose(cut / np.linalg.norm(cut, axis=1, keepdims=True), expected, atol=1e-4)
    assert short.manifest.dim == 8
    with pytest.raises(RunError, match="dim is 17, but the encoder gives only 16 components"):
        run.export(tmp_path / "long", dim=17)
    for options in ({"quantise": "int4"}, {"baselines": ["bm25"]}):
        with pytest.raises(RunError, match="choose from"):
            run.export(tmp_path / "x", **options)  # type: ignore[arg-type]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["short", "whole"]


def test_an_export_is_the_same_twice_apart_from_its_time(
    run: road.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    first, second = (run.export(tmp_path / name, baselines=()) for name in ("first", "second"))
    assert first.digest == second.digest


def test_progress_is_told_from_end_to_end(bundle: Bundle, heard: Heard) -> None:
    assert list(heard.stages) == [
        "exporting",
        *(f"measuring: {row}" for row in ("pixels", "untrained", "model", "bundle")),
    ]
    for name, total in heard.totals.items():
        assert total is None or heard.stages[name] == total == 200 + 200 + 700


def test_the_card_and_inspect_say_what_it_is(digits: road.Run, bundle: Bundle) -> None:
    manifest, card = bundle.manifest, bundle.read("card.md").decode()
    assert manifest.kind == "image-encoder"
    assert manifest.provenance.recipe == digits.recipe.model_dump(mode="json")
    counts = manifest.provenance.data_counts
    assert counts["pictures"] == 1797
    assert counts["training_pictures"] + counts["validation_pictures"] + counts["test_pictures"] == 1797
    assert "8 x 8 pixels in grey" in card
    assert "central square" in card
    assert f"{values(bundle, 'knn_accuracy')['bundle']:.4g}" in card
    for name in LABELLED:
        assert f"- `{name}`: " in card
    assert "raw pixels" in card
    assert "query" not in card.split("## Recipe")[0]
    assert "vocabulary" not in card.split("## Recipe")[0]
    rows = dict(describe(bundle))
    assert rows["pixels"] == "8 x 8, 1 channels, central square"
    assert rows["towers"] == "shared (encoder.onnx)"
    assert rows["negatives"].startswith("simclr (pictures 64, temperature 0.2)")
    assert "labels" not in rows
    assert [
        json.loads(line.split("`")[1])["flip"] for line in card.splitlines() if line.startswith("- augmentation")
    ] == [0]


# --- test items come from their source ---------------------------------------------------------------------------------


def test_items_are_read_anew_in_any_order(run: road.Run, photos: Path) -> None:
    opened = trained(run)
    from nearfar.learn.data.pictures import open_source

    ids = [opened.corpus.ids[i] for i in range(len(opened.corpus.side))]
    items = SourceItems(open_source(opened.recipe.of_images.source).contents, ids)
    assert len(items) == 72
    assert list(items) == [photos / id for id in ids]
    assert [items[i] for i in (5, 5, 3, 71, 0)] == [photos / ids[i] for i in (5, 5, 3, 71, 0)]
    assert items[10:14] == [photos / ids[i] for i in range(10, 14)]
    with pytest.raises(IndexError):
        items[72]


def test_the_views_to_find_pictures_by_are_always_the_same(digits: road.Run) -> None:
    opened = trained(digits)
    numbers = np.arange(300)
    views, again = RandomViews(opened, numbers), RandomViews(opened, numbers)
    assert len(views) == 300
    made = list(views)
    assert made[0].shape == (8, 8, 1)
    for i in (299, 3, 128, 127):
        np.testing.assert_array_equal(again[i], made[i])
    few = RandomViews(opened, numbers[:5])
    np.testing.assert_array_equal(few[4], made[4])


def test_a_source_that_is_gone_is_a_clear_error(photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path / "in")
    run = road.train(picture_recipe(tmp_path / "in", "train.max_steps=1"), tmp_path / "run")
    opened = trained(run)
    one = tmp_path / "in" / opened.corpus.ids[int(opened.corpus.numbers_of(TEST)[0])]
    one.rename(tmp_path / "kept.png")
    with pytest.raises(DataError, match=rf"{one.name} is not there any more"):
        run.export()
    assert not (run.directory / "bundle").exists()
    (tmp_path / "in").rename(tmp_path / "moved")
    with pytest.raises(DataError, match="not there any more"):
        run.export()


def test_pictures_in_a_table(photos: Path, tmp_path: Path) -> None:
    """With a split, numbers for labels and names for these; measured from the table, and fine-tuned by another."""
    paths = sorted(photos.rglob("*.png"))
    label = [ord(path.parent.name) - ord("a") for path in paths]
    columns = {
        "image": [{"bytes": path.read_bytes(), "path": None} for path in paths],
        "label": label,
        "name": [("red", "green", "blue")[number] for number in label],
        "part": ["test" if i % 4 == 0 else "train" for i in range(len(paths))],
        "key": [f"picture {i}" for i in range(len(paths))],
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet", row_group_size=10)
    named = "{label: label, label_name: name, split: part, id: key}"
    source = f"{{kind: image_table, path: {tmp_path / 't.parquet'}, columns: {named}}}"
    run = road.train(picture_recipe(source, "train.epochs=3", "train.batch_size=16"), tmp_path / "run")
    bundle = run.export()
    counts = bundle.manifest.provenance.data_counts
    assert (counts["test_pictures"], counts["labelled_pictures"]) == (18, 72)
    assert values(bundle, "knn_accuracy")["bundle"] > 0.8  # three colours
    assert trained(run).corpus.counts.classes == ["blue", "green", "red"]
    pq.write_table(pa.table({name: columns[name] for name in ("image", "label")}), tmp_path / "u.parquet")
    tuned = road.finetune(run.directory, tmp_path / "u.parquet", tmp_path / "tuned", overrides=["train.max_steps=30"])
    assert tuned.export(baselines=()).manifest.classes == ("0", "1", "2")


@pytest.mark.parametrize(("channels", "dtype"), [(5, np.uint8), (1, np.uint16)])
def test_pictures_of_other_kinds_of_pixels(channels: int, dtype: type, tmp_path: Path) -> None:
    largest = np.iinfo(dtype).max
    for number in range(40):
        pixels = np.random.default_rng(number).random((10, 14, channels)) * (0.4 + 0.6 * (number % 2))
        write_picture(tmp_path / "in" / "ab"[number % 2] / f"{number:02}.npy", (pixels * largest).astype(dtype))
    settings = ("train.max_steps=3", "train.batch_size=8", "data.split.test=0.3", f"frontend.channels={channels}")
    run = road.train(picture_recipe(tmp_path / "in", *settings), tmp_path / "run")
    bundle = run.export(quantise="none")
    assert set(bundle.manifest.metrics["pixels"]) == LABELLED
    files = sorted((tmp_path / "in").rglob("*.npy"))[:3]
    vectors = Encoder.open(bundle).embed([np.load(file) for file in files])
    np.testing.assert_allclose(vectors, run.embedder().embed(files), atol=1e-4)  # type: ignore[arg-type]
    assert road.show_views(run.recipe, tmp_path / "v.png", count=2).shape == (2 * 98 + 2, 7 * 98 + 2, 3)


# --- few pictures, few labels ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (("data.split={validation: 0, test: 0}",), None),
        (("data.source.labels=none",), {"view_recall_at_1"}),
    ],
)
def test_exporting_with_less_to_measure_by(
    photos: Path, tmp_path: Path, settings: tuple[str, ...], expected: set[str] | None
) -> None:
    run = road.train(picture_recipe(photos, "train.max_steps=1", *settings), tmp_path / "run")
    bundle = run.export()
    if expected is None:
        assert bundle.manifest.metrics == {}
        assert "Nothing was measured. Measure on your own pictures" in bundle.read("card.md").decode()
    else:
        assert {name for figures in bundle.manifest.metrics.values() for name in figures} == expected
    assert Encoder.open(bundle).embed(sorted(photos.rglob("*.png"))[:2]).shape == (2, 16)


def test_a_label_that_only_few_pictures_have(tmp_path: Path) -> None:
    """One test picture of a label that no training picture has, one of none; one class whose pictures are all in test."""
    write_classes(tmp_path / "in" / "train", 2, 20)
    write_classes(tmp_path / "in" / "test", 3, 4, skip=500)
    run = road.train(picture_recipe(tmp_path / "in", "train.max_steps=2"), tmp_path / "run")
    found = run.export().manifest.metrics["bundle"]
    assert 0 <= found["knn_accuracy"].value <= 2 / 3 + 1e-9, "what nobody knows cannot be found"


# --- fine-tuning -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tuned(digits: road.Run, tmp_path_factory: pytest.TempPathFactory) -> road.Run:
    folder = tmp_path_factory.mktemp("runs") / "tuned"
    return road.finetune(digits.directory, directory=folder, overrides=["data.labels_per_class=10"])


@pytest.fixture(scope="module")
def tuned_bundle(tuned: road.Run) -> Bundle:
    return tuned.export(baselines=())


def test_few_labels_make_a_classifier(digits: road.Run, tuned: road.Run, tuned_bundle: Bundle) -> None:
    recipe = tuned.recipe
    assert (recipe.name, recipe.of_images.method.kind) == ("pictures-finetuned", "classifier")
    assert recipe.of_images.encoder.start == digits.directory.resolve()
    manifest = tuned_bundle.manifest
    assert manifest.classes == tuple("0123456789")
    accuracy = manifest.metrics["bundle"]["accuracy"]
    assert "accuracy" not in manifest.metrics["model"]
    few = manifest.metrics["bundle"]["few_label_accuracy"]
    assert accuracy.value > max(0.7, few.value - 0.05), "as much as a linear layer on as many labels, at least"
    card = tuned_bundle.read("card.md").decode()
    assert "tells 10 labels apart: 0, 1, 2" in card
    assert "encoder.classify" in card
    assert dict(describe(tuned_bundle))["labels"] == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9"
    assert dict(describe(tuned_bundle))["negatives"] == "none"
    # By hand, on the very same test pictures.
    opened, encoder, every = trained(tuned), Encoder.open(tuned_bundle), every_digit()
    test = np.sort(np.random.default_rng([0, 3]).permutation(opened.corpus.numbers_of(TEST))[:200])
    likely = encoder.classify(list(every[test]))
    np.testing.assert_allclose(likely.sum(axis=1), 1, atol=1e-5)
    assert float((likely.argmax(axis=1) == opened.corpus.labels[test]).mean()) == pytest.approx(accuracy.value)


def test_a_frozen_encoder_stays_as_it_is(digits: road.Run, tuned: road.Run, tmp_path: Path) -> None:
    overrides = ["method.frozen=true", "train.epochs=1", "data.split.validation=0.0"]
    frozen = road.finetune(digits.directory, directory=tmp_path / "frozen", overrides=overrides)
    some = list(np.random.default_rng(0).integers(0, 256, (5, 8, 8), dtype=np.uint8))
    before = digits.embedder().embed(some)  # type: ignore[arg-type]
    np.testing.assert_array_equal(frozen.embedder().embed(some), before)  # type: ignore[arg-type]
    assert np.abs(tuned.embedder().embed(some) - before).max() > 1e-3  # type: ignore[arg-type]


def test_fine_tuning_on_other_pictures(run: road.Run, tmp_path: Path) -> None:
    """With a folder for each label; in other classes than those of the first run, with a part that is held out."""
    other = write_classes(tmp_path / "other" / "train", 2, 15, size=16, seed=7)
    write_classes(tmp_path / "other" / "test", 2, 6, size=16, seed=7, skip=50)
    for path in sorted((tmp_path / "other").rglob("b")):
        path.rename(path.with_name("zebra"))
    tuned = road.finetune(run.directory, tmp_path / "other", tmp_path / "tuned", overrides=["train.epochs=15"])
    bundle = tuned.export()
    assert bundle.manifest.classes == ("a", "zebra")
    assert bundle.manifest.metrics["bundle"]["accuracy"].value > 0.8  # two colours
    paths = [other / "a" / "000.png", other / "zebra" / "000.png"]
    assert Encoder.open(bundle).classify(paths).argmax(axis=1).tolist() == [0, 1]
    # And once more from the result.
    again = road.finetune(tuned.directory, directory=tmp_path / "again", overrides=["train.max_steps=1"])
    assert again.recipe.name == "pictures-finetuned-finetuned"


def test_fine_tuning_says_what_is_missing(run: road.Run, photos: Path, tmp_path: Path) -> None:
    without = road.train(picture_recipe(photos, "train.max_steps=1", "data.source.labels=none"), tmp_path / "without")
    with pytest.raises(RecipeError, match=r"fine-tuning of .*without.* learns from labels"):
        road.finetune(without.directory, directory=tmp_path / "x")
    write_picture(tmp_path / "flat" / "a.png", noise(0))
    with pytest.raises(DataError, match="not in a folder of a class"):
        road.finetune(run.directory, tmp_path / "flat", tmp_path / "x")
    with pytest.raises(DataError, match="does not exist"):
        road.finetune(run.directory, tmp_path / "nowhere", tmp_path / "x")
    with pytest.raises(DataError, match="does not exist"):
        road.finetune(run.directory, tmp_path / "nowhere.parquet", tmp_path / "x")
    with pytest.raises(RunError, match="is not a run"):
        road.finetune(tmp_path / "flat", directory=tmp_path / "x")
    with pytest.raises(RunError, match="does not hold the weights"):
        road.finetune(run.directory, directory=tmp_path / "x", overrides=["encoder.dim=24"])
    assert not (tmp_path / "x").exists()
    with pytest.raises(RecipeError, match="unknown key"):
        finetuning_of(run.recipe, run.directory, overrides=["train.epoch=3"])


# --- views -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "columns"),
    [((), 6), (("method={kind: swav, prototypes: 8}", "views.local={count: 3, size: 4}"), 9), (("frontend.channels=1",), 6)],
)  # fmt: skip
def test_views_are_shown_beside_their_pictures(
    photos: Path, tmp_path: Path, settings: tuple[str, ...], columns: int
) -> None:
    grid = road.show_views(picture_recipe(photos, *settings), tmp_path / "views.png", count=5)
    assert grid.shape == (5 * 98 + 2, (1 + columns) * 98 + 2, 3)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "views.png")), grid)
    again = road.show_views(picture_recipe(photos, *settings), tmp_path / "again.png", count=5)
    np.testing.assert_array_equal(again, grid)


def test_views_that_cannot_be_shown(photos: Path, tmp_path: Path) -> None:
    from made_corpus import made_recipe

    with pytest.raises(RecipeError, match="is for text: only pictures have views"):
        road.show_views(made_recipe(tmp_path / "pairs.jsonl"), tmp_path / "views.png")
    with pytest.raises(DataError, match=r"cannot be written: No such file"):
        road.show_views(picture_recipe(photos), tmp_path / "nowhere" / "views.png")
    with pytest.raises(DataError, match="cannot be written"):
        road.show_views(picture_recipe(photos), tmp_path)


# --- resume ------------------------------------------------------------------------------------------------------------


def test_a_run_over_pictures_is_found_again(run: road.Run, photos: Path, tmp_path: Path) -> None:
    again = road.Run.open(run.directory)
    assert again.skipped == ({}, [])
    paths = sorted(photos.rglob("*.png"))[:4]
    np.testing.assert_array_equal(again.embedder().embed(paths), run.embedder().embed(paths))  # type: ignore[arg-type]
    (tmp_path / "recipe.yaml").write_text(dump_recipe(picture_recipe(photos, "train.max_steps=1")), "utf-8")
    with pytest.raises(RunError, match="has not ended"):
        road.Run.open(tmp_path)
    assert road.resume(tmp_path, stages=silent).export().manifest.kind == "image-encoder"
