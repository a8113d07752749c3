"""What a frame of a fast channel (vibration, sound, current) comes to: level, peakedness, and power by frequency."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

SEGMENT = 4096
"""Samples of a Fourier transform; a longer frame is averaged over segments that overlap by half."""

_LEAST_POWER = 1e-20  # of silence, whose logarithm would have no end
_STILL = 1e-7  # relative: float32 samples do not tell smaller changes from none

Bands = Sequence[tuple[float, float]]


def spectrum(samples: npt.NDArray[np.float32], rate: float, bands: Bands) -> npt.NDArray[np.float32]:
    """Describe the samples of one frame.

    The power spectral density is Welch's (doi:10.1109/TAU.1967.1161901): Hann windows, segments of `SEGMENT` samples spread
    evenly over the frame. It is scaled so that white noise of variance v has v / (rate / 2) at every frequency.

    Args:
        samples: (n,) in the unit of the channel, n of 2 or more, all finite.
        rate: samples a second.
        bands: b pairs of Hz, from and to. One that is narrower than what the frame resolves takes the nearest frequency.

    Returns:
        float32 (3 + b,): root mean square, in the unit of the channel, about zero, so that a constant level counts; crest
        factor (largest distance from the mean over standard deviation) and kurtosis (3 for normal noise), both without
        unit and 0 where nothing moves; for each band log10 of its mean power spectral density, in unit²/Hz, at least -20.
    """
    wide = samples.astype(np.float64)
    moved = wide - wide.mean()
    square = moved * moved
    variance = float(square.mean())
    features = np.zeros(3 + len(bands))
    features[0] = math.sqrt(float(np.mean(wide * wide)))
    peak = float(np.abs(wide).max())
    if math.sqrt(variance) > _STILL * peak:
        features[1] = float(np.abs(moved).max()) / math.sqrt(variance)
        features[2] = float(np.mean(square * square)) / variance**2
    else:
        moved[:] = 0.0
    power = _density(moved, rate)
    resolution = rate / min(len(samples), SEGMENT)
    for number, (low, high) in enumerate(bands):
        begin, end = math.ceil(low / resolution), math.ceil(high / resolution)
        if begin >= min(end, len(power)):
            begin = min(round((low + high) / 2 / resolution), len(power) - 1)
            end = begin + 1
        features[3 + number] = math.log10(max(float(power[begin:end].mean()), _LEAST_POWER))
    return features.astype(np.float32)


def log_bands(lowest: float, rate: float, count: int, samples: int) -> tuple[tuple[float, float], ...]:
    """Cut the frequencies up to half the rate into bands of equal width on a logarithmic scale.

    Args:
        lowest: where the first begins, in Hz; where that leaves less than two octaves, what a frame just resolves.
        rate: samples a second.
        count: how many are wanted; those that a frame would not resolve are merged with the next.
        samples: of a frame.

    Returns:
        At most `count` bands in ascending order, each beginning where the one before ends.
    """
    resolution = rate / max(2, min(samples, SEGMENT))
    top = rate / 2
    begin = lowest if resolution <= lowest <= top / 4 else resolution
    if begin >= top:
        return ((top / 2, top),)
    edges = [begin]
    for edge in np.geomspace(begin, top, count + 1)[1:-1]:
        if edge - edges[-1] >= resolution and top - edge >= resolution:
            edges.append(float(edge))
    edges.append(top)
    rounded = [float(f"{edge:.4g}") for edge in edges]
    return tuple(pairwise(rounded))


def _density(moved: npt.NDArray[np.float64], rate: float) -> npt.NDArray[np.float64]:
    """Welch's estimate, (m,) in unit²/Hz, of samples whose mean is 0."""
    size = min(len(moved), SEGMENT)
    window = np.hanning(size + 1)[:-1]
    segments = 1 + math.ceil((len(moved) - size) / (size // 2))
    starts = np.linspace(0, len(moved) - size, segments).astype(np.int64)
    cut = moved[starts[:, None] + np.arange(size)] if segments > 1 else moved[None]
    transformed = np.fft.rfft(cut * window, axis=-1)
    density: npt.NDArray[np.float64] = (transformed.real**2 + transformed.imag**2).mean(axis=0)
    density *= 2 / (rate * float(np.sum(window * window)))
    density[0] /= 2
    return density
