"""Encoders of sound: the spectrogram in the graph is the one of the reference, and any length of sound becomes one vector."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.frontend.log_mel import log_mel
from nearfar.frontend.settings import AudioSettings
from nearfar.learn.encoders.audio import AudioEncoder, mean_and_deviation
from nearfar.learn.encoders.build_audio import build_audio_encoder
from nearfar.learn.encoders.log_mel import LogMel
from nearfar.recipe.audio import AudioEncoderSettings, EcapaEncoder, MelCnnEncoder

SETTINGS = (EcapaEncoder(kind="ecapa", width=16, dim=12), MelCnnEncoder(kind="mel_cnn", width=8, dim=12))


def audio(*, rate: int = 8_000, frame: int = 200, bands: int = 20, centre: bool = True) -> AudioSettings:
    return AudioSettings(
        rate=rate,
        step=rate // 4,
        longest=32 * (rate // 4),
        frame=frame,
        hop=frame // 3,
        bands=bands,
        lowest=60,
        highest=0.475 * rate,
        centre=centre,
    )


def sounds(count: int, length: int, seed: int = 0) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Noise of different colours and loudness."""
    rng = np.random.default_rng(seed)
    white = rng.standard_normal((count, length))
    waves = white + rng.uniform(0, 0.9, (count, 1)) * np.roll(white, 1, axis=1)
    return (waves * 10 ** rng.uniform(-3, -0.7, (count, 1))).astype(np.float32).clip(-1, 1)


@pytest.fixture(params=SETTINGS, ids=lambda s: s.kind)
def encoder(request: pytest.FixtureRequest) -> AudioEncoder:
    torch.manual_seed(0)
    return build_audio_encoder(request.param, audio())


@settings(max_examples=25, deadline=None)
@given(
    rate=st.sampled_from([8_000, 16_000, 22_050]),
    frame=st.integers(64, 600),
    bands=st.integers(8, 64),
    centre=st.booleans(),
    extra=st.integers(0, 2_000),
    seed=st.integers(0, 100),
)
def test_the_spectrogram_is_that_of_the_reference(
    rate: int, frame: int, bands: int, centre: bool, extra: int, seed: int
) -> None:
    described = audio(rate=rate, frame=frame, bands=bands, centre=centre)
    waves = sounds(2, frame + extra, seed)
    made = LogMel(described)(torch.from_numpy(waves)).numpy()
    expected = log_mel(waves, described)
    assert made.shape == expected.shape
    np.testing.assert_allclose(made, expected, atol=1e-4)


def test_nothing_of_the_spectrogram_is_trained_or_saved(encoder: AudioEncoder) -> None:
    assert not any("log_mel" in name for name, _ in encoder.named_parameters())
    assert not any("log_mel" in name for name in encoder.state_dict())


@pytest.mark.parametrize("length", [2_000, 2_001, 7_777, 64_000])
def test_a_sound_of_any_length_becomes_one_vector(encoder: AudioEncoder, length: int) -> None:
    vectors = encoder.eval()(torch.from_numpy(sounds(2, length)))
    assert vectors.shape == (2, 12)
    assert torch.isfinite(vectors).all()


def test_silence_becomes_a_vector_too(encoder: AudioEncoder) -> None:
    assert torch.isfinite(encoder.eval()(torch.zeros(1, 4_000))).all()


def test_a_vector_does_not_depend_on_its_batch(encoder: AudioEncoder) -> None:
    waves = torch.from_numpy(sounds(5, 4_000))
    together, alone = encoder.eval()(waves), encoder(waves[3:4])
    torch.testing.assert_close(together[3:4], alone, atol=1e-4, rtol=1e-4)


def test_a_spectrum_embeds_as_the_sound_that_it_is_of(encoder: AudioEncoder) -> None:
    waves = torch.from_numpy(sounds(3, 4_000))
    encoder.eval()
    assert torch.equal(encoder(encoder.spectrum(waves)), encoder(waves))


def test_bands_are_normalised_by_the_training_data(encoder: AudioEncoder) -> None:
    waves = torch.from_numpy(sounds(16, 8_000))
    logs = encoder.log_mel(waves)
    encoder.normalise_by(logs.mean(dim=(0, 2)).tolist(), logs.std(dim=(0, 2)).tolist())
    spectrum = encoder.spectrum(waves)
    torch.testing.assert_close(spectrum.mean(dim=(0, 2)), torch.zeros(20), atol=1e-4, rtol=0)
    torch.testing.assert_close(spectrum.std(dim=(0, 2)), torch.ones(20), atol=1e-3, rtol=0)


def test_loudness_is_taken_away_with_the_mean_of_each_band(encoder: AudioEncoder) -> None:
    waves = torch.from_numpy(sounds(1, 8_000)) + 0.0
    waves = waves / waves.abs().max()
    encoder.eval()
    cosine = torch.nn.functional.cosine_similarity(encoder(waves), encoder(0.25 * waves))
    assert float(cosine) > 0.999


@pytest.mark.parametrize("described", SETTINGS, ids=lambda s: s.kind)
def test_all_weights_learn(described: AudioEncoderSettings) -> None:
    encoder = build_audio_encoder(described, audio())
    encoder(torch.from_numpy(sounds(6, 4_000))).square().sum().backward()
    # An item's own norm takes out what stands before it; nothing else may be without a gradient.
    silent = [name for name, p in encoder.named_parameters() if p.grad is None]
    assert silent == []


def test_attention_weighs_moments() -> None:
    maps = torch.randn(2, 3, 10)
    even = mean_and_deviation(maps, torch.full((2, 3, 10), 0.1))
    torch.testing.assert_close(even, mean_and_deviation(maps))
    first = torch.zeros(2, 3, 10)
    first[..., 0] = 1
    torch.testing.assert_close(mean_and_deviation(maps, first)[:, :3, 0], maps[..., 0])
