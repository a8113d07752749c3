"""What is said of time: gaps, a clock that was set, samples that came too late."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nearfar.edge.monitor.events import ClockEvent
from nearfar.frontend.grid import Notice
from nearfar.frontend.settings import SeriesSettings


class ClockWatch:
    """Turns notices of the grid into events. Late samples are told together, at most once a window.

    Args:
        settings: of the frontend.
    """

    def __init__(self, settings: SeriesSettings) -> None:
        self._period = settings.period
        self._every = settings.window * settings.period
        self._samples, self._seconds = 0, 0.0
        self._last = self._told = float("nan")

    def take(self, notices: Sequence[Notice], times: npt.NDArray[np.float64]) -> list[tuple[int, ClockEvent]]:
        """The events of notices, each with the row of the last frame before it.

        Args:
            notices: in their order.
            times: float64 (k,), when the frames that came with them begin.
        """
        found: list[tuple[int, ClockEvent]] = []
        row = -1
        for notice in notices:
            if notice.what == "late":
                self._samples, self._seconds = self._samples + notice.samples, max(self._seconds, notice.seconds)
                continue
            same = np.flatnonzero(np.abs(times[max(row, 0) :] - notice.time) < self._period / 2)
            row = max(row, 0) + int(same[0]) if len(same) else row
            found.append((row, ClockEvent(notice.time + self._period, notice.what, notice.seconds)))
        if len(times):
            self._last = float(times[-1]) + self._period
        if self._samples and not 0 <= self._last - self._told < self._every:
            found.append((len(times), ClockEvent(self._last, "late", self._seconds, self._samples)))
            self._told, self._samples, self._seconds = self._last, 0, 0.0
        return found

    def state(self) -> dict[str, Any]:
        """What `restore` takes."""
        return {"samples": self._samples, "seconds": self._seconds, "last": self._last, "told": self._told}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where another was."""
        self._samples, self._seconds = state["samples"], state["seconds"]
        self._last, self._told = state["last"], state["told"]
