"""Following what is healthy, slowly and not far: off unless the recipe asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

STEP: Final = 0.05
"""The centre is moved when some feature's has to go at least so many spreads; smaller moves wait."""

_DAY = 86_400.0
_LEAST_BLOCKS = 16.0  # a running mean of fewer would follow every whim


class Adaptation:
    """Moves the centre of normal with a running mean of healthy blocks.

    The mean forgets with a time constant of a day, or of 16 blocks where those are longer. A block counts only if it stayed
    below the level at which an alarm ends, and no alarm was near it, so that a fault is not learned as long as it shows.
    A fault that creeps up below that level is: the limit is what keeps it small.

    Args:
        centre: float32 (F,), of the features.
        scale: float32 (F,), their spreads.
        limit: spreads by which the centre of a feature may move in all.
        block: length of a block in seconds.
    """

    def __init__(self, centre: Floats, scale: Floats, limit: float, block: float) -> None:
        self._centre, self._scale, self._limit = centre, scale, limit
        self._weight = min(1 / _LEAST_BLOCKS, block / _DAY)
        self._sums = np.zeros(len(centre))
        self._counts = np.zeros(len(centre))
        self._mean = np.zeros(len(centre))
        self._moved = np.zeros(len(centre))

    @property
    def moved(self) -> npt.NDArray[np.float64]:
        """How far each feature's centre has been moved, in spreads (F,)."""
        return self._moved

    @property
    def shift(self) -> Floats:
        """What is to be subtracted from frames (F,), in physical units."""
        return np.asarray(self._moved * self._scale, np.float32)

    def see(self, frames: Floats) -> None:
        """Take frames (k, F) of the block that is open, in physical units and not shifted."""
        with np.errstate(invalid="ignore"):
            scaled = (frames - self._centre) / self._scale
        self._sums += np.nansum(scaled, axis=0, dtype=np.float64)
        self._counts += np.isfinite(scaled).sum(axis=0)

    def end_block(self, counts: bool) -> bool:
        """End the block; whether the centre has been moved because of it.

        Args:
            counts: whether the block was healthy beyond doubt.
        """
        means = np.divide(self._sums, self._counts, out=self._mean.copy(), where=self._counts > 0)
        self._sums[:], self._counts[:] = 0.0, 0.0
        if not counts:
            return False
        self._mean += self._weight * (np.clip(means, -self._limit, self._limit) - self._mean)
        if np.abs(self._mean - self._moved).max() < STEP:
            return False
        self._moved = self._mean.copy()
        return True

    def state(self) -> dict[str, Any]:
        """What `restore` takes."""
        return {"sums": self._sums, "counts": self._counts, "mean": self._mean, "moved": self._moved}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where another of the same settings was."""
        self._sums, self._counts, self._mean, self._moved = (
            state[name] for name in ("sums", "counts", "mean", "moved")
        )
