"""The log-mel spectrogram in NumPy: the reference that the graph of an audio bundle agrees with."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nearfar.frontend.settings import AudioSettings

Floats = npt.NDArray[np.float32]

_VALUES = 2**22  # of a spectrum that are held at a time


def hann(frame: int) -> Floats:
    """The Hann window as one period of it, float32 (frame,): `hann(n)[0]` is 0, and no sample is 0 twice."""
    turns = np.arange(frame) / frame
    return (0.5 - 0.5 * np.cos(2 * np.pi * turns)).astype(np.float32)


def mel_matrix(settings: AudioSettings) -> Floats:
    """What each frequency of a spectrum counts for in each band.

    Triangles of height 1 over frequency whose corners lie at equal distances on the mel scale, 2595 log10(1 + f / 700)
    (O'Shaughnessy, Speech Communication, 1987). A band so narrow that no frequency lies in it takes the nearest one.

    Returns:
        float32 (bands, frame // 2 + 1).
    """
    lowest, highest = (2595 * np.log10(1 + hertz / 700) for hertz in (settings.lowest, settings.highest))
    corners = 700 * (10 ** (np.linspace(lowest, highest, settings.bands + 2) / 2595) - 1)
    hertz = np.arange(settings.frame // 2 + 1) * (settings.rate / settings.frame)
    low, middle, high = (corners[at : at + settings.bands, None] for at in range(3))
    weights = np.maximum(0, np.minimum((hertz - low) / (middle - low), (high - hertz) / (high - middle)))
    empty = np.flatnonzero(weights.sum(axis=1) == 0)
    weights[empty, np.abs(hertz - middle[empty]).argmin(axis=1)] = 1
    return weights.astype(np.float32)


def log_mel(pcm: Floats, settings: AudioSettings) -> Floats:
    """The log-mel spectrogram of recordings of one length, as `AudioSettings` describes it.

    Args:
        pcm: (n, t) in [-1, 1], t of at least `settings.frame`.
        settings: rate, frames, bands.

    Returns:
        float32 (n, bands, frames), frames being 1 + (t - frame) // hop.
    """
    frames = np.lib.stride_tricks.sliding_window_view(pcm, settings.frame, axis=1)[:, :: settings.hop]
    window, matrix = hann(settings.frame), mel_matrix(settings)
    logs = np.empty((len(pcm), settings.bands, frames.shape[1]), np.float32)
    step = max(1, _VALUES // (settings.frame * frames.shape[1]))
    for start in range(0, len(pcm), step):
        spectrum = np.fft.rfft(frames[start : start + step] * window, axis=-1)
        power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
        logs[start : start + step] = np.log(power @ matrix.T + np.float32(settings.floor)).swapaxes(1, 2)
    if settings.centre:
        logs -= logs.mean(axis=2, keepdims=True)
    return logs
