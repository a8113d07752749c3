"""A monitor that gets used to another machine: its levels, its threshold, its promise, and what it cannot be fitted to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from made_monitor import (
    CENTRES,
    NAMES,
    SPREADS,
    START,
    healthy,
    made_bundle,
    made_detector,
    made_encoder_bundle,
    made_record,
    made_settings,
)

from nearfar.bundle import Bundle, BundleWriter
from nearfar.bundle.block import Metric
from nearfar.bundle.monitor_record import ScorerTrial
from nearfar.edge.monitor.calibrate import calibrate, faults_of, watch_of
from nearfar.edge.monitor.detector import Detector
from nearfar.edge.monitor.distance import Floats
from nearfar.edge.monitor.fit import realised
from nearfar.edge.monitor.monitor import Monitor
from nearfar.edge.monitor.stretch import Stretch
from nearfar.errors import BundleError, DataError
from nearfar.recipe.series import Faults, Scorer, Watch
from nearfar.sources.document import ReadReport
from nearfar.sources.recording import Channel, Recording

CHANNELS = tuple(Channel(name) for name in NAMES)
OFTEN = {"false_alarms_per_day": 36.0, "tail": "given"}
"""Of blocks of two minutes: one in twenty, so that an hour of blocks says whether it is kept."""
SHORT_BLOCKS = {"false_alarms_per_day": 36.0, "block": 120.0}


@dataclass
class Made:
    """Recordings that are there already, as a source."""

    made: Sequence[Recording]
    report: ReadReport = field(default_factory=ReadReport)

    def recordings(self) -> Iterator[Recording]:
        yield from self.made


def other(rows: int, seed: int = 0) -> Floats:
    """Another machine of the kind: hotter, at another pressure, and noisier."""
    scaled = (healthy(rows, seed=seed) - CENTRES) / SPREADS
    return (CENTRES * np.float32(1.3) + 2 * SPREADS * scaled).astype(np.float32)


def recording(
    values: Floats, *, labels: np.ndarray | None = None, start: float = START, machine: str = ""
) -> Recording:
    times = start + np.arange(len(values), dtype=np.float64)
    return Recording(machine, CHANNELS, times, values, labels, location="made")


def of_recipe(target: Path, **recipe: object) -> Bundle:
    """A bundle that was trained by this recipe."""
    old = made_bundle(target.with_name(f"{target.name}-plain"), made_detector(record=made_record(**OFTEN)))
    provenance = old.manifest.provenance.model_copy(update={"recipe": recipe})
    with BundleWriter(target) as writer:
        writer.add("detector.npz", old.read("detector.npz"))
        return writer.finish(old.manifest.model_copy(update={"provenance": provenance}), "made for a test")


def alarms_a_day(bundle: Bundle, values: Floats) -> float:
    detector = Detector.open(bundle)
    known = realised(detector, [Stretch("", START + np.arange(len(values), dtype=np.float64), values)])
    assert known is not None
    return known[0].value


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return made_bundle(tmp_path_factory.mktemp("calibrate") / "bundle", made_detector(record=made_record(**OFTEN)))


@pytest.fixture(scope="module")
def calibrated(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    source = Made([recording(other(24_000, 1), machine="second")])
    return calibrate(bundle, source, tmp_path_factory.mktemp("calibrated") / "bundle")


def test_on_another_machine_only_the_calibrated_bundle_keeps_its_promise(bundle: Bundle, calibrated: Bundle) -> None:
    later = other(60 * 120, seed=2)
    assert alarms_a_day(bundle, later) == 720
    assert alarms_a_day(calibrated, later) < 3 * 36
    faulty = later[:400].copy()
    faulty[200:300, 3] += 10 * SPREADS[3] * 2
    monitor = Monitor.open(calibrated)
    alarm = monitor.update(faulty, times=START + np.arange(400, dtype=np.float64))
    assert alarm is not None
    assert alarm.channels[0].channel == "current"
    assert START + 199 <= alarm.since <= START + 215


def test_what_was_fitted_is_of_this_machine_and_the_rest_is_kept(bundle: Bundle, calibrated: Bundle) -> None:
    settings = calibrated.manifest.frontend
    np.testing.assert_allclose([channel.centre[0] for channel in settings.channels], CENTRES * 1.3, rtol=0.02)
    np.testing.assert_allclose([channel.scale[0] for channel in settings.channels], 2 * SPREADS, rtol=0.15)
    old, record = bundle.manifest.detector, calibrated.manifest.detector
    kept = ("features", "by", "smooth", "block", "false_alarms_per_day", "needed", "out_of", "release", "cool_down")
    assert all(getattr(record, name) == getattr(old, name) for name in kept)
    assert (record.tail, record.blocks) == ("conformal", 24_000 * 3 // 10 // 120)
    assert record.realised_per_day is not None
    assert record.realised_per_day.low <= 36 <= record.realised_per_day.high
    assert calibrated.manifest.provenance.parent == bundle.digest
    assert calibrated.manifest.name == "made-second"
    assert calibrated.manifest.metrics == {}
    assert "made from the bundle" in (calibrated.path / "card.md").read_text("utf-8")


def test_the_same_data_gives_the_same_bundle(bundle: Bundle, calibrated: Bundle, tmp_path: Path) -> None:
    again = calibrate(bundle, Made([recording(other(24_000, 1), machine="second")]), tmp_path / "again")
    assert again.digest == calibrated.digest
    alone = calibrate(bundle.path, Made([recording(other(24_000, 1))]), tmp_path / "alone")
    assert alone.manifest.name == "made"


def test_how_to_score_can_be_chosen_anew(bundle: Bundle, tmp_path: Path) -> None:
    scorers = [Scorer(features="raw", by=by) for by in ("centroid", "knn")]
    watch = Watch(scorers=scorers, smooth=(5, 20), false_alarms_per_day=36.0, block=120.0, references=200)
    made = calibrate(bundle, Made([recording(other(12_000, 1))]), tmp_path / "made", watch=watch, choose=True)
    record = made.manifest.detector
    assert {(trial.by, trial.smooth) for trial in record.trials} == {
        (by, smooth) for by in ("centroid", "knn") for smooth in (5, 20)
    }
    best = record.trials[0]
    assert (record.features, record.by, record.smooth) == (best.features, best.by, best.smooth)
    assert Detector.open(made).history == best.smooth
    assert alarms_a_day(made, other(60 * 120, seed=2)) < 3 * 36


def test_it_is_chosen_by_the_faults_of_the_recipe(tmp_path: Path) -> None:
    watch = Watch(scorers=[Scorer(features="raw", by="mahalanobis")], smooth=(5,), **SHORT_BLOCKS)
    found = {}
    for size in (0.01, 50.0):
        faults = {"kinds": ["shift"], "strength": [size, size], "channels": [0.5, 0.5]}
        old = of_recipe(tmp_path / f"old{size}", method={"kind": "fault_contrast", "faults": faults})
        assert faults_of(old) == Faults(kinds=("shift",), strength=(size, size), channels=(0.5, 0.5))
        source = Made([recording(other(12_000, 1))])
        made = calibrate(old, source, tmp_path / f"made{size}", watch=watch, choose=True)
        found[size] = made.manifest.detector.trials[0].auc_pr.value
    assert found[0.01] < 0.6
    assert found[50.0] > 0.9


@pytest.mark.parametrize("recipe", [{}, {"method": {"kind": "simclr"}}, {"method": None}])
def test_a_recipe_without_faults_has_the_usual_ones(recipe: dict[str, object], tmp_path: Path) -> None:
    assert faults_of(of_recipe(tmp_path / "bundle", **recipe)) == Faults()


def test_how_many_scores_make_an_alarm_goes_with_what_is_scored_unless_it_was_said(tmp_path: Path) -> None:
    usual = made_bundle(tmp_path / "usual", made_detector(record=made_record(needed=3, out_of=5)))
    assert watch_of(usual).votes("embedding") == Watch().votes("embedding") != (3, 5)
    said = of_recipe(tmp_path / "said", watch={"needed": 3, "out_of": 5})
    assert watch_of(said).votes("embedding") == (3, 5)
    since = made_bundle(tmp_path / "since", made_detector(record=made_record(needed=2, out_of=9)))
    assert watch_of(since).votes("embedding") == watch_of(since).votes("raw") == (2, 9)


@pytest.mark.parametrize(
    ("recipe", "key"),
    [
        ({"watch": {"calmness": 0.5}}, "watch.calmness"),
        ({"method": {"faults": {"kinds": ["rust"]}}}, "method.faults.kinds"),
    ],
)
def test_a_recipe_of_another_nearfar_is_told(recipe: dict[str, object], key: str, tmp_path: Path) -> None:
    old = of_recipe(tmp_path / "old", **recipe)
    with pytest.raises(BundleError, match=f"{key}.*train and export it again"):
        calibrate(old, Made([recording(other(12_000, 1))]), tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_how_it_was_chosen_stays_known_unless_it_is_chosen_anew(tmp_path: Path) -> None:
    trial = ScorerTrial(features="raw", by="mahalanobis", smooth=10, auc_pr=Metric(value=0.7))
    record = made_record(trials=(trial,), remark="too little data", **OFTEN)
    old, source = made_bundle(tmp_path / "old", made_detector(record=record)), Made([recording(other(12_000, 1))])
    kept = calibrate(old, source, tmp_path / "kept").manifest.detector
    assert (kept.trials, kept.remark) == ((trial,), "too little data")
    watch = Watch(scorers=[Scorer(features="raw", by="knn")], smooth=(5,), false_alarms_per_day=36.0, block=120.0)
    anew = calibrate(old, source, tmp_path / "anew", watch=watch, choose=True).manifest.detector
    assert [trial.by for trial in anew.trials] == ["knn"]
    assert anew.remark == ""


def test_another_promise_gives_another_threshold(bundle: Bundle, calibrated: Bundle, tmp_path: Path) -> None:
    seldom = Watch(false_alarms_per_day=1.0, block=120.0)
    made = calibrate(bundle, Made([recording(other(24_000, 1))]), tmp_path / "made", watch=seldom)
    assert made.manifest.detector.tail == "gpd"
    assert made.manifest.detector.threshold > calibrated.manifest.detector.threshold
    assert made.manifest.detector.by == "mahalanobis"


@pytest.mark.parametrize("by", ["prototypes", "knn"])
def test_numbers_of_prototypes_and_neighbours_stay_as_they_were(by: str, tmp_path: Path) -> None:
    old = made_bundle(tmp_path / "old", made_detector(record=made_record(by=by, **OFTEN)))
    watch = Watch(prototypes=3, neighbours=2, references=50, false_alarms_per_day=36.0, block=120.0)
    source = Made([recording(other(12_000, 1))])
    first = calibrate(old, source, tmp_path / "first", watch=watch)
    second = Detector.open(calibrate(first, source, tmp_path / "second")).distance
    assert (len(second.points), second.k) == ((3, 1) if by == "prototypes" else (50, 2))


def test_an_encoder_goes_along_as_it_is(tmp_path: Path) -> None:
    record = made_record(features="embedding", smooth=1, by="knn", **OFTEN)
    old = made_encoder_bundle(tmp_path / "old", made_settings(), record)
    made = calibrate(old, Made([recording(other(12_000, 1))]), tmp_path / "made")
    assert made.read("encoder.onnx") == old.read("encoder.onnx")
    assert (made.manifest.detector.features, made.manifest.dim) == ("embedding", 16)
    assert made.read("detector.npz") != old.read("detector.npz")
    later = other(60 * 120, seed=2)
    first = calibrate(old, Made([recording(healthy(12_000, 1))]), tmp_path / "first")
    assert alarms_a_day(made, later) < 3 * 36 < alarms_a_day(first, later)


def fleet_bundle(target: Path, ratio: float | None) -> Bundle:
    return made_bundle(target, made_detector(record=made_record(fleet_ratio=ratio, **OFTEN)))


def test_too_little_data_takes_the_threshold_from_other_machines(tmp_path: Path) -> None:
    short = Made([recording(other(700, 1))])
    made = calibrate(fleet_bundle(tmp_path / "old", 1.5), short, tmp_path / "made")
    record = made.manifest.detector
    assert (record.tail, record.fleet_ratio) == ("fleet", 1.5)
    detector = Detector.open(made)
    first = detector.score(other(700, 1)[:350])
    assert record.threshold == pytest.approx(1.5 * np.nanquantile(first, 0.995), rel=0.02)
    card = (made.path / "card.md").read_text("utf-8")
    assert "No number of false alarms a day is promised" in card
    with pytest.raises(DataError, match="healthy blocks of 120 seconds are too few"):
        calibrate(fleet_bundle(tmp_path / "alone", None), short, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_channel_that_is_missing_is_told(bundle: Bundle, tmp_path: Path) -> None:
    values = other(12_000)
    less = Recording("", CHANNELS[:3], START + np.arange(12_000.0), values[:, :3])
    with pytest.raises(DataError, match="no channel current in the data; it has temperature, pressure, flow"):
        calibrate(bundle, Made([less]), tmp_path / "made")
    values[:, 3] = np.nan
    with pytest.raises(DataError, match="current"):
        calibrate(bundle, Made([recording(values)]), tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_channels_may_be_more_in_another_order_and_apart(bundle: Bundle, calibrated: Bundle, tmp_path: Path) -> None:
    values = other(24_000, 1)
    times = START + np.arange(24_000.0)
    noise = np.random.default_rng(0).standard_normal((24_000, 1)).astype(np.float32)
    first = Recording("second", (CHANNELS[2], Channel("humidity")), times, np.concatenate([values[:, 2:3], noise], 1))
    second = Recording("second", (CHANNELS[3], CHANNELS[1], CHANNELS[0]), times, values[:, [3, 1, 0]])
    made = calibrate(bundle, Made([first, second]), tmp_path / "made")
    assert made.manifest.frontend == calibrated.manifest.frontend
    assert made.manifest.detector.threshold == pytest.approx(calibrated.manifest.detector.threshold, rel=1e-3)


def test_the_data_of_several_machines_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    two = [recording(other(3000), machine=name) for name in ("pump", "fan")]
    with pytest.raises(DataError, match=r"of 2 machines \(fan, pump\), but a monitor watches one"):
        calibrate(bundle, Made(two), tmp_path / "made")


@pytest.mark.parametrize("made", [[], [recording(other(3000)[:0])]], ids=["nothing", "no samples"])
def test_no_samples_are_told(bundle: Bundle, tmp_path: Path, made: list[Recording]) -> None:
    with pytest.raises(DataError, match="holds no samples"):
        calibrate(bundle, Made(made), tmp_path / "made")


@pytest.mark.parametrize("rows", [1, 2, 5, 12, 30])
def test_next_to_no_samples_are_told(bundle: Bundle, tmp_path: Path, rows: int) -> None:
    with pytest.raises(DataError, match=r"too few|single sample"):
        calibrate(bundle, Made([recording(other(rows))]), tmp_path / "made")


def test_labelled_faults_are_not_learned_as_normal(bundle: Bundle, tmp_path: Path) -> None:
    values, labels = other(24_000, 1), np.zeros(24_000, np.int8)
    for start in range(500, 24_000, 3000):
        values[start : start + 600] += 30 * SPREADS
        labels[start : start + 600] = 1
    made = calibrate(bundle, Made([recording(values, labels=labels)]), tmp_path / "made")
    unlabelled = calibrate(bundle, Made([recording(values)]), tmp_path / "unlabelled")
    settings = made.manifest.frontend
    np.testing.assert_allclose([channel.centre[0] for channel in settings.channels], CENTRES * 1.3, rtol=0.02)
    assert all(channel.highest < 1.3 * CENTRES[i] + 15 * SPREADS[i] for i, channel in enumerate(settings.channels))
    faults = Detector.open(made).score(values[500:1100])
    assert np.nanmin(faults[20:]) > made.manifest.detector.threshold
    hidden = Detector.open(unlabelled).score(values[500:1100])
    assert np.nanmin(hidden[20:]) < unlabelled.manifest.detector.threshold
    all_faulty = replace(recording(values), labels=np.ones(24_000, np.int8))
    with pytest.raises(DataError, match="no value"):
        calibrate(bundle, Made([all_faulty]), tmp_path / "faulty")


def test_data_with_gaps_is_taken_in_parts(bundle: Bundle, tmp_path: Path) -> None:
    parts = [recording(other(6000, seed), start=START + 50_000 * seed) for seed in range(4)]
    made = calibrate(bundle, Made(parts), tmp_path / "made")
    assert made.manifest.detector.blocks == pytest.approx(24_000 * 0.3 / 120, abs=3)
    assert alarms_a_day(made, other(60 * 120, seed=9)) < 3 * 36


@pytest.mark.parametrize("target", ["bundle", "link", "bundle/../bundle", "bundle/new"])
def test_the_bundle_is_not_overwritten_by_what_is_made_of_it(tmp_path: Path, target: str) -> None:
    old = made_bundle(tmp_path / "bundle", made_detector(record=made_record(**OFTEN)))
    (tmp_path / "link").symlink_to(tmp_path / "bundle")

    class Unread(Made):
        def recordings(self) -> Iterator[Recording]:
            raise AssertionError("it was read")

    with pytest.raises(BundleError, match="give the new bundle a directory of its own"):
        calibrate(old, Unread(()), tmp_path / target)
    assert Bundle.open(tmp_path / "bundle").digest == old.digest


def test_data_in_which_nothing_happens_is_named(bundle: Bundle, tmp_path: Path) -> None:
    still = np.tile(CENTRES, (6000, 1))
    with pytest.raises(DataError, match=r'no channel of the healthy data ever changes \("temperature" is always 60, '):
        calibrate(bundle, Made([recording(still)]), tmp_path / "new")
