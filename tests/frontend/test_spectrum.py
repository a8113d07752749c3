"""Level, peakedness and bands of a frame of vibration, against what physics says."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from nearfar.frontend.spectrum import log_bands, spectrum

RATE = 20_000.0


def test_a_sine_has_its_rms_crest_and_kurtosis_and_lies_in_its_band() -> None:
    sine = (3 * np.sin(2 * np.pi * 500 * np.arange(20_000) / RATE)).astype(np.float32)
    rms, crest, kurtosis, *bands = spectrum(sine, RATE, ((10, 100), (400, 600), (600, 5000))).tolist()
    assert rms == pytest.approx(3 / np.sqrt(2), rel=1e-4)
    assert crest == pytest.approx(np.sqrt(2), rel=1e-3)
    assert kurtosis == pytest.approx(1.5, rel=1e-3)
    # Its power of 4.5 spread over a band of 200 Hz.
    assert bands[1] == pytest.approx(np.log10(4.5 / 200), abs=0.02)
    assert max(bands[0], bands[2]) < bands[1] - 3


@pytest.mark.parametrize("samples", [64, 1000, 4096, 7001, 40_000])
def test_white_noise_has_its_density_at_every_frequency_and_length(samples: int) -> None:
    noise = np.random.default_rng(0).normal(scale=2, size=(200_000 // samples + 1, samples)).astype(np.float32)
    features = np.mean([spectrum(frame, RATE, ((1000, 5000), (5000, 9000))) for frame in noise], axis=0)
    assert features[0] == pytest.approx(2, rel=0.02)
    assert features[2] == pytest.approx(3, rel=0.1)
    # The mean of a logarithm lies a little below the logarithm of the mean.
    np.testing.assert_allclose(features[3:], np.log10(4 / (RATE / 2)), atol=0.06)


def test_a_blow_raises_crest_and_kurtosis_and_a_level_only_the_rms() -> None:
    noise = np.random.default_rng(1).normal(size=5000).astype(np.float32)
    struck, shifted = noise.copy(), noise + 10
    struck[::500] += 30
    calm, hit, level = (spectrum(x, RATE, ((1000, 9000),)) for x in (noise, struck, shifted))
    assert hit[1] > 2 * calm[1]
    assert hit[2] > 5 * calm[2]
    assert level[0] == pytest.approx(np.hypot(10, 1), rel=0.01)
    np.testing.assert_allclose(level[1:], calm[1:], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("value", [0.0, 0.1, -273.15, 1e20, 1e-30])
def test_what_stands_still_is_finite_and_still(value: float) -> None:
    features = spectrum(np.full(999, value, np.float32), RATE, ((10, 100), (100, 9000)))
    assert features[0] == pytest.approx(abs(value), rel=1e-5)
    assert features[1:].tolist() == [0, 0, -20, -20]


def test_a_band_that_is_too_narrow_takes_the_nearest_frequency() -> None:
    noise = np.random.default_rng(0).normal(size=100).astype(np.float32)
    assert np.isfinite(spectrum(noise, RATE, ((10, 11), (9999.5, 10_000), (20_000, 30_000)))).all()


@pytest.mark.parametrize(("rate", "samples"), [(20_000.0, 20_000), (100.0, 100), (20.0, 20), (9.0, 9), (1000.0, 16)])
def test_bands_ascend_without_holes_and_each_is_resolved(rate: float, samples: int) -> None:
    bands = log_bands(10.0, rate, 16, samples)
    assert 1 <= len(bands) <= 16
    assert bands[-1][1] == rate / 2
    for (_, high), (low, _) in pairwise(bands):
        assert high == low
    resolution = rate / min(samples, 4096)
    assert all(high - low >= 0.99 * resolution for low, high in bands)


def test_sixteen_bands_from_ten_hertz_are_of_equal_width_on_a_logarithmic_scale() -> None:
    bands = log_bands(10.0, RATE, 16, 20_000)
    assert len(bands) == 16
    np.testing.assert_allclose([high / low for low, high in bands], 1000 ** (1 / 16), rtol=0.01)
