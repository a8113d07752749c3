"""Noise that remembers: autoregressive of first order, continued from block to block."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

_DECADES = 200.0  # exp(200) is far from the end of float64, and more at a time would not be faster.


class Remembering:
    """c channels of noise with mean 0, standard deviation 1 and a correlation that decays with `seconds`.

    Each draw continues where the last one ended: x[t] = a x[t-1] + sqrt(1 - a^2) e[t], with a = exp(-period / seconds), the
    Ornstein-Uhlenbeck process at evenly spaced times. It begins in its stationary state.

    Args:
        seconds: (c,), time constants; 0 is white noise.
        period: seconds from one value to the next.
        rng: where randomness comes from.
    """

    def __init__(self, seconds: npt.ArrayLike, period: float, rng: np.random.Generator) -> None:
        times = np.asarray(seconds, np.float64)
        self._decay = np.where(times > 0, period / np.maximum(times, 1e-12), np.inf)
        self._rng = rng
        self._last = rng.standard_normal(len(times))

    def draw(self, n: int) -> npt.NDArray[np.float64]:
        """The next values, (n, c)."""
        values = self._rng.standard_normal((n, len(self._last)))
        for channel, decay in enumerate(self._decay):
            if math.isfinite(decay):
                values[:, channel] = _continued(values[:, channel], float(decay), float(self._last[channel]))
        if n:
            self._last = values[-1].copy()
        return values


def _continued(white: npt.NDArray[np.float64], decay: float, last: float) -> npt.NDArray[np.float64]:
    """One channel, as a sum of what went in before divided by how much of it is left, in pieces that do not overflow."""
    fresh = white * math.sqrt(-math.expm1(-2 * decay))
    piece = max(1, int(_DECADES / decay))
    left = np.exp(-decay * np.arange(1, min(piece, len(fresh)) + 1))
    out = np.empty_like(fresh)
    for start in range(0, len(fresh), piece):
        part = fresh[start : start + piece]
        share = left[: len(part)]
        out[start : start + piece] = share * (last + np.cumsum(part / share))
        last = float(out[start + len(part) - 1])
    return out
