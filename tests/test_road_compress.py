"""The ladder of compression on made data: each step measured as it ships, and one that costs too much left out."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from interruption import interrupt_at
from made_corpus import made_recipe, write_pairs
from made_pictures import digits_recipe, picture_recipe, write_classes
from tests.edge.tiny_bundle import write_tiny_bundle

from nearfar import road
from nearfar.bundle import Bundle, describe, render_card
from nearfar.bundle.compression import compression_table
from nearfar.bundle.manifest import CompressionStep, read_manifest
from nearfar.edge import Encoder
from nearfar.errors import InterruptedRunError, RunError
from nearfar.evaluate.metrics import ndcg_at
from nearfar.learn.data.split import VALIDATION
from nearfar.learn.heldout import retrieval_task
from nearfar.learn.run import open_run
from nearfar.progress import silent
from nearfar.recipe.compress import Compress
from nearfar.road.compress import Workbench, climb

pytestmark = pytest.mark.recipe

TRANSFORMER = "{kind: transformer, dim: 16, heads: 2, layers: 2, feedforward: 32}"
INT8: dict[str, Any] = {"kind": "weights"}


def steps(*wanted: dict[str, Any], limit: float = 0.02) -> Compress:
    return Compress.model_validate({"limit": limit, "steps": list(wanted)})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("data") / "pairs.jsonl", 600, topics=100)


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> road.Run:
    recipe = made_recipe(data, "train.epochs=20", "evaluate.bootstrap=200")
    return road.train(recipe, tmp_path_factory.mktemp("runs") / "made")


@pytest.fixture(scope="module")
def transformer(data: Path, tmp_path_factory: pytest.TempPathFactory) -> road.Run:
    settings = ("train.epochs=2", "train.learning_rate=0.002", "evaluate.bootstrap=20", "method.matryoshka=[]")
    return road.train(
        made_recipe(data, *settings, encoder=TRANSFORMER), tmp_path_factory.mktemp("runs") / "transformer"
    )


@pytest.fixture(scope="module")
def climbed(run: road.Run, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A step that costs too much between two that do not."""
    wanted = steps({"kind": "vocabulary"}, {"kind": "prefix", "dim": 2}, INT8)
    return run.export(tmp_path_factory.mktemp("bundles") / "climbed", compress=wanted, baselines=())


# --- what is kept and what is left out ----------------------------------------------------------------------------------


def test_a_step_that_costs_too_much_is_left_out(climbed: Bundle) -> None:
    rows = climbed.manifest.compression
    assert [row.step.get("kind") for row in rows] == [None, "vocabulary", "prefix", "weights"]
    assert [row.kept for row in rows] == [True, True, False, True]
    prefix, weights = rows[2], rows[3]
    assert prefix.change is not None
    assert prefix.change.value < -0.3
    assert "more than the limit of 2.0%" in prefix.reason
    assert weights.change is not None
    assert abs(weights.change.value) < 0.02, "against the vocabulary, not against the two components"
    assert climbed.manifest.dim == 32


def test_every_row_says_size_time_and_quality(climbed: Bundle) -> None:
    first, *rest = climbed.manifest.compression
    assert first.change is None
    for row in (first, *rest):
        assert row.figure == "ndcg_at_10"
        assert row.quality is not None
        assert row.quality.low is not None
        assert row.quality.high is not None
        assert row.quality.low <= row.quality.value <= row.quality.high
        assert row.milliseconds is not None
        assert row.milliseconds > 0
    whole, vocabulary, prefix, weights = (row.mb or math.nan for row in (first, *rest))
    assert vocabulary < whole
    assert prefix < 0.5 * whole, "two components in place of 32"
    assert weights < 0.6 * vocabulary, "one byte a number in place of four"


def test_quality_and_change_are_what_one_finds_by_hand(run: road.Run, climbed: Bundle) -> None:
    corpus = open_run(run.directory).corpus
    task = retrieval_task(corpus, VALIDATION, max_queries=1_000, max_documents=20_000, seed=0)
    assert task is not None
    encoder = Encoder.open(climbed)
    cosines = encoder.embed(list(task.queries), "query") @ encoder.embed(task.documents[:]).T
    by_hand = ndcg_at(np.argsort(-cosines, axis=1, kind="stable")[:, :10], task.qrels, 10)
    _, vocabulary, _, weights = climbed.manifest.compression
    assert weights.quality is not None
    assert weights.quality.value == pytest.approx(by_hand.mean(), abs=1e-9)
    assert vocabulary.quality is not None
    assert weights.change is not None
    assert weights.change.value == pytest.approx(weights.quality.value / vocabulary.quality.value - 1)


