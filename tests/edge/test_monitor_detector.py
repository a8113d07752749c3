"""The detector of a bundle: causal scores that no cutting changes, channels that are to blame, a way through a file, clear refusals."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from made_monitor import NAMES, healthy, made_bundle, made_detector, made_encoder_bundle, made_record, made_settings
from tiny_bundle import write_tiny_bundle

from nearfar.bundle import Bundle, BundleWriter, describe, render_card
from nearfar.bundle.block import Metric
from nearfar.bundle.manifest import Manifest
from nearfar.bundle.monitor_record import DetectorRecord, ScorerTrial
from nearfar.edge.encoder import Encoder
from nearfar.edge.monitor.detector import Detector
from nearfar.edge.monitor.distance import Floats
from nearfar.edge.monitor.scorers import By, fit_distance
from nearfar.errors import BundleError

ALL: tuple[By, ...] = ("centroid", "mahalanobis", "prototypes", "knn")


@pytest.fixture(scope="module", params=["raw", "embedding"])
def detector(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Detector:
    if request.param == "raw":
        return made_detector()
    record = made_record(features="embedding", smooth=1)
    folder = tmp_path_factory.mktemp("detector")
    return Detector.open(made_encoder_bundle(folder / "bundle", made_settings(), record))


def with_gaps(rows: int, seed: int = 0) -> Floats:
    frames = healthy(rows, seed=seed)
    frames[100:115, 2] = np.nan
    frames[150:190] = np.nan
    frames[::11, 0] = np.nan
    return frames


def cut(detector: Detector, frames: Floats, size: int) -> Floats:
    """Scores of a stream that comes in blocks, with the history that a monitor keeps."""
    past = np.zeros((0, frames.shape[1]), np.float32)
    found = []
    for start in range(0, len(frames), size):
        block = np.concatenate([past, frames[start : start + size]])
        found.append(detector.score(block)[len(past) :])
        past = block[max(0, len(block) - detector.history + 1) :]
    return np.concatenate(found)


@pytest.mark.parametrize("size", [1, 7, 64])
def test_scores_do_not_depend_on_how_the_stream_is_cut(detector: Detector, size: int) -> None:
    frames = with_gaps(400)
    whole = detector.score(frames)
    np.testing.assert_allclose(cut(detector, frames, size), whole, rtol=1e-4, atol=1e-4)


def test_a_score_knows_nothing_of_what_comes_after_it(detector: Detector) -> None:
    frames = healthy(300)
    changed = frames.copy()
    changed[200:] += 30
    before, after = detector.score(frames), detector.score(changed)
    np.testing.assert_array_equal(before[:200], after[:200])
    assert (after[200:] > before[200:]).mean() > 0.9


def test_there_is_no_score_without_history_or_where_most_is_missing(detector: Detector) -> None:
    frames = with_gaps(400)
    scores = detector.score(frames)
    history = detector.history
    assert np.isnan(scores[: history - 1]).all()
    assert np.isfinite(scores[history - 1 : 150]).all()
    assert np.isnan(scores[150 + history // 2 + 1 : 190 + (history - 1) // 2 - 1]).all()
    assert np.isfinite(scores[190 + history :]).all()
    assert np.isnan(detector.score(frames[: history - 1])).all()
    assert detector.score(frames[:0]).shape == (0,)


def test_long_streams_are_scored_in_parts(detector: Detector) -> None:
    frames = healthy(5000, seed=3)
    whole = detector.score(frames)
    np.testing.assert_allclose(whole[4500:], detector.score(frames[4500 - detector.history + 1 :])[-500:], rtol=1e-4)


@pytest.mark.parametrize("channel", range(4))
def test_the_channel_that_a_fault_was_put_into_comes_first(detector: Detector, channel: int) -> None:
    frames = healthy(detector.history, seed=4)
    frames[:, channel] += 12 * np.array([2, 0.1, 1, 0.05], np.float32)[channel]
    shares = detector.contributions(frames)
    assert shares[0].channel == NAMES[channel]
    assert {share.channel for share in shares} == set(NAMES)
    assert sum(share.share for share in shares) == pytest.approx(1)
    assert [share.share for share in shares] == sorted((share.share for share in shares), reverse=True)


def test_a_missing_channel_is_to_blame_for_nothing() -> None:
    detector, frames = made_detector(), healthy(10, seed=4)
    frames[:, 1] = np.nan
    frames[:, 3] += 1
    shares = {share.channel: share.share for share in detector.contributions(frames)}
    assert shares["pressure"] == pytest.approx(0, abs=1e-6)
    assert max(shares, key=lambda name: shares[name]) == "current"


def test_raw_scores_do_not_saturate() -> None:
    """Two faults beyond what an encoder may see: the larger one has the larger score."""
    detector, frames = made_detector(), np.repeat(healthy(10)[None], 3, axis=0)
    frames[1:, :, 0] += np.array([200, 2000], np.float32)[:, None]
    scores = [detector.score(one)[-1] for one in frames]
    assert scores[2] > 5 * scores[1] > 25 * scores[0]


@pytest.mark.parametrize("by", ALL)
def test_a_bundle_gives_the_same_detector_to_the_bit(by: By, tmp_path: Path) -> None:
    detector = made_detector(record=made_record(by=by))
    again = Detector.open(made_bundle(tmp_path / "bundle", detector))
    frames = with_gaps(300)
    np.testing.assert_array_equal(again.score(frames), detector.score(frames))
    np.testing.assert_array_equal(again.block_maxima, detector.block_maxima)
    assert (again.record, again.settings, again.history) == (detector.record, detector.settings, detector.history)
    assert again.contributions(frames) == detector.contributions(frames)
    assert again.p_value(3.0) == detector.p_value(3.0)
    assert 0 < again.p_value(1e9) == 1 / (len(again.block_maxima) + 1)


def test_the_encoder_of_a_monitor_embeds_windows_too(tmp_path: Path) -> None:
    settings = made_settings()
    bundle = made_encoder_bundle(tmp_path / "bundle", settings, made_record(features="embedding", smooth=1))
    detector, frames = Detector.open(bundle), healthy(60)
    windows = np.stack([frames[i : i + settings.window] for i in range(20)])
    vectors = Encoder.open(bundle).embed(windows)
    assert vectors.shape == (20, 16)
    np.testing.assert_allclose(detector.features(frames[: settings.window + 19]), vectors, rtol=1e-5, atol=1e-6)
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).min() > 1e-3


def test_a_bundle_that_embeds_nothing_says_so(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"monitor without an encoder.*Monitor\.open"):
        Encoder.open(made_bundle(tmp_path / "bundle"))


def test_a_bundle_that_is_no_monitor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"kind text-dual-encoder.* watches nothing"):
        Detector.open(write_tiny_bundle(tmp_path / "text"))


def rewritten(bundle: Bundle, target: Path, weights: bytes) -> Bundle:
    """The same bundle with other numbers in its detector, and digests that fit."""
    assert bundle.manifest.detector is not None
    with BundleWriter(target) as writer:
        writer.add(bundle.manifest.detector.weights, weights)
        return writer.finish(bundle.manifest, "made for a test")


def without(name: str) -> bytes:
    arrays = dict(np.load(io.BytesIO(made_detector().to_bytes())))
    del arrays[name]
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def plain_array() -> bytes:
    file = io.BytesIO()
    np.save(file, np.eye(3))
    return file.getvalue()


@pytest.mark.parametrize(
    "weights",
    [
        b"",
        b"no numbers",
        b"PK\x03\x04" + b"\0" * 40,
        made_detector().to_bytes()[:-200],
        made_detector().to_bytes()[:300],
        without("maxima"),
        without("whitening"),
        plain_array(),
    ],
    ids=["empty", "text", "head of a zip", "end cut", "cut", "no maxima", "no whitening", "one array"],
)
def test_numbers_that_are_damaged_are_told(tmp_path: Path, weights: bytes) -> None:
    bundle = rewritten(made_bundle(tmp_path / "good"), tmp_path / "bad", weights)
    with pytest.raises(
        BundleError, match=r"detector\.npz: not the numbers of a detector \(.+\): export the bundle again"
    ):
        Detector.open(bundle)


def test_a_detector_of_other_channels_is_refused(tmp_path: Path) -> None:
    wide = made_detector(made_settings(channels=6))
    bundle = rewritten(made_bundle(tmp_path / "good"), tmp_path / "bad", wide.to_bytes())
    with pytest.raises(BundleError, match="made for 6 features, but there are 4"):
        Detector.open(bundle)


def test_a_detector_of_another_dimension_than_its_encoder_is_refused(tmp_path: Path) -> None:
    record = made_record(features="embedding", smooth=1)
    good = made_encoder_bundle(tmp_path / "good", made_settings(), record)
    arrays = fit_distance(np.random.default_rng(0).standard_normal((50, 9)).astype(np.float32), "knn").arrays()
    file = io.BytesIO()
    np.savez(file, maxima=np.zeros(3, np.float32), **arrays)
    with BundleWriter(tmp_path / "bad") as writer:
        writer.add("encoder.onnx", good.read("encoder.onnx"))
        writer.add("detector.npz", file.getvalue())
        bundle = writer.finish(good.manifest, "made for a test")
    with pytest.raises(BundleError, match="made for 9 features, but there are 16"):
        Detector.open(bundle)


def test_a_bundle_that_was_tampered_with_is_refused(tmp_path: Path) -> None:
    bundle = made_bundle(tmp_path / "bundle")
    path = bundle.path / "detector.npz"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(BundleError, match=r"detector\.npz"):
        Detector.open(bundle.path)


def manifest_of(tmp_path: Path, **changes: object) -> Manifest:
    bundle = made_bundle(tmp_path / "bundle", made_detector(record=made_record(**changes)))
    return bundle.manifest


def test_the_card_says_what_is_promised_and_what_came_of_it(tmp_path: Path) -> None:
    trial = ScorerTrial(features="raw", by="mahalanobis", smooth=10, auc_pr=Metric(value=0.8123, low=0.75, high=0.8712))
    realised = Metric(value=0.5, low=0.1, high=1.9)
    card = render_card(manifest_of(tmp_path, tail="conformal", trials=(trial,), realised_per_day=realised))
    assert "A monitor of a machine" in card
    assert "the mean of the last 10 frames" in card
    assert "At most 1 false alarm a day on average is promised. The threshold, 6, comes from an order statistic" in card
    assert "there were 0.5 [0.1, 1.9] a day" in card
    assert "| raw | mahalanobis | 10 | 0.812 [0.750, 0.871] |" in card
    assert "| temperature |  | 50 to 70 |" in card
    assert "3 of 5 scores" in card


@pytest.mark.parametrize(
    ("kinds", "said"),
    [
        (("raw", "embedding"), "the encoder only where it surely beats plain means"),
        (("raw", "raw"), "no encoder was among the candidates"),
        (("embedding",), "plain means, without an encoder, were not among the candidates"),
    ],
)
def test_the_card_says_what_was_compared(tmp_path: Path, kinds: tuple[str, ...], said: str) -> None:
    trials = tuple(ScorerTrial(features=kind, by="knn", auc_pr=Metric(value=0.5)) for kind in kinds)  # type: ignore[arg-type]
    manifest = manifest_of(tmp_path, trials=trials)
    assert f"The first ships; {said}." in render_card(manifest)
    rows = dict(describe(Bundle.open(tmp_path / "bundle")))
    assert rows["encoder"] == ("none: plain means were as good" if "embedding" in kinds else "none")


def test_why_an_encoder_was_no_candidate_is_told(tmp_path: Path) -> None:
    why = "The encoder was no candidate: it was trained on 7 windows."
    trial = ScorerTrial(features="raw", by="knn", auc_pr=Metric(value=0.5))
    assert why in render_card(manifest_of(tmp_path, trials=(trial,), remark=why))
    assert dict(describe(Bundle.open(tmp_path / "bundle")))["encoder"] == f"none. {why}"


@pytest.mark.parametrize(("tail", "promised"), [("gpd", True), ("conformal", True), ("fleet", False), ("given", False)])
def test_nothing_is_promised_where_nothing_can_be(tmp_path: Path, tail: str, promised: bool) -> None:
    manifest = manifest_of(tmp_path, tail=tail, fleet_ratio=1.4)
    card = render_card(manifest)
    assert ("At most 1 false alarm a day on average is promised." in card) == promised
    assert ("No number of false alarms a day is promised" in card) != promised
    bundle = Bundle.open(tmp_path / "bundle")
    rows = dict(describe(bundle))
    assert rows["promised"].startswith("At most 1 false alarm a day") == promised


def test_inspect_tells_channels_scores_and_alarms(nearfar_rows: dict[str, str]) -> None:
    assert nearfar_rows["encoder"].startswith("none")
    assert nearfar_rows["frames"] == "one every 1 s, 16 a window"
    assert nearfar_rows["channel temperature"] == "healthy from 50 to 70"
    assert nearfar_rows["scores"] == "the mean of the last 10 frames: mahalanobis"
    assert nearfar_rows["alarms above"] == "6 (conformal, 50 blocks of 120 s), 3 of 5 scores"
    assert nearfar_rows["realised"].endswith("0.5 [0.1, 1.9] a day.")


@pytest.fixture
def nearfar_rows(tmp_path: Path) -> dict[str, str]:
    realised = Metric(value=0.5, low=0.1, high=1.9)
    record: DetectorRecord = made_record(tail="conformal", realised_per_day=realised)
    return dict(describe(made_bundle(tmp_path / "bundle", made_detector(record=record))))
