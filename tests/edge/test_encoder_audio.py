"""Audio bundles on the device: recordings in any form and of any length to the right vectors, and clear refusals."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import soundfile
from tests.edge.tiny_audio_bundle import FILTER, STRIDE, tiny_audio_graph, tiny_audio_settings, write_tiny_audio_bundle

from nearfar.edge.encoder import Encoder
from nearfar.embedder import Embedder
from nearfar.errors import BundleError, DataError
from nearfar.frontend import AudioError


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Encoder:
    return Encoder.open(write_tiny_audio_bundle(tmp_path_factory.mktemp("bundle") / "tiny"))


def sound(seconds: float, seed: int = 0, rate: int = 8000) -> np.ndarray:
    t = np.arange(round(seconds * rate)) / rate
    rng = np.random.default_rng(seed)
    tones = sum(np.sin(2 * np.pi * f * t) for f in rng.uniform(100, 3500, 4))
    return (0.1 * tones + rng.normal(0, 0.02, len(t))).astype(np.float32)


def by_hand(encoder: Encoder, samples: np.ndarray) -> np.ndarray:
    model = onnx.load_from_string(encoder.bundle.read("encoder.onnx"))
    bank = next(onnx.numpy_helper.to_array(one) for one in model.graph.initializer if one.name == "bank")[:, 0]
    pcm = encoder.frontend.prepare(samples)
    frames = np.lib.stride_tricks.sliding_window_view(pcm, FILTER)[::STRIDE]
    level = np.log(np.mean((frames @ bank.T) ** 2, axis=0) + 1e-6)
    level -= level.mean()
    return level / np.linalg.norm(level)


def test_it_is_an_embedder_and_gives_what_the_graph_says(encoder):
    assert isinstance(encoder, Embedder)
    items = [sound(seconds, seed) for seed, seconds in enumerate((0.05, 0.3, 1.0, 0.3, 5.0))]
    embedded = encoder.embed(items)
    assert embedded.shape == (5, 16)
    assert embedded.dtype == np.float32
    for vector, item in zip(embedded, items, strict=True):
        np.testing.assert_allclose(vector, by_hand(encoder, item), atol=1e-4)


def test_an_embedding_does_not_depend_on_its_batch(encoder):
    items = [sound(0.2 + 0.13 * number, number) for number in range(20)]
    together = encoder.embed(items, batch_size=7)
    alone = np.concatenate([encoder.embed([item]) for item in items])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    np.testing.assert_array_equal(encoder.embed(items, "query"), encoder.embed(items, "document"))


def test_files_bytes_and_other_rates(encoder, tmp_path):
    samples = sound(0.8, rate=16_000)
    soundfile.write(tmp_path / "a.flac", samples, 16_000)
    forms = [tmp_path / "a.flac", (tmp_path / "a.flac").read_bytes(), (samples, 16_000)]
    vectors = encoder.embed(forms)
    assert (vectors @ vectors.T > 0.9999).all()
    assert not np.allclose(vectors[0], encoder.embed([sound(0.8, 1)])[0], atol=0.05)


def test_no_recordings_give_no_vectors(encoder):
    assert encoder.embed([]).shape == (0, 16)


def test_a_prefix_has_unit_length(encoder):
    short = Encoder.open(encoder.bundle, dim=8).embed([sound(0.5)])
    np.testing.assert_allclose(np.linalg.norm(short, axis=1), 1, atol=1e-5)


def test_refusals(encoder):
    with pytest.raises(DataError, match=r"wrap it as \[recording\]"):
        encoder.embed(sound(0.5))
    with pytest.raises(AudioError, match="item 1: no recording of a kind that is read"):
        encoder.embed([sound(0.5), b"words, not sound"])
    with pytest.raises(DataError, match="a recording is int"):
        encoder.embed([7])


def test_a_graph_with_another_input_is_refused(tmp_path):
    graph = tiny_audio_graph(16, name="pixels").SerializeToString()
    with pytest.raises(BundleError, match=r"takes pcm, float32 \(n, t\)"):
        Encoder.open(write_tiny_audio_bundle(tmp_path / "b", graph=graph))


def test_the_longest_recording_is_cut(encoder):
    settings = tiny_audio_settings()
    noise = np.random.default_rng(0).normal(0, 0.1, 3 * settings.longest).astype(np.float32)
    np.testing.assert_array_equal(encoder.embed([noise]), encoder.embed([noise[: settings.longest]]))
