"""How the samples of recordings lie on disk, and what is measured of them before an encoder hears them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from nearfar.frontend import AudioFrontend, AudioSettings
from nearfar.frontend.log_mel import log_mel

Ints = npt.NDArray[np.int64]
Samples = npt.NDArray[np.float32]
Stored = npt.NDArray[np.int16]

FULL_SCALE = 32768.0
"""The number that stands for 1 where samples are stored."""

_MEASURED = 2_000  # recordings that mean and deviation are taken over


def as_stored(samples: Samples) -> Stored:
    """Samples (t,) in [-1, 1] as they lie on disk."""
    stored: Stored = np.rint(samples * FULL_SCALE).clip(-FULL_SCALE, FULL_SCALE - 1).astype(np.int16)
    return stored


def as_heard(stored: Stored) -> Samples:
    """Samples (t,) in [-1, 1] of those on disk."""
    return (stored / np.float32(FULL_SCALE)).astype(np.float32)


def of_stored(settings: AudioSettings) -> AudioFrontend:
    """What makes stored recordings fit a graph: they are trimmed already."""
    return AudioFrontend(settings.model_copy(update={"trim": False}))


def measured(numbers: Ints, seed: int) -> Ints:
    """Those of some recordings whose bands are measured: all, or a sample of them."""
    if len(numbers) <= _MEASURED:
        return numbers
    return np.sort(np.random.default_rng([seed, 5]).permutation(numbers)[:_MEASURED])


def band_moments(recordings: Iterable[Stored], settings: AudioSettings) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each band over recordings as the device will hear them.

    Args:
        recordings: samples (t,) each, trimmed.
        settings: how they become bands.
    """
    fits = of_stored(settings)
    count, total, squares = 0, np.zeros(settings.bands), np.zeros(settings.bands)
    for stored in recordings:
        spectrum = log_mel(fits.fitted(as_heard(stored))[None], settings)[0].astype(np.float64)
        count += spectrum.shape[1]
        total += spectrum.sum(axis=1)
        squares += np.square(spectrum).sum(axis=1)
    mean = total / max(1, count)
    std = np.sqrt(np.maximum(squares / max(1, count) - np.square(mean), 0.0))
    return mean.tolist(), std.tolist()