def test_the_steps_that_are_left_give_the_plain_export(run: road.Run, tmp_path: Path) -> None:
    """With the prefix left out, what ships is what `export.quantise` gives, to the byte."""
    wanted = steps({"kind": "prefix", "dim": 2}, INT8)
    made = run.export(tmp_path / "steps", compress=wanted, baselines=())
    plain = run.export(tmp_path / "plain", quantise="int8", baselines=())
    assert made.read("encoder.onnx") == plain.read("encoder.onnx")
    assert made.read("tokenizer.json") == plain.read("tokenizer.json")
    assert plain.manifest.compression == ()
    assert made.manifest.metrics["bundle"] == plain.manifest.metrics["bundle"]
    assert made.manifest.provenance.recipe["compress"] == wanted.model_dump(mode="json")


def test_a_limit_of_one_lets_everything_pass(run: road.Run, tmp_path: Path) -> None:
    wanted = steps({"kind": "prefix", "dim": 24}, {"kind": "rank", "rank": 4}, {**INT8, "format": "int4"}, limit=1.0)
    bundle = run.export(tmp_path / "bundle", compress=wanted, baselines=())
    assert all(row.kept for row in bundle.manifest.compression)
    assert (bundle.manifest.dim, bundle.manifest.dims) == (24, (16,))
    assert set(bundle.manifest.metrics) == {"model", "bundle", "hybrid"}
    agreement = bundle.manifest.agreement
    assert agreement is not None
    assert agreement.least < agreement.mean < 0.99, "four numbers a token are not what was trained"


def test_the_graphs_agree_with_the_model_in_float(run: road.Run, climbed: Bundle) -> None:
    agreement = climbed.manifest.agreement
    assert agreement is not None
    assert agreement.items > 100
    assert 0.99 < agreement.least <= agreement.mean <= 1 + 1e-6
    texts = ["bado kilu", "meno"]
    cosines = (Encoder.open(climbed).embed(texts) * run.embedder().embed(texts)).sum(axis=1)
    assert cosines.min() > 0.99


# --- the ladder alone ---------------------------------------------------------------------------------------------------


def ladder(
    figures: Sequence[Sequence[float] | None], folder: Path, limit: float = 0.1
) -> tuple[int, list[CompressionStep]]:
    """Climb from model 0: step n makes of model m the model 10 m + n, whose figures are those of step n."""
    bundle = write_tiny_bundle(folder / "tiny")
    at = iter(figures)

    def judge(_: Bundle) -> Any:
        figure = next(at)
        return None if figure is None else np.array(figure)

    bench: Workbench[int] = Workbench(
        misfit=lambda model, _: "it does not fit" if model == 1 and len(figures) == 5 else "",
        apply=lambda model, _, number: 10 * model + number,
        write=lambda model, _: bundle,
        judge=judge,
        figure="ndcg_at_10",
        samples={"query": ["a", "b"]},
        embedder=lambda _: Encoder.open(bundle),
    )
    wanted = steps(*[INT8] * (len(figures) - 1), limit=limit)
    model, rows = climb(0, wanted, bench, folder, resamples=50, seed=0, stages=silent)
    return model, list(rows)


def test_the_next_step_goes_on_from_the_last_kept_model(tmp_path: Path) -> None:
    model, rows = ladder([[1, 1], [0.95, 0.95], [0.8, 0.8], [0.9, 0.9]], tmp_path)
    assert model == 13, "steps 1 and 3"
    assert [row.kept for row in rows] == [True, True, False, True]
    changes = [row.change.value for row in rows[1:] if row.change is not None]
    assert changes == pytest.approx([-0.05, 0.8 / 0.95 - 1, 0.9 / 0.95 - 1])


def test_a_step_that_no_longer_fits_is_left_out(tmp_path: Path) -> None:
    model, rows = ladder([[1, 1], [0.95, 0.95], None, None, None], tmp_path)
    assert model == 1
    assert [row.kept for row in rows] == [True, True, False, False, False]
    assert (rows[2].mb, rows[2].reason) == (None, "it does not fit")


def test_of_alternatives_the_smallest_that_is_good_enough_ships(run: road.Run, tmp_path: Path) -> None:
    """After a prefix was kept, a longer one does not fit; after int8 was kept, float weights of another form are larger."""
    wanted = steps(
        {"kind": "prefix", "dim": 2}, {"kind": "prefix", "dim": 31}, {"kind": "prefix", "dim": 32}, INT8, limit=0.1
    )
    rows = run.export(tmp_path / "bundle", compress=wanted, baselines=()).manifest.compression
    assert [row.kept for row in rows] == [True, False, True, False, True]
    assert "there are only 31 components" in rows[3].reason
    wanted = steps({**INT8, "format": "int4"}, INT8, limit=1.0)
    rows = run.export(tmp_path / "bundle", compress=wanted, baselines=()).manifest.compression
    assert [(row.kept, row.reason) for row in rows[1:]] == [(True, ""), (False, "makes the bundle larger")]


