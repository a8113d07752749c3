"""Encoders of windows as graphs: the same numbers as torch, small in int8, and float where int8 would cost too much."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pytest
import torch

from nearfar.learn.encoders.build_series import build_series_encoder
from nearfar.learn.encoders.series import SeriesEncoder
from nearfar.learn.export.series import choose_series_graph, distance_agreement, export_series_graph
from nearfar.learn.trainer.series import embed_windows
from nearfar.recipe.series import DilatedCnnEncoder, PatchTransformerEncoder, SeriesEncoderSettings, SpectralEncoder

KINDS: dict[str, SeriesEncoderSettings] = {
    "dilated_cnn": DilatedCnnEncoder(kind="dilated_cnn"),
    "patch_transformer": PatchTransformerEncoder(kind="patch_transformer"),
    "spectral": SpectralEncoder(kind="spectral"),
}
Floats = npt.NDArray[np.float32]


def windows(n: int = 128, features: int = 8) -> tuple[Floats, Floats]:
    """Slow wanderings with some values missing."""
    rng = np.random.default_rng(0)
    present = (rng.random((n, 64, features)) > 0.05).astype(np.float32)
    return (rng.standard_normal((n, 64, features)).cumsum(axis=1) / 4).astype(np.float32) * present, present


def encoder_of(kind: str) -> SeriesEncoder:
    torch.manual_seed(0)
    encoder = build_series_encoder(KINDS[kind], window=64, features=8)
    with torch.no_grad():
        encoder.last.weight.mul_(10)  # as it is after training: the skip is not all there is
    return encoder


def run(graph: bytes, values: Floats, present: Floats) -> Floats:
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    found: Floats = session.run(["embedding"], {"window": values, "present": present})[0]
    return found


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_graph_computes_what_torch_does(kind: str) -> None:
    encoder, (values, present) = encoder_of(kind), windows()
    expected = embed_windows(encoder, values, present)
    graph = export_series_graph(encoder, window=64, features=8, quantise="none")
    np.testing.assert_allclose(run(graph, values, present), expected, atol=1e-4)
    np.testing.assert_allclose(run(graph, values[:1], present[:1]), expected[:1], atol=1e-4)
    assert encoder.training, "what was exported stays as it is"
    lengths = np.linalg.norm(expected, axis=1)
    assert lengths.std() > 0.1


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_int8_is_small_and_keeps_distances(kind: str) -> None:
    encoder, (values, present) = encoder_of(kind), windows()
    floating = export_series_graph(encoder, window=64, features=8, quantise="none")
    graph = choose_series_graph(encoder, window=64, features=8, quantise="int8", calibration=(values, present))
    assert graph.weights == "int8"
    assert graph.agreement > 0.98
    assert len(graph.content) < 100_000
    assert len(graph.content) < len(floating)
    assert distance_agreement(floating, graph.content, values, present) == pytest.approx(graph.agreement)


def test_the_skip_stays_exact_in_int8() -> None:
    encoder = encoder_of("dilated_cnn")
    values, present = windows()
    graph = export_series_graph(encoder, window=64, features=8, quantise="int8", calibration=(values, present))
    far = np.full((2, 64, 8), 20.0, np.float32)
    far[1] += 10
    there = np.ones_like(far)
    # What convolutions see hardly changes so far out; the mean goes on.
    away = run(graph, far[1:], there[1:]) - run(graph, far[:1], there[:1])
    assert away[0, :8].mean() == pytest.approx(10, abs=1)


def test_where_int8_costs_too_much_float_ships() -> None:
    encoder, calibration = encoder_of("dilated_cnn"), windows()
    graph = choose_series_graph(
        encoder, window=64, features=8, quantise="int8", calibration=calibration, least=0.99999999
    )
    assert graph.weights == "float32"
    assert 0.9 < graph.agreement < 0.99999999
    assert graph.content == export_series_graph(encoder, window=64, features=8, quantise="none")
    asked = choose_series_graph(encoder, window=64, features=8, quantise="none", calibration=calibration)
    assert (asked.weights, asked.agreement) == ("float32", 1.0)


def test_int8_of_convolutions_needs_examples() -> None:
    with pytest.raises(ValueError, match="expected examples to calibrate int8 with, got none"):
        export_series_graph(encoder_of("spectral"), window=64, features=8, quantise="int8")
