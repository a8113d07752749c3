"""WAV files by Python alone, for devices without libsndfile."""

from __future__ import annotations

import wave
from typing import BinaryIO

import numpy as np

from nearfar.frontend.samples import MOST_CHANNELS, AudioError, Samples, checked_rate, mono, part_bounds


def read_wav(file: BinaryIO, start: float | None, end: float | None) -> tuple[Samples, float]:
    """Read a WAV file of whole numbers of 8, 16, 24 or 32 bits: the same samples that libsndfile gives.

    Args:
        file: at its beginning.
        start: see `sound.decode_sound`.
        end: likewise.

    Returns:
        float32 (t,) in [-1, 1], the channels averaged; and the samples a second.

    Raises:
        AudioError: it is damaged, empty, cut off, too long, or of another kind.
    """
    try:
        with wave.open(file) as sound:
            channels, width, rate = sound.getnchannels(), sound.getsampwidth(), checked_rate(sound.getframerate())
            if not 1 <= channels <= MOST_CHANNELS:
                raise AudioError("too many channels", f"{channels}; at most {MOST_CHANNELS}")
            first, last = part_bounds(sound.getnframes(), rate, start, end)
            sound.setpos(first)
            content = sound.readframes(last - first)
    except (wave.Error, EOFError) as error:
        raise AudioError(
            "no WAV that Python alone reads", f'{error or "it ends early"}; install "nearfar[audio]"'
        ) from error
    frame = width * channels
    whole = np.frombuffer(content, np.uint8, len(content) // frame * frame)
    return mono(_numbers(whole, width).reshape(-1, channels)), rate


def _numbers(content: np.ndarray[tuple[int], np.dtype[np.uint8]], width: int) -> np.ndarray:
    """The samples of all channels, one after the other, as whole numbers over their whole range."""
    if width == 1:
        return content
    if width == 3:  # the lowest byte is empty: the same number with 32 bits
        wide = np.zeros((len(content) // 3, 4), np.uint8)
        wide[:, 1:] = content.reshape(-1, 3)
        return wide.reshape(-1).view("<i4")
    return content.view(f"<i{width}")
