"""Trimming by a recording's own noise floor."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.frontend.silence import sounding

RATE = 16_000


def recording(snr: float, before: float = 0.5, sound: float = 0.6, after: float = 0.7, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    total = round((before + sound + after) * RATE)
    samples = 0.1 * 10 ** (-snr / 20) * rng.standard_normal(total)
    first, last = round(before * RATE), round((before + sound) * RATE)
    t = np.arange(last - first) / RATE
    samples[first:last] += 0.1 * np.sqrt(2) * np.sin(2 * np.pi * 300 * t)
    return samples.astype(np.float32)


@pytest.mark.parametrize("snr", [12.0, 20.0, 40.0, 200.0])
def test_what_lies_about_a_sound_is_left_out(snr):
    kept = sounding(recording(snr), RATE)
    assert 0.5 - 0.1 <= kept.start / RATE <= 0.5
    assert 1.1 <= kept.stop / RATE <= 1.1 + 0.1


@settings(max_examples=40, deadline=None)
@given(gain=st.floats(1e-4, 9.0), seed=st.integers(0, 9), offset=st.floats(-0.1, 0.1))
def test_neither_gain_nor_a_constant_level_matters(gain, seed, offset):
    samples = recording(20.0, seed=seed)
    expected, found = sounding(samples, RATE), sounding((gain * samples + offset * gain).astype(np.float32), RATE)
    assert abs(found.start - expected.start) <= 160
    assert abs(found.stop - expected.stop) <= 160


@pytest.mark.parametrize("kind", ["zeros", "constant", "noise", "tone"])
def test_what_is_alike_all_along_is_left_as_it_is(kind):
    samples = {
        "zeros": np.zeros(RATE),
        "constant": np.full(RATE, 0.3),
        "noise": np.random.default_rng(0).normal(0, 0.01, RATE),
        "tone": np.sin(np.arange(RATE)),
    }[kind].astype(np.float32)
    assert sounding(samples, RATE) == slice(0, RATE)


def test_a_click_is_no_sound():
    samples = recording(30.0)
    samples[800] = 1.0
    assert sounding(samples, RATE).start > 0.3 * RATE


def test_pauses_within_are_kept():
    samples = np.concatenate([recording(30.0), recording(30.0, seed=1)])
    kept = sounding(samples, RATE)
    assert kept.start < 0.55 * RATE
    assert kept.stop > 2.8 * RATE


@settings(max_examples=60, deadline=None)
@given(
    length=st.integers(0, 4000), rate=st.sampled_from([1000, 8000, 44_100]), seed=st.integers(0, 5), burst=st.booleans()
)
def test_something_is_always_left(length, rate, seed, burst):
    samples = np.random.default_rng(seed).normal(0, 0.01, length).astype(np.float32)
    if burst:
        samples[length // 3 : length // 2] *= 50
    kept = sounding(samples, rate)
    assert 0 <= kept.start <= kept.stop <= length
    assert len(samples[kept]) >= min(1, length)
