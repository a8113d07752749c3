"""The whole road over sensor data: train, export, watch, measure, get used to another machine. Run like any user would."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from made_series import machine, series_recipe, write_machines

import nearfar
from nearfar import road
from nearfar.bundle import Bundle, describe
from nearfar.edge import Encoder
from nearfar.edge.monitor.calibrate import calibrate
from nearfar.edge.monitor.choose import try_candidates
from nearfar.edge.monitor.detector import Detector
from nearfar.edge.monitor.fit import Candidate, Fitter
from nearfar.edge.monitor.make import machine_fitter
from nearfar.edge.monitor.monitor import Monitor
from nearfar.errors import DataError, RecipeError, RunError
from nearfar.learn.run import open_run
from nearfar.learn.series import TrainedSeries
from nearfar.progress import silent
from nearfar.road.measure_series import compare_series, machine_parts
from nearfar.simulate import write_csv
from nearfar.sources.series import open_series

pytestmark = pytest.mark.recipe

SHORT = ("train.max_steps=8", "train.batch_size=32")
RAW = "watch.scorers=[{features: raw, by: mahalanobis}, {features: raw, by: knn}]"
ENCODED = "watch.scorers=[{features: embedding, by: mahalanobis}, {features: embedding, by: centroid}]"
PROMISE = ("watch.cool_down=5.0", "watch.block=20.0", "watch.false_alarms_per_day=216.0")
"""Of blocks of 20 seconds one in twenty."""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six machines, each about levels of its own, with faults that somebody has labelled in their first part."""
    return write_machines(tmp_path_factory.mktemp("fleet"), 6, labels=[(100, 160), (300, 330)])


@pytest.fixture(scope="module")
def fleet_run(fleet: Path, tmp_path_factory: pytest.TempPathFactory) -> road.Run:
    recipe = series_recipe(fleet, *SHORT, *PROMISE, RAW, "data.source.columns.label=label")
    return nearfar.train(recipe, tmp_path_factory.mktemp("fleet-run") / "run")


