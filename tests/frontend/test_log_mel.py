"""The reference spectrogram against its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.frontend.log_mel import hann, log_mel, mel_matrix
from nearfar.frontend.settings import AudioSettings


def made(**values) -> AudioSettings:
    usual = {"rate": 8000, "step": 2000, "longest": 16_000, "frame": 200, "hop": 80, "bands": 24, "lowest": 60.0}
    return AudioSettings(**{**usual, "highest": 3800.0, **values})


def by_definition(pcm: np.ndarray, settings: AudioSettings) -> np.ndarray:
    """One recording, written out in float64."""
    n = np.arange(settings.frame)
    window = np.sin(np.pi * n / settings.frame) ** 2
    basis = np.exp(-2j * np.pi * np.outer(np.arange(settings.frame // 2 + 1), n) / settings.frame)
    starts = range(0, len(pcm) - settings.frame + 1, settings.hop)
    power = np.stack([np.abs(basis @ (window * pcm[at : at + settings.frame])) ** 2 for at in starts], axis=1)
    logs = np.log(mel_matrix(settings).astype(np.float64) @ power + settings.floor)
    return logs - logs.mean(axis=1, keepdims=True) if settings.centre else logs


@settings(max_examples=40, deadline=None)
@given(
    length=st.integers(200, 1500),
    frame=st.integers(16, 200),
    hop=st.integers(1, 16),
    bands=st.integers(1, 60),
    centre=st.booleans(),
    scale=st.sampled_from([0.0, 1e-4, 0.3, 1.0]),
)
def test_it_is_its_definition(length, frame, hop, bands, centre, scale):
    chosen = made(frame=frame, hop=hop, bands=bands, centre=centre)
    pcm = (scale * np.random.default_rng(length).uniform(-1, 1, (2, length))).astype(np.float32)
    logs = log_mel(pcm, chosen)
    assert logs.dtype == np.float32
    assert logs.shape == (2, bands, 1 + (length - frame) // hop)
    for found, samples in zip(logs, pcm, strict=True):
        np.testing.assert_allclose(found, by_definition(samples.astype(np.float64), chosen), atol=2e-4)


def test_many_recordings_give_what_each_gives():
    pcm = np.random.default_rng(0).uniform(-1, 1, (40, 16_000)).astype(np.float32)
    together = log_mel(pcm, made(hop=10))
    np.testing.assert_allclose(together[37:38], log_mel(pcm[37:38], made(hop=10)), atol=1e-5)


def test_a_tone_lies_in_its_band():
    chosen = made(centre=False)
    at = np.arange(8000) / 8000
    heights = [
        log_mel(np.sin(2 * np.pi * f * at)[None].astype(np.float32), chosen)[0].mean(axis=1).argmax()
        for f in (200, 1000, 3000)
    ]
    assert heights == sorted(heights)
    mel = 2595 * np.log10(1 + np.array([60.0, 1000.0, 3800.0]) / 700)
    assert abs(heights[1] - ((mel[1] - mel[0]) / (mel[2] - mel[0]) * 25 - 1)) <= 1


def test_centred_bands_do_not_know_gain():
    pcm = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 4000)).astype(np.float32)
    np.testing.assert_allclose(log_mel(pcm, made()), log_mel(pcm / 4, made()), atol=1e-3)


@pytest.mark.parametrize(("frame", "bands"), [(200, 24), (96, 80), (401, 40)])
def test_every_band_hears_something(frame, bands):
    matrix = mel_matrix(made(frame=frame, bands=bands))
    assert matrix.shape == (bands, frame // 2 + 1)
    assert (matrix.max(axis=1) > 0).all()
    assert matrix.min() >= 0
    assert matrix.max() <= 1
    peaks = matrix.argmax(axis=1)
    assert (np.diff(peaks) >= 0).all()


def test_neighbouring_triangles_add_up_to_one():
    matrix = mel_matrix(made(frame=2000, bands=10))
    inside = slice(matrix[0].argmax() + 1, matrix[-1].argmax())
    np.testing.assert_allclose(matrix.sum(axis=0)[inside], 1.0, atol=1e-5)


def test_the_window_is_one_period():
    np.testing.assert_allclose(hann(4), [0, 0.5, 1, 0.5])
    np.testing.assert_allclose(hann(200) + np.roll(hann(200), 100), 1.0, atol=1e-6)
