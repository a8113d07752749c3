"""Row numbers that mostly follow one another, kept as stretches: a million rows take a few bytes, not eight million."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]


class Stretches(NamedTuple):
    """Ascending rows; each stretch counts up by one.

    Attributes:
        places: the place of the first row of each stretch, int64 (s,), ascending from 0.
        rows: that row, int64 (s,).
        total: how many rows there are.
    """

    places: Rows
    rows: Rows
    total: int

    def rows_at(self, places: npt.NDArray[np.integer]) -> Rows:
        """The rows at some places, int64 of the same shape; each place is from 0 to total - 1."""
        stretch = np.searchsorted(self.places, places, side="right") - 1
        return np.asarray(self.rows[stretch] + (places - self.places[stretch]), dtype=np.int64)

    def places_of(self, rows: Rows) -> Rows:
        """The places of those of the rows that are here, in their order."""
        if not self.total or not len(rows):
            return np.empty(0, dtype=np.int64)
        stretch = np.searchsorted(self.rows, rows, side="right") - 1
        places = self.places[stretch] + (rows - self.rows[stretch])
        ends = np.append(self.places[1:], self.total)
        return np.asarray(places[(stretch >= 0) & (places < ends[stretch])])


def stretches(rows: Rows) -> Stretches:
    """Ascending rows as stretches."""
    starts = np.flatnonzero(np.diff(rows, prepend=rows[0] - 2 if len(rows) else 0) != 1)
    return Stretches(starts.astype(np.int64), rows[starts].astype(np.int64), len(rows))