@pytest.fixture(scope="module")
def fleet_bundle(fleet_run: road.Run) -> Bundle:
    return fleet_run.export()


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A monitor that must take its encoder, as nothing else is allowed."""
    folder = tmp_path_factory.mktemp("encoded")
    source = write_machines(folder / "data", 1)
    recipe = series_recipe(source, *SHORT, *PROMISE, ENCODED, "frontend.window=16", "watch.least_windows=0")
    return nearfar.train(recipe, folder / "run").export()


def test_a_fleet_says_how_high_later_scores_come(fleet_bundle: Bundle) -> None:
    record = fleet_bundle.manifest.detector
    assert record is not None
    assert record.fleet_ratio is not None
    assert 1 <= record.fleet_ratio < 3
    assert record.tail == "conformal"
    assert record.blocks >= 6 * 10
    counts = fleet_bundle.manifest.provenance.data_counts
    assert counts["machines"] == 6
    assert counts["faulty_frames"] == 6 * 90
    assert record.realised_per_day is not None
    assert record.realised_per_day.low <= 216


def test_plain_means_ship_without_a_graph(fleet_bundle: Bundle) -> None:
    manifest = fleet_bundle.manifest
    assert (manifest.detector.features, manifest.towers, manifest.dim) == ("raw", {}, 0)
    assert sorted(path.name for path in fleet_bundle.path.iterdir()) == [
        *("SHA256SUMS", "card.md", "detector.npz", "manifest.json")
    ]
    assert dict(describe(fleet_bundle))["encoder"].startswith("none")
    assert len(manifest.detector.trials) == 2 * 3


def test_it_is_measured_beside_means_and_the_untrained_encoder(fleet_bundle: Bundle) -> None:
    metrics = fleet_bundle.manifest.metrics
    assert list(metrics) == ["raw", "untrained", "model", "bundle"]
    for row in metrics.values():
        figure = row["fault_auc_pr"]
        assert 0 < figure.low <= figure.value <= figure.high < 1
    assert "false_alarms_per_day" in metrics["bundle"]
    card = (fleet_bundle.path / "card.md").read_text("utf-8")
    assert "fitted to each machine for itself" in card
    assert "At most 216 false alarms a day on average is promised" in card
    assert re.search(r"\| \*\*this bundle, as it runs on a device\*\* \| 0\.\d+ \[", card)


def test_figures_beside_each_other_are_of_the_same_frames(fleet_run: road.Run, fleet_bundle: Bundle) -> None:
    """Also where what ships looks at more frames than a window has."""
    trained, shipped = open_run(fleet_run.directory), Detector.open(fleet_bundle)
    assert isinstance(trained, TrainedSeries)
    shipped.record = shipped.record.model_copy(update={"by": "knn", "smooth": 48})
    parts, recipe = machine_parts(trained.corpus), trained.recipe
    metrics = compare_series(trained, parts, shipped, baselines=(), stages=silent)
    fitter = Fitter(trained.settings, recipe.of_series.watch, None, recipe.seed + 1)
    together = try_candidates(
        [machine_fitter(fitter, part) for part in parts],
        [Candidate("raw", "mahalanobis", 20), Candidate("raw", "knn", 48)],
        [(part.fitted, part.check) for part in parts],
        faults=recipe.of_series.method.faults,
    )
    assert {trial.by: trial.auc_pr for trial in together} == {
        "mahalanobis": metrics["raw"]["fault_auc_pr"],
        "knn": metrics["bundle"]["fault_auc_pr"],
    }


def test_labelled_faults_are_nothing_that_it_knows_as_normal(fleet: Path, fleet_run: road.Run, tmp_path: Path) -> None:
    """The same data with the labelled part out of this world gives the same settings, and the same detector."""
    for path in sorted(fleet.iterdir()):
        head, *rows = path.read_text("utf-8").splitlines()
        cells = [row.split(",") for row in rows]
        assert head.split(",")[-1] == "label"
        lines = [
            ",".join([row[0], *(["999" for _ in row[1:-1]] if row[-1] == "1" else row[1:-1]), row[-1]]) for row in cells
        ]
        (tmp_path / path.name).write_text("\n".join([head, *lines]) + "\n", "utf-8")
    recipe = series_recipe(tmp_path, *SHORT, *PROMISE, RAW, "data.source.columns.label=label")
    wild, known = nearfar.train(recipe, tmp_path / "run").export().manifest, fleet_run.export().manifest
    assert wild.provenance.data_fingerprint != known.provenance.data_fingerprint
    assert wild.frontend == known.frontend
    assert wild.detector == known.detector


def test_one_recipe_gives_one_bundle(
    fleet_run: road.Run, fleet_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(int(fleet_bundle.manifest.created.timestamp())))
    assert fleet_run.export(tmp_path / "again").digest == fleet_bundle.digest


def test_a_machine_of_the_kind_with_little_data_is_watched_by_what_the_fleet_says(
    fleet_bundle: Bundle, tmp_path: Path
) -> None:
    """Seven minutes are too little for blocks; levels are those of no machine of the fleet."""
    write_csv([machine("new", 400, seed=30)], tmp_path / "new")
    made = calibrate(fleet_bundle, open_series(tmp_path / "new"), tmp_path / "bundle")
    assert made.manifest.detector.tail == "fleet"
    assert "No number of false alarms a day is promised" in (made.path / "card.md").read_text("utf-8")
    later = machine("new", 700, seed=30)
    values = later.values.copy()
    values[600:, 1] += 8
    monitor = Monitor.open(made)
    trace = monitor.trace(values, times=later.times)
    assert trace.alarmed[620:].all()
    assert np.nanmax(trace.scores[:600]) < trace.scores[620:].min() / 2
    assert monitor.drain()[-1].kind == "alarm"


def test_an_encoder_that_ships_is_in_int8_and_embeds_windows(encoded: Bundle) -> None:
    manifest = encoded.manifest
    assert (manifest.detector.features, manifest.similarity, manifest.dim) == ("embedding", "euclidean", 16)
    graph = encoded.read("encoder.onnx")
    assert len(graph) < 100_000
    model = onnx.load_model_from_string(graph)
    kinds = {tensor.data_type for tensor in model.graph.initializer}
    assert onnx.TensorProto.INT8 in kinds
    frames = machine("m0", 200, seed=0).values
    windows = np.stack([frames[start : start + 16] for start in range(0, 180, 4)])
    vectors = Encoder.open(encoded).embed(windows)
    assert vectors.shape == (45, 16)
    assert np.linalg.norm(vectors, axis=1).std() > 0
    detector = Detector.open(encoded)
    np.testing.assert_allclose(detector.features(frames[:16]), vectors[:1], rtol=1e-4, atol=1e-5)
    far = windows.copy()
    far[:, 8:, 2] += 8
    healthy, faulty = (detector.distance.of(Encoder.open(encoded).embed(some)) for some in (windows, far))
    assert np.median(faulty) > 2 * np.median(healthy)


def test_an_encoder_that_saw_too_little_is_no_candidate(tmp_path: Path) -> None:
    source = write_machines(tmp_path / "data", 1)
    made = nearfar.train(series_recipe(source, *SHORT, *PROMISE, "watch.smooth=[5]"), tmp_path / "run").export()
    assert {trial.features for trial in made.manifest.detector.trials} == {"raw"}
    assert dict(describe(made))["encoder"].startswith(
        "none. The encoder was no candidate: it was trained on 28 windows"
    )
    only = series_recipe(source, *SHORT, *PROMISE, ENCODED)
    with pytest.raises(DataError, match=r"watch\.least_windows.*add one of raw features"):
        nearfar.train(only, tmp_path / "only").export()


def test_settings_of_other_kinds_are_refused(fleet_run: road.Run, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"set encoder\.dim"):
        fleet_run.export(tmp_path / "bundle", dim=8)
    assert not (tmp_path / "bundle").exists()


def test_too_little_held_out_data_is_told(tmp_path: Path) -> None:
    source = write_machines(tmp_path / "data", 1)
    with pytest.raises(DataError, match=r"^\d healthy blocks of \d+ seconds .* are too few .* hours in all are needed"):
        nearfar.train(series_recipe(source, *SHORT, RAW), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    without = series_recipe(source, *SHORT, RAW, "data.split={validation: 0.0, test: 0.0}")
    with pytest.raises(DataError, match=r"none is held out"):
        nearfar.train(without, tmp_path / "without")


def test_what_the_message_about_too_little_data_proposes_is_enough(tmp_path: Path) -> None:
    source, watched = write_machines(tmp_path / "data", 1), ("watch.block=100.0", "watch.smooth=[5]", RAW)
    with pytest.raises(DataError) as told:
        nearfar.train(series_recipe(source, *SHORT, *watched), tmp_path / "run")
    mends = dict(re.findall(r"set ([\w.]+) to ([\d.]+)", str(told.value)))
    assert set(mends) == {"watch.block"}  # no share of 25 minutes leaves enough to train on
    block = f"watch.block={float(mends['watch.block'])}"
    made = nearfar.train(series_recipe(source, *SHORT, *watched, block), tmp_path / "shorter").export()
    assert made.manifest.detector.blocks >= 10
    hour = write_machines(tmp_path / "hour", 1, seconds=3600)
    with pytest.raises(DataError) as told_of_hour:
        nearfar.train(series_recipe(hour, *SHORT, *watched), tmp_path / "run")
    share = re.search(r"set data\.split\.validation to ([\d.]+)", str(told_of_hour.value))[1]
    made = nearfar.train(
        series_recipe(hour, *SHORT, *watched, f"data.split.validation={share}"), tmp_path / "share"
    ).export()
    assert made.manifest.detector.blocks >= 10
    hours = float(re.search(r"about ([\d.]+) hours in all", str(told.value))[1])
    longer = write_machines(tmp_path / "longer", 1, seconds=int(3600 * hours))
    made = nearfar.train(series_recipe(longer, *SHORT, *watched), tmp_path / "more").export()
    assert 10 <= made.manifest.detector.blocks <= 16


def test_a_fleet_needs_no_blocks(tmp_path: Path) -> None:
    recipe = series_recipe(write_machines(tmp_path / "data", 5, seconds=600), *SHORT, RAW, "watch.smooth=[5]")
    made = nearfar.train(recipe, tmp_path / "run").export()
    assert made.manifest.detector.tail == "fleet"


def test_an_export_may_promise_something_else(fleet_run: road.Run, tmp_path: Path) -> None:
    made = fleet_run.export(tmp_path / "bundle", overrides=["watch.false_alarms_per_day=432.0"])
    assert made.manifest.detector.false_alarms_per_day == 432
    assert made.manifest.provenance.recipe["watch"]["false_alarms_per_day"] == 432
    with pytest.raises(
        RecipeError, match="encoder had its effect in training; an export takes changes of watch, export"
    ):
        fleet_run.export(tmp_path / "other", overrides=["encoder.width=8"])
    with pytest.raises(RecipeError, match="blok"):
        fleet_run.export(tmp_path / "other", overrides=["watch.blok=8"])
    assert not (tmp_path / "other").exists()
