"""How far from normal: one distance that is, by its arrays, that from a mean, from prototypes or from neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

_ROWS_AT_A_TIME = 8192


@dataclass(frozen=True, eq=False)
class Distance:
    """The mean distance from the `k` nearest of some points, in a space where healthy features vary alike in all directions.

    Attributes:
        centre: float32 (d,), the healthy mean.
        covariance: float32 (d, d), healthy and shrunk; what a missing feature is guessed by.
        whitening: float32 (d, r), from features less their centre to the space of the points.
        points: float32 (p, r); one zero row for the distance from the mean.
        k: how many of the points count.
    """

    centre: Floats
    covariance: Floats
    whitening: Floats
    points: Floats
    k: int = 1

    def of(self, features: Floats) -> Floats:
        """Distances float32 (n,) of features (n, d); a row with NaN counts by its other features, one without any is NaN.

        A missing feature is put where the others make it most likely under the healthy covariance: for a single point the
        distance is then exactly the Mahalanobis distance of what is there.
        """
        found = np.empty(len(features), np.float32)
        for start in range(0, len(features), _ROWS_AT_A_TIME):
            found[start : start + _ROWS_AT_A_TIME] = self._of(features[start : start + _ROWS_AT_A_TIME])
        return found

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What `from_arrays` takes."""
        return {
            "centre": self.centre,
            "covariance": self.covariance,
            "whitening": self.whitening,
            "points": self.points,
            "k": np.array(self.k),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Distance:
        """The distance whose arrays these are.

        Raises:
            ValueError: they are missing, or do not fit together.
        """
        absent = {"centre", "covariance", "whitening", "points", "k"} - set(arrays)
        if absent:
            raise ValueError(f"no {', '.join(sorted(absent))}")
        centre, covariance, whitening, points = (
            np.ascontiguousarray(arrays[name], np.float32) for name in ("centre", "covariance", "whitening", "points")
        )
        k, d = int(arrays["k"]), len(centre)
        fits = covariance.shape == (d, d) and whitening.shape[:1] == (d,) and points.shape[1:] == whitening.shape[1:]
        if centre.ndim != 1 or not fits or not 1 <= k <= len(points):
            raise ValueError(
                f"shapes {centre.shape}, {covariance.shape}, {whitening.shape}, {points.shape} with k {k} do not fit together"
            )
        if not all(np.isfinite(part).all() for part in (centre, covariance, whitening, points)):
            raise ValueError("some numbers are not finite")
        return cls(centre, covariance, whitening, points, k)

    def _of(self, features: Floats) -> Floats:
        offsets = features - self.centre
        missing = np.isnan(offsets)
        if missing.any():
            offsets = self._guessed(offsets, missing)
        places = offsets @ self.whitening
        if len(self.points) == 1:
            distances = np.linalg.norm(places - self.points, axis=1)
        else:
            squares = (places**2).sum(1)[:, None] - 2 * places @ self.points.T + (self.points**2).sum(1)
            nearest = np.partition(squares, self.k - 1, axis=1)[:, : self.k] if self.k < len(self.points) else squares
            distances = np.sqrt(np.maximum(nearest, 0)).mean(1)
        found: Floats = distances.astype(np.float32)
        found[missing.all(axis=1)] = np.nan
        return found

    def _guessed(self, offsets: Floats, missing: npt.NDArray[np.bool_]) -> Floats:
        """Offsets with the missing ones filled in, pattern by pattern: a lost sensor is lost for many rows."""
        filled = offsets.copy()
        patterns, which = np.unique(missing, axis=0, return_inverse=True)
        for number, gone in enumerate(patterns):
            rows = np.flatnonzero(which.reshape(-1) == number)
            if not gone.any():
                continue
            if gone.all():
                filled[rows] = 0.0
                continue
            there = ~gone
            weights = np.linalg.solve(self.covariance[np.ix_(there, there)], self.covariance[np.ix_(there, gone)])
            filled[np.ix_(rows, np.flatnonzero(gone))] = offsets[np.ix_(rows, np.flatnonzero(there))] @ weights
        return filled
