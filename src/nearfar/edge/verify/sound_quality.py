"""Recordings that say too little of who or what is heard; in doubt a recording passes."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from nearfar.edge.verify.problem import Problem
from nearfar.embedder import Item
from nearfar.frontend.settings import AudioSettings
from nearfar.frontend.sound import AudioError, decode_sound

Samples = npt.NDArray[np.float32]

SILENT: Final = 1e-3
"""A recording whose highest peak is below this share of full scale (-60 dB) holds no sound."""
SHORTEST: Final = 0.5
"""Least length of what is heard, as a share of the shortest that the encoder takes without repeating it."""
CLIPPED: Final = 0.04
"""Most samples that may lie at the peak, as a share, if there are also far more of them than just below it."""
RISE: Final = 7.5
"""Decibels that a sound must rise above its own floor. Noise alone seems to rise by 4 to 7, whatever its colour; speech rises by 10 and
more, and still by 8 in white noise of the same power."""
SMOOTH: Final = 0.55
"""A spectrum smoother than this is one of noise and not of a steady tone or vowel, which does not rise either."""

_LEVEL = 0.01  # seconds
_HEARD = 10 ** (-30 / 20)  # of the loudest: softer than that is breath, echo or silence
_FRAME, _BINS = 0.025, 6  # so many bins a band at any rate: with more of them noise alone rises less
_LONG_FRAME, _LONG_BINS = 0.064, 16  # long enough to see the harmonics of a low voice apart
_LEAST_SECONDS = 0.15
_AUDIBLE = 1e-4
_FAR_ABOVE = 1e3


def sound_problem(settings: AudioSettings, item: Item) -> Problem | None:
    """What is wrong with a recording: the first of silent, too short, clipped, too noisy; None where nothing is.

    Recordings of another rate are resampled, which is nothing wrong.

    Args:
        settings: of the encoder's frontend.
        item: a path, the bytes of a file, an array (t,) at the encoder's rate, or an array and its rate.

    Raises:
        DataError: `item` is none of these.
        MissingExtraError: the packages that read sound are not installed.
    """
    try:
        samples = decode_sound(item, settings.rate)
    except AudioError as error:
        return Problem("cannot be read", f"{error.reason}; {error.detail}" if error.detail else error.reason)
    peak = float(np.abs(samples).max(initial=0.0))
    if peak < SILENT:
        return Problem("silent", f"peak {peak:.5f} of full scale", "check the microphone, and speak up")
    heard, least = heard_seconds(samples, settings.rate), SHORTEST * settings.step / settings.rate
    if heard < least:
        return Problem(
            "too short",
            f"{heard:.2f} s of sound",
            f"give {least:.2f} s or more, better {settings.step / settings.rate:.2f} s",
        )
    if (share := clipped_share(samples)) > CLIPPED:
        return Problem("clipped", f"{share:.0%} of it at the limit", "turn the microphone down, or step back")
    if (rise := rise_above_floor(samples, settings.rate)) is not None and rise < RISE:
        return Problem(
            "too noisy", f"{rise:.0f} dB above its noise", "go where it is quiet, or nearer to the microphone"
        )
    return None


def heard_seconds(samples: Samples, rate: int) -> float:
    """Seconds of a recording that are not far below its loudest.

    Args:
        samples: float32 (t,), not all 0.
        rate: samples a second.
    """
    hop = max(1, round(_LEVEL * rate))
    padded = np.pad(samples, (0, -len(samples) % hop))
    heights = np.abs(padded).reshape(-1, hop).max(axis=1)
    return float((heights > heights.max() * _HEARD).sum() * hop / rate)


def clipped_share(samples: Samples) -> float:
    """Share of the samples at the peak; 0 where they are not far more than those just below, as of any sound that is whole.

    Args:
        samples: float32 (t,), at least one, not all 0.
    """
    heights = np.abs(samples) / min(float(np.abs(samples).max()), 1.0)
    at_peak, below = float((heights >= 0.97).mean()), float(((heights >= 0.9) & (heights < 0.97)).mean())
    return at_peak if at_peak > 2 * below else 0.0


def rise_above_floor(samples: Samples, rate: int) -> float | None:
    """By how much the loud parts of a sound lie above its quiet ones, band by band, in dB.

    Args:
        samples: float32 (t,).
        rate: samples a second.

    Returns:
        The 90th over the 10th percentile of the power of short frames, averaged over bands of 240 Hz: in each, because noise of any
        colour is even within one. None where that tells nothing: of few frames, or of a steady sound that is no noise.
    """
    if len(samples) < round(_LEAST_SECONDS * rate):
        return None
    power = _power(samples, round(_FRAME * rate))
    whole = power.sum(axis=1)
    quiet = float(np.percentile(whole, 10))
    if whole.max() > _FAR_ABOVE * quiet:  # a word in a long silence is in no tenth of the frames
        return 10 * float(np.log10(whole.max() / quiet))
    bands = np.array_split(power, max(1, power.shape[1] // _BINS), axis=1)
    sums = np.stack([band.sum(axis=1) for band in bands])
    # What has next to nothing in it, as above the band of a recording that was resampled, is no floor.
    sums = sums[sums.mean(axis=1) > _AUDIBLE * sums.mean(axis=1).max()]
    floor, loud = np.percentile(sums, (10, 90), axis=1)
    rise = 10 * float(np.log10((loud / floor).mean()))
    return None if rise < RISE and _smoothness(samples, rate) < SMOOTH else rise


def _smoothness(samples: Samples, rate: int) -> float:
    """How even the mean spectrum is within its bands: near 1 of noise, less of tones (spectral flatness)."""
    mean = _power(samples, round(_LONG_FRAME * rate)).mean(axis=0)
    bands = mean[: len(mean) // _LONG_BINS * _LONG_BINS].reshape(-1, _LONG_BINS)
    bands = bands[bands.mean(axis=1) > _AUDIBLE * bands.mean(axis=1).max()]
    return float((np.exp(np.log(bands).mean(axis=1)) / bands.mean(axis=1)).mean())


def _power(samples: Samples, frame: int) -> Samples:
    """Power of frames that overlap by half or more, without their mean: float32 (frames, frame // 2)."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, frame)[:: max(1, int(0.4 * frame))]
    spectra = np.fft.rfft(frames * np.hanning(frame).astype(np.float32))[:, 1:]
    return np.asarray(np.abs(spectra) ** 2 + 1e-12, dtype=np.float32)
