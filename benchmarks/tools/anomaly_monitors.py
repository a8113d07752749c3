"""Monitors of made data without a training run: detectors of raw features, and a bundle with an encoder that was not trained."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from nearfar.bundle import Bundle, BundleWriter, Manifest, Provenance, Tower
from nearfar.edge.monitor.detector import Detector, Embed
from nearfar.edge.monitor.fit import Candidate, Fitter
from nearfar.edge.monitor.stretch import Stretch, in_stretches, in_time
from nearfar.frontend.fit_series import fit_series
from nearfar.frontend.join import join
from nearfar.frontend.settings import SeriesSettings
from nearfar.recipe.series import SeriesFrontendSettings, Watch
from nearfar.simulate import Plant, simulate_plant
from nearfar.sources.recording import Channel, Recording

Floats = npt.NDArray[np.float32]

RAW: Final = Candidate("raw", "mahalanobis", 30)
"""What is fitted where no choice is made: the figures it gives are of thresholds and speed, not of the choice."""

DAY: Final = 86_400
_FITTED = 0.4


class Healthy(NamedTuple):
    """Healthy data of one machine: the settings that its first 40 % give, those 40 %, and what comes later."""

    settings: SeriesSettings
    fitted: list[Stretch]
    later: list[Stretch]


def prepare(recordings: Sequence[Recording]) -> Healthy:
    """Frames of healthy recordings of one machine, in the order of time."""
    begin, end = recordings[0].times[0], recordings[-1].times[-1]
    first = [r for r in recordings if r.times[0] < begin + _FITTED * (end - begin)]
    settings = fit_series(first, SeriesFrontendSettings(kind="series"))
    frames = join(recordings, settings)
    stretches = in_stretches(recordings[0].machine, frames.times, frames.values, settings.period)
    return Healthy(settings, *in_time(stretches, [_FITTED, 1 - _FITTED], settings.window))


def fit_monitor(
    healthy: Healthy, *, watch: Watch | None = None, candidate: Candidate = RAW, embed: Embed | None = None
) -> Detector:
    """A detector: the first 40 % say what is normal, the rest sets the threshold.

    Args:
        healthy: what it is fitted to.
        watch: when to alarm; by default as in a recipe.
        candidate: what is scored.
        embed: the encoder, for a candidate that needs one.
    """
    fitter = Fitter(healthy.settings, watch or Watch(), embed)
    return fitter.with_threshold(fitter.detector(candidate, healthy.fitted), healthy.fitted, healthy.later)


def write_monitors(folder: Path) -> dict[str, Bundle]:
    """Bundles `raw` and `embedding` of one made plant with 8 channels at 1 Hz, and `fast` of 8 channels of noise at 10 kHz.

    The encoder is the default of a recipe with windows of 64 frames. It was not trained, which its speed does not depend on.
    """
    import torch

    from nearfar.learn.encoders.build_series import build_series_encoder
    from nearfar.learn.export.tracing import traced
    from nearfar.recipe.series import DilatedCnnEncoder

    recordings = list(simulate_plant(Plant(), DAY // 8, seed=0, block=1800))
    plant = prepare(recordings)
    chosen = DilatedCnnEncoder(kind="dilated_cnn")
    options = SeriesFrontendSettings(kind="series")
    torch.manual_seed(0)
    encoder = build_series_encoder(chosen, window=options.window, features=len(recordings[0].channels)).eval()

    def embed(windows: Floats, present: Floats) -> Floats:
        with torch.inference_mode():
            vectors: Floats = encoder(torch.from_numpy(windows), torch.from_numpy(present)).numpy()
            return vectors

    shape = (2, options.window, len(recordings[0].channels))
    n = torch.export.Dim("n")
    inputs = {"window": torch.zeros(shape), "present": torch.ones(shape)}
    graph = traced(encoder, inputs, ["embedding"], {"window": {0: n}, "present": {0: n}}).SerializeToString()
    watch = Watch(block=120.0)  # short ones, as there are only three hours
    embedding = Candidate("embedding", "mahalanobis", 1)
    detectors = {
        "raw": fit_monitor(plant, watch=watch),
        "embedding": fit_monitor(plant, watch=watch, candidate=embedding, embed=embed),
        "fast": fit_monitor(prepare(_noise()), watch=Watch(block=2.0, false_alarms_per_day=4000.0)),
    }
    write = partial(_write, graph=bytes(graph), dim=chosen.output_dim)
    return {name: write(folder / name, detector) for name, detector in detectors.items()}


def _noise(seconds: int = 200, rate: float = 10_000.0) -> list[Recording]:
    """Eight fast channels of white noise, in pieces of one second."""
    rng = np.random.default_rng(0)
    channels = tuple(Channel(f"vibration {number}", "m/s²") for number in range(8))
    n = int(rate)
    return [
        Recording("made", channels, start + np.arange(n) / rate, rng.standard_normal((n, 8), np.float32))
        for start in range(seconds)
    ]


def _write(target: Path, detector: Detector, *, graph: bytes, dim: int) -> Bundle:
    embeds = detector.record.features == "embedding"
    tower = Tower(graph="encoder.onnx")
    manifest = Manifest(
        name="made",
        kind="series-monitor",
        towers={"query": tower, "document": tower} if embeds else {},
        dim=dim if embeds else 0,
        similarity="euclidean",
        frontend=detector.settings,
        detector=detector.record,
        provenance=Provenance(recipe={"name": "made"}, recipe_sha256="0" * 64, data_fingerprint="0" * 64),
    )
    with BundleWriter(target) as writer:
        writer.add(detector.record.weights, detector.to_bytes())
        if embeds:
            writer.add("encoder.onnx", graph)
        return writer.finish(manifest, "# made\n")
