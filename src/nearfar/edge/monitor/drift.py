"""Whether healthy scores still look as they did at calibration; where they do not, no promise about false alarms holds.

The stream is cut into blocks as long as those of the calibration. Blocks with an alarm in them or shortly before them do not count:
nobody knows whether they were healthy.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from nearfar.bundle.monitor_record import DetectorRecord
from nearfar.edge.monitor.events import Drift
from nearfar.edge.monitor.ranks import rank_sum_p_value

Floats = npt.NDArray[np.float32]

BLOCKS: Final = 24
"""Healthy blocks that are compared with the calibration at a time; each is compared once."""
LEAST: Final = 8
"""Blocks that a calibration must have before anything is compared with it."""
LEVEL: Final = 0.001
"""How often `BLOCKS` blocks of a stream that has not drifted are taken for drift, at most."""

_DAY = 86_400.0


class Block(NamedTuple):
    """A stretch of a stream that is over.

    Attributes:
        stop: the row of the scores that were passed after its last one.
        time: of its last row.
        maximum: the highest decision statistic of it; NaN where less than half was known.
        quiet: whether there was no alarm in it, nor shortly before, and nothing that would have raised one.
        drift: what there is to announce now; at most once a day.
    """

    stop: int
    time: float
    maximum: float
    quiet: bool
    drift: Drift | None


@dataclass(frozen=True)
class MonitorReport:
    """What became of the promise so far. Nobody but you knows which alarms were false: that they all were is the worst case.

    Attributes:
        days: days of which the score was known.
        alarms: how many were raised.
        alarms_per_day: the same a day; NaN before anything is known.
        promised_per_day: false alarms a day that were promised.
        blocks: blocks of which at least half was known.
        blocks_above: those that rose above the threshold.
        promised_share: the share of healthy blocks that may do so.
        recent: highest statistics of the last blocks, the newest last, at most 100.
        ratio: median of the last healthy blocks over that of the calibration; NaN before there is one.
        rate: share of them above the level that one in ten exceeded at calibration; NaN before there is one.
        p_value: of the last comparison with the calibration; NaN before the first, which takes 24 healthy blocks.
        drifted: whether drift has been announced within the last day.
    """

    days: float
    alarms: int
    alarms_per_day: float
    promised_per_day: float
    blocks: int
    blocks_above: int
    promised_share: float
    recent: tuple[float, ...]
    ratio: float
    rate: float
    p_value: float
    drifted: bool


class DriftWatch:
    """Follows the highest scores of the blocks of one stream.

    Args:
        maxima: float32 (b,), those of healthy blocks at calibration.
        record: the length of a block, and what was promised.
        period: seconds from one frame to the next.

    Attributes:
        length: frames of a block.
    """

    def __init__(self, maxima: Floats, record: DetectorRecord, period: float) -> None:
        self._maxima, self._record, self._period = maxima, record, period
        self.length = max(1, round(record.block / period))
        self._quiet_frames = max(self.length, int(np.ceil(record.cool_down / period)))
        self._done = self._known = 0  # frames of the block that is open
        self._highest = -np.inf
        self._disturbed = False
        self._frozen = 0  # frames until blocks count as quiet again
        self._frames = self._alarms = self._blocks = self._above = 0
        self._recent: deque[float] = deque(maxlen=100)
        self._healthy: deque[float] = deque(maxlen=BLOCKS)
        self._fresh = 0  # of the healthy ones, those that were not compared yet
        self._p_value = float("nan")
        self._told = -np.inf
        self._time = -np.inf
        self._threshold = record.threshold

    @property
    def left(self) -> int:
        """Frames until the block that is open ends."""
        return self.length - self._done

    def push(
        self, times: npt.NDArray[np.float64], statistic: Floats, alarmed: npt.NDArray[np.bool_], threshold: float
    ) -> list[Block]:
        """Take the decisions of n frames and return the blocks that end with them.

        Args:
            times: float64 (n,).
            statistic: float32 (n,), minus infinity or NaN where nothing is known.
            alarmed: bool (n,), whether there is an alarm.
            threshold: what is alarming now.
        """
        self._threshold = threshold
        ended: list[Block] = []
        n, row = len(times), 0
        while row < n:
            stop = min(n, row + self.left)
            part = statistic[row:stop]
            known = part[np.isfinite(part)]
            self._known += len(known)
            self._frames += len(known)
            self._highest = max(self._highest, float(known.max(initial=-np.inf)))
            # A part of a block that is still frozen at its beginning is not quiet, even if the rest is.
            self._disturbed |= bool(alarmed[row:stop].any()) or self._frozen > 0
            self._thaw(alarmed[row:stop])
            self._done += stop - row
            self._time = float(times[stop - 1])
            if self._done == self.length:
                ended.append(self._end(stop))
            row = stop
        return ended

    def raised(self) -> None:
        """Count an alarm."""
        self._alarms += 1

    def drift(self, time: float, adapted: bool = False) -> Drift:
        """How far the last healthy blocks are from the calibration."""
        ratio, rate = self._moved()
        return Drift(time, ratio, rate, adapted)

    def report(self) -> MonitorReport:
        """The figures so far."""
        days = self._frames * self._period / _DAY
        ratio, rate = self._moved()
        return MonitorReport(
            days=days,
            alarms=self._alarms,
            alarms_per_day=self._alarms / days if days else float("nan"),
            promised_per_day=self._record.false_alarms_per_day,
            blocks=self._blocks,
            blocks_above=self._above,
            promised_share=self._record.false_alarms_per_day * self._record.block / _DAY,
            recent=tuple(self._recent),
            ratio=ratio,
            rate=rate,
            p_value=self._p_value,
            drifted=self._time - self._told < _DAY,
        )

    def shift(self, seconds: float) -> None:
        """Follow a clock that was set."""
        self._told += seconds
        self._time += seconds

    def state(self) -> dict[str, Any]:
        """What `restore` takes."""
        return {name: list(value) if isinstance(value, deque) else value for name, value in self._own()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where another of the same detector was."""
        for name, value in self._own():
            setattr(self, name, deque(state[name], value.maxlen) if isinstance(value, deque) else state[name])

    def _own(self) -> list[tuple[str, Any]]:
        given = {"_maxima", "_record", "_period", "length", "_quiet_frames"}
        return [(name, value) for name, value in vars(self).items() if name not in given]

    def _thaw(self, alarmed: npt.NDArray[np.bool_]) -> None:
        """Count down from the last frame with an alarm."""
        if not len(alarmed):
            return
        if alarmed.any():
            self._frozen = self._quiet_frames - int(alarmed[::-1].argmax())
        else:
            self._frozen -= len(alarmed)
        self._frozen = max(0, self._frozen)

    def _end(self, stop: int) -> Block:
        enough = self._known >= self.length / 2
        maximum = self._highest if enough else float("nan")
        quiet = enough and not self._disturbed and maximum <= self._threshold
        if enough:
            self._blocks += 1
            self._above += maximum > self._threshold
            self._recent.append(maximum)
        if quiet:
            self._healthy.append(maximum)
            self._fresh += 1
        self._done = self._known = 0
        self._highest, self._disturbed = -np.inf, False
        return Block(stop, self._time, maximum, quiet, self._compare(self._time) if quiet else None)

    def _compare(self, time: float) -> Drift | None:
        """Drift, if the last blocks have just become enough for a comparison and say so."""
        reference = self._reference()
        if self._fresh < BLOCKS or len(reference) < LEAST:
            return None
        self._fresh = 0
        self._p_value = rank_sum_p_value(np.array(self._healthy), reference)
        if self._p_value >= LEVEL or time - self._told < _DAY:
            return None
        self._told = time
        return self.drift(time)

    def _reference(self) -> Floats:
        """The blocks at calibration that would have raised no alarm, because those that do are left out here too."""
        return self._maxima[self._maxima <= self._threshold]

    def _moved(self) -> tuple[float, float]:
        reference = self._reference()
        if not self._healthy or not len(reference):
            return float("nan"), float("nan")
        healthy = np.array(self._healthy)
        usual = float(np.median(reference))
        ratio = float(np.median(healthy)) / usual if usual > 0 else float("nan")
        return ratio, float((healthy > np.quantile(reference, 0.9)).mean())