def test_a_step_that_costs_just_the_limit_is_kept(tmp_path: Path) -> None:
    _, rows = ladder([[1, 1], [0.5, 0.5], [0.24, 0.24]], tmp_path, limit=0.5)
    assert [row.kept for row in rows] == [True, True, False]


def test_change_is_paired(tmp_path: Path) -> None:
    """Each query loses a tenth of its figure: however they differ from each other, the change is known exactly."""
    figures = np.linspace(0.1, 1, 40)
    _, rows = ladder([figures.tolist(), (0.95 * figures).tolist()], tmp_path)
    change, quality = rows[1].change, rows[1].quality
    assert change is not None
    assert quality is not None
    assert (change.low, change.high) == pytest.approx((-0.05, -0.05))
    assert quality.low is not None
    assert quality.value - quality.low > 0.02


def test_a_model_that_finds_nothing_has_nothing_to_lose(tmp_path: Path) -> None:
    _, rows = ladder([[0, 0], [0, 0]], tmp_path)
    assert rows[1].kept
    assert rows[1].change is None
    assert "nothing to lose" in rows[1].reason


def test_without_validation_every_step_is_kept(tmp_path: Path) -> None:
    model, rows = ladder([None, None], tmp_path)
    assert model == 1
    assert rows[1].quality is None
    assert "not known" in rows[1].reason


def test_an_interval_without_an_end_has_none_in_the_manifest(tmp_path: Path) -> None:
    """Of two queries one is never found: a resample of it alone has no ratio."""
    _, rows = ladder([[1, 0], [1, 0.5]], tmp_path)
    assert rows[1].change is not None
    assert rows[1].change.high is None
    assert math.isfinite(rows[1].change.value)


# --- what people see ----------------------------------------------------------------------------------------------------


def test_card_and_inspect_show_the_table(climbed: Bundle) -> None:
    heads, *rows = compression_table(climbed.manifest)
    assert heads == ("step", "MB", "ms", "nDCG@10", "change", "")
    assert [(row[0], row[-1]) for row in rows] == [
        ("float", ""),
        ("vocabulary", ""),
        ("prefix 2", "left out"),
        ("weights int8", ""),
    ]
    card = climbed.read("card.md").decode()
    assert "## How it was made small" in card
    assert f"| {' | '.join(rows[2])} |" in card
    shown = dict(describe(climbed))
    assert "left out: costs " in shown["made small: prefix 2"]
    assert shown["graphs agree"].startswith("cosine with the model in float ")


def test_a_bundle_from_before_there_were_steps_is_read(climbed: Bundle) -> None:
    values = json.loads(climbed.manifest.to_bytes())
    del values["compression"], values["agreement"]
    manifest = read_manifest(json.dumps(values).encode(), "manifest.json")
    assert manifest.compression == ()
    assert "made small" not in render_card(manifest)


def test_a_run_without_validation_part(data: Path, tmp_path: Path) -> None:
    nothing_held_out = ("data.split.validation=0", "data.split.test=0", "train.early_stop=null", "train.epochs=1")
    run = road.train(made_recipe(data, *nothing_held_out), tmp_path / "run")
    bundle = run.export(compress=steps({"kind": "prefix", "dim": 2}, INT8))
    assert bundle.manifest.dim == 2
    assert [row[3] for row in compression_table(bundle.manifest)[1:]] == ["not measured"] * 3
    assert all(row.milliseconds is not None for row in bundle.manifest.compression)
    assert "what the steps cost is not known" in bundle.read("card.md").decode()


# --- what is asked for --------------------------------------------------------------------------------------------------


def test_the_steps_of_the_recipe_are_done(data: Path, tmp_path: Path) -> None:
    overrides = ("train.epochs=1", "compress={limit: 1.0, steps: [{kind: prefix, dim: 8}]}", "export.dim=16")
    run = road.train(made_recipe(data, *overrides), tmp_path / "run")
    bundle = run.export(baselines=())
    assert bundle.manifest.dim == 8
    assert len(bundle.manifest.compression) == 2
    short = run.export(tmp_path / "short", dim=4, baselines=())
    assert (short.manifest.dim, short.manifest.compression) == (4, ())


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"kind": "prefix", "dim": 33}, r"compress\.steps\[1\] \(prefix\): dim is 33, but there are only 32"),
        ({"kind": "rank", "rank": 32}, "rank is 32, but a token has only 32 numbers"),
        ({"kind": "layers", "keep": 1}, "encoder 'static' has no layers"),
        ({"kind": "heads", "keep": 0.5}, "encoder 'static' has no layers"),
        ({"kind": "channels", "keep": 0.5}, "only encoders of pictures"),
        ({**INT8, "activations": "static"}, "leave activations out"),
    ],
)
def test_a_step_that_does_not_fit_is_met_before_anything_is_measured(
    run: road.Run, tmp_path: Path, wanted: dict[str, Any], message: str
) -> None:
    told: list[str] = []

    def heard(name: str, total: int | None = None) -> Any:
        told.append(name)
        return silent(name, total)

    with pytest.raises(RunError, match=message):
        run.export(tmp_path / "bundle", compress=steps(INT8, wanted), stages=heard)
    assert told == []
    assert list(tmp_path.iterdir()) == []


