"""Where the sound is in a recording: what lies before and after it is silence, or noise as it is everywhere."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_HOP = 0.01  # seconds of one level
_SMOOTHED = 3  # levels
_SUSTAINED = 5  # levels in a row that must be loud: a click, which smoothing widens to three or four, is no sound
_MARGIN = 0.05  # seconds that are kept on either side: sounds begin and end softly
_FLOOR = 10  # percentile of the levels that is the noise of the recording
_TOP = 98
_CONTRAST = 10.0  # dB between the two below which nothing is cut: it is all sound, or all noise
_DEEPEST = 60.0  # dB below the top beyond which a floor does not count: digital silence has none
_ABOVE = 6.0  # dB above the floor that are surely sound
_SHARE = 0.3  # of the way from the floor to the top, where the floor is far below


def sounding(samples: npt.NDArray[np.float32], rate: int) -> slice:
    """Find what is left of a recording without the silence at its two ends.

    Levels of 10 ms are held against the recording's own noise floor, so that its gain does not matter.

    Args:
        samples: (t,).
        rate: samples a second.

    Returns:
        From the first sound to the last, with a margin; all of it where nothing stands out from the rest.
    """
    whole = slice(0, len(samples))
    hop = max(1, round(_HOP * rate))
    count = len(samples) // hop
    if count < _SUSTAINED + _SMOOTHED:
        return whole
    levels = _levels(samples[: count * hop].reshape(count, hop))
    top = float(np.percentile(levels, _TOP))
    floor = max(float(np.percentile(levels, _FLOOR)), top - _DEEPEST)
    if not top - floor >= _CONTRAST:
        return whole
    loud = levels > floor + max(_ABOVE, _SHARE * (top - floor))
    runs = np.lib.stride_tricks.sliding_window_view(loud, _SUSTAINED).all(axis=1)
    starts = np.flatnonzero(runs)
    if not len(starts):
        return whole
    margin = round(_MARGIN * rate)
    first, last = int(starts[0]) * hop, int(starts[-1] + _SUSTAINED) * hop
    return slice(max(0, first - margin), min(len(samples), last + margin))


def _levels(frames: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Power of frames (m, hop) about their own mean in dB below the strongest, smoothed over neighbours, (m,)."""
    moved = frames - frames.mean()
    power = np.einsum("mh,mh->m", moved, moved) / frames.shape[1] - moved.mean(axis=1) ** 2
    power = np.maximum(power, 0).astype(np.float64)
    strongest = float(power.max())
    if strongest <= 0:
        return np.zeros(len(power))
    around = np.pad(power / strongest, _SMOOTHED // 2, mode="edge")
    smooth = np.convolve(around, np.full(_SMOOTHED, 1 / _SMOOTHED), mode="valid")
    levels: npt.NDArray[np.float64] = 10 * np.log10(np.maximum(smooth, 1e-12))
    return levels
