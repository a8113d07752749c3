"""A machine of made data, and a real detector and bundle that watch it; a bundle takes milliseconds to make."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from nearfar.bundle import Bundle, BundleWriter, Manifest, Provenance, Tower
from nearfar.bundle.monitor_record import DetectorRecord
from nearfar.edge.monitor.decide import decision_statistic
from nearfar.edge.monitor.detector import Detector, Embed
from nearfar.edge.monitor.scorers import fit_distance
from nearfar.edge.monitor.threshold import block_maxima
from nearfar.frontend.series import SeriesFrontend
from nearfar.frontend.settings import ChannelSettings, SeriesSettings

START = 1_700_000_000.0
NAMES = ("temperature", "pressure", "flow", "current")
CENTRES = np.array([60.0, 5.0, 32.0, 2.0], np.float32)
SPREADS = np.array([2.0, 0.1, 1.0, 0.05], np.float32)


def healthy(rows: int, seed: int = 0, channels: int = 4) -> npt.NDArray[np.float32]:
    """Samples (rows, channels) of noise that remembers a little, about each channel's centre."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((rows + 8, channels))
    mixed = np.stack([noise[i : rows + i] for i in range(8)]).mean(axis=0) * np.sqrt(8)
    repeats = -(-channels // 4)
    return (np.tile(CENTRES, repeats)[:channels] + np.tile(SPREADS, repeats)[:channels] * mixed).astype(np.float32)


def made_settings(channels: int = 4, window: int = 16, **changes: Any) -> SeriesSettings:
    parts = [
        ChannelSettings(
            name=NAMES[i] if channels == 4 else f"sensor {i}",
            centre=(float(CENTRES[i % 4]),),
            scale=(float(SPREADS[i % 4]),),
            lowest=float(CENTRES[i % 4] - 5 * SPREADS[i % 4]),
            highest=float(CENTRES[i % 4] + 5 * SPREADS[i % 4]),
            longest_flat=0.0,
        )
        for i in range(channels)
    ]
    return SeriesSettings(channels=tuple(parts), **{"period": 1.0, "window": window, "max_gap": 5.0} | changes)


def made_record(**changes: Any) -> DetectorRecord:
    values = {
        "weights": "detector.npz",
        "features": "raw",
        "by": "mahalanobis",
        "smooth": 10,
        "threshold": 6.0,
        "tail": "given",
        "block": 120.0,
        "blocks": 50,
        "false_alarms_per_day": 1.0,
        "needed": 3,
        "out_of": 5,
        "release": 0.9,
        "cool_down": 10.0,
    }
    return DetectorRecord(**values | changes)


def made_detector(
    settings: SeriesSettings | None = None,
    record: DetectorRecord | None = None,
    embed: Embed | None = None,
    rows: int = 6000,
) -> Detector:
    """Fitted to the first half of some healthy frames; the maxima are of the second."""
    settings, record = settings or made_settings(), record or made_record()
    frames = healthy(rows, seed=100, channels=len(settings.channels))
    values, maxima = frames[: rows // 2], np.zeros(0, np.float32)
    nothing = fit_distance(np.eye(settings.features, dtype=np.float32), "centroid")
    features = Detector(settings, record, nothing, maxima, embed).features(values)
    distance = fit_distance(features, record.by)
    scores = Detector(settings, record, distance, maxima, embed).score(frames[rows // 2 :])
    statistic = decision_statistic(scores, record.needed, record.out_of)
    times = np.arange(len(scores)) * settings.period
    return Detector(settings, record, distance, np.sort(block_maxima(times, statistic, record.block)), embed)


def made_graph(settings: SeriesSettings, dim: int = 16, hidden: int = 16) -> onnx.ModelProto:
    """One hidden layer over a whole window, plus a linear map of the last frame."""
    rng = np.random.default_rng(0)
    cells = settings.window * settings.features
    weights = {
        "first": (rng.standard_normal((cells, hidden)) / np.sqrt(cells)).astype(np.float32),
        "second": (rng.standard_normal((hidden, dim)) / np.sqrt(hidden)).astype(np.float32),
        "shape": np.array([0, cells], np.int64),
    }
    nodes = [
        helper.make_node("Mul", ["window", "present"], ["there"]),
        helper.make_node("Reshape", ["there", "shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "first"], ["hidden"]),
        helper.make_node("Tanh", ["hidden"], ["bent"]),
        helper.make_node("MatMul", ["bent", "second"], ["embedding"]),
    ]
    axes = ["n", settings.window, settings.features]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, axes) for name in ("window", "present")],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", dim])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def made_bundle(target: Path, detector: Detector | None = None) -> Bundle:
    """A bundle with a raw detector."""
    detector = detector or made_detector()
    with BundleWriter(target) as writer:
        writer.add(detector.record.weights, detector.to_bytes())
        return writer.finish(_manifest(detector), "made for a test")


def made_encoder_bundle(target: Path, settings: SeriesSettings, record: DetectorRecord, hidden: int = 16) -> Bundle:
    """A bundle whose detector scores the embeddings of a graph, run for real."""
    from nearfar.edge.monitor.embedding import open_embedding

    graph, dim = made_graph(settings, hidden=hidden).SerializeToString(), 16
    tower = Tower(graph="encoder.onnx")
    towers = {"dim": dim, "similarity": "euclidean", "towers": {"query": tower, "document": tower}}
    plain = made_detector(settings, made_record(weights=record.weights))
    with BundleWriter(target.with_name("draft")) as writer:  # the graph needs a bundle to be run from
        writer.add("encoder.onnx", graph)
        writer.add(record.weights, plain.to_bytes())
        draft = writer.finish(_manifest(plain, record, **towers), "draft")
    detector = made_detector(settings, record, open_embedding(draft, 1))
    with BundleWriter(target) as writer:
        writer.add("encoder.onnx", graph)
        writer.add(record.weights, detector.to_bytes())
        return writer.finish(_manifest(detector, **towers), "made for a test")


def _manifest(detector: Detector, record: DetectorRecord | None = None, **towers: Any) -> Manifest:
    return Manifest(
        name="made",
        created=datetime(2026, 1, 1, tzinfo=UTC),
        kind="series-monitor",
        frontend=SeriesFrontend(detector.settings).settings,
        detector=record or detector.record,
        provenance=Provenance(recipe={}, recipe_sha256="0", data_fingerprint="0"),
        **towers,
    )