def test_steps_and_their_shorthand_exclude_each_other(run: road.Run, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="give one or the other"):
        run.export(tmp_path / "bundle", compress=steps(INT8), dim=16)


# --- training on --------------------------------------------------------------------------------------------------------


def digest(run: road.Run) -> str:
    return hashlib.sha256((run.directory / "checkpoints" / "best.ckpt").read_bytes()).hexdigest()


def test_a_pruned_transformer_is_trained_on(transformer: road.Run, tmp_path: Path) -> None:
    """After a smaller vocabulary too, whose token ids are others."""
    before = digest(transformer)
    wanted = [{"kind": "vocabulary", "min_count": 2}, {"kind": "layers", "keep": 1}, {"kind": "heads", "keep": 0.5}]
    bundles = {}
    for epochs in (0.0, 1.0):
        each = [step if step["kind"] == "vocabulary" else {**step, "recover": epochs} for step in wanted]
        bundles[epochs] = transformer.export(
            tmp_path / f"{epochs:g}", compress=steps(*each, INT8, limit=1.0), baselines=()
        )
    plain, recovered = bundles[0.0], bundles[1.0]
    assert digest(transformer) == before
    assert recovered.manifest.agreement is not None
    assert recovered.manifest.agreement.least > 0.9
    sizes = [row.mb or math.nan for row in recovered.manifest.compression]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == len(sizes)
    texts = ["bado kilu", "meno"]
    assert not np.allclose(*(Encoder.open(bundle).embed(texts) for bundle in (plain, recovered)), atol=1e-3)
    assert (transformer.directory / "compress" / "2-layers" / "fit.json").is_file()
    assert not list((transformer.directory / "compress").rglob("*.ckpt"))


def test_ctrl_c_while_training_on(transformer: road.Run, tmp_path: Path) -> None:
    before = digest(transformer)
    wanted = steps({"kind": "layers", "keep": 1, "recover": 1.0}, limit=1.0)
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(2, patch)
        with pytest.raises(InterruptedRunError, match="this step starts anew"):
            transformer.export(tmp_path / "bundle", compress=wanted, baselines=())
    assert list(tmp_path.iterdir()) == []
    assert digest(transformer) == before
    bundle = transformer.export(tmp_path / "bundle", compress=wanted, baselines=())
    assert len(bundle.manifest.compression) == 2
    logs = transformer.directory / "compress" / "1-layers" / "logs"
    assert [path.name for path in logs.iterdir()] == ["attempt-1"]


# --- pictures -----------------------------------------------------------------------------------------------------------


def test_channels_of_digits(tmp_path: Path) -> None:
    pytest.importorskip("torch_pruning")
    settings = ("train.epochs=6", "evaluate.max_queries=200", "evaluate.max_documents=700")
    run = road.train(digits_recipe(*settings, encoder="{kind: cnn, width: 16, dim: 32}"), tmp_path / "run")
    wanted = steps({"kind": "prefix", "dim": 1}, {"kind": "channels", "keep": 0.5, "recover": 1.0}, INT8, limit=0.4)
    bundle = run.export(compress=wanted, baselines=())
    rows = bundle.manifest.compression
    assert [row.kept for row in rows] == [True, False, True, True]
    assert {row.figure for row in rows} == {"knn_accuracy"}
    assert "does not work" in rows[1].reason, "where the only component is 0 a picture has no direction"
    assert rows[0].mb is not None
    assert rows[2].mb is not None
    assert rows[2].mb < 0.7 * rows[0].mb
    assert bundle.manifest.dim == 32
    assert bundle.manifest.agreement is not None
    assert bundle.manifest.agreement.mean > 0.99
    assert bundle.manifest.metrics["bundle"]["knn_accuracy"].value > 0.5


def test_pictures_without_labels_are_judged_by_their_views(tmp_path: Path) -> None:
    write_classes(tmp_path / "in", 3, 20, size=16)
    settings = ("data.source.labels=none", "train.batch_size=16", "data.split.validation=0.3")
    run = road.train(picture_recipe(tmp_path / "in", *settings), tmp_path / "run")
    bundle = run.export(compress=steps(INT8, limit=1.0), baselines=())
    rows = bundle.manifest.compression
    assert {row.figure for row in rows} == {"view_recall_at_1"}
    assert all(row.quality is not None for row in rows)
    assert "view recall@1" in bundle.read("card.md").decode()
