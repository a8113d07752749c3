"""Frames in, decisions out: sensors are judged, frames scored, alarms raised and ended, blocks looked at for drift."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nearfar.edge.monitor.adapt import Adaptation
from nearfar.edge.monitor.decide import Change, Decider, Rule
from nearfar.edge.monitor.detector import Detector
from nearfar.edge.monitor.drift import DriftWatch
from nearfar.edge.monitor.events import Alarm, Cleared, Event
from nearfar.edge.monitor.ring import Ring
from nearfar.edge.monitor.sensors import Hiding, SensorWatch
from nearfar.edge.monitor.telling import Teller

Times = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]
Placed = tuple[int, Event]
"""An event and the row of the frames that it came with."""


class Watched(NamedTuple):
    """What came of k frames.

    Attributes:
        values: float32 (k, F) in physical units; NaN where a value is missing, or its sensor does not count.
        scores: float32 (k,), distances from normal; NaN where nothing is known.
        statistic: float32 (k,), what is compared with the threshold; minus infinity where too little is known.
        alarmed: bool (k,), whether there is an alarm.
        level: float32 (k,), the score over what is alarming at the time.
        events: in the order of rows.
    """

    values: Floats
    scores: Floats
    statistic: Floats
    alarmed: npt.NDArray[np.bool_]
    level: Floats
    events: list[Placed]


class FrameWatch:
    """Follows the frames of one machine.

    Args:
        detector: what scores them.
        threshold: what is alarming.
    """

    def __init__(self, detector: Detector, threshold: float) -> None:
        settings, record = detector.settings, detector.record
        self._detector = detector
        self._period = settings.period
        self._owner = np.asarray(settings.channel_of_feature)
        self._last = float("nan")
        self.sensors = SensorWatch(settings)
        self.decider = Decider(
            Rule(
                threshold,
                record.needed,
                record.out_of,
                record.release,
                record.cool_down,
                record.settle,
                record.calm,
            )
        )
        self.teller = Teller(record.cool_down)
        self.drift = DriftWatch(detector.block_maxima, record, settings.period)
        self.adaptation = _adaptation(detector) if record.adapt else None
        self._ring = Ring(detector.history - 1, settings.features)

    @property
    def last(self) -> float:
        """When the last frame began; NaN before the first."""
        return self._last

    def push(self, times: Times, values: Floats) -> Watched:
        """Take the next frames.

        Args:
            times: float64 (k,), when each begins; where they do not go on by the period, time has leapt.
            values: float32 (k, F) in physical units.
        """
        before = np.concatenate([[self._last], times[:-1]])
        leaps = np.flatnonzero(np.abs(times - before - self._period) > self._period / 2)
        parts = []
        for start, stop in _stretches(leaps, len(times)):
            if start in leaps:
                self._leap(float(times[start] - before[start] - self._period))
            parts.append(self._stretch(times[start:stop], values[start:stop]))
            self._last = float(times[stop - 1])
        return _joined(parts, len(self._owner))

    def state(self) -> dict[str, Any]:
        """What `restore` takes."""
        return {
            "last": self._last,
            "ring": {"times": self._ring.times, "frames": self._ring.frames},
            "sensors": self.sensors.state(),
            "decider": self.decider.state(),
            "teller": self.teller.state(),
            "drift": self.drift.state(),
            "adaptation": self.adaptation.state() if self.adaptation else None,
        }

    def restore(self, state: Mapping[str, Any], *, keep_threshold: bool) -> None:
        """Go on where another of the same detector was.

        Args:
            state: of `state`.
            keep_threshold: stay with the threshold of this one.
        """
        self._last = state["last"]
        self._ring.fill(state["ring"]["times"], state["ring"]["frames"])
        self.sensors.restore(state["sensors"])
        self.decider.restore(state["decider"], keep_threshold=keep_threshold)
        self.teller.restore(state["teller"])
        self.drift.restore(state["drift"])
        if self.adaptation:
            self.adaptation.restore(state["adaptation"])

    def _leap(self, seconds: float) -> None:
        """Time did not go on by the period before the next frame."""
        if seconds > 0:  # nobody knows what was between: what was before says nothing about what is now
            self._ring.frames[:] = np.nan
            return
        for part in (self._ring, self.decider, self.teller, self.drift):
            part.shift(seconds)

    def _stretch(self, times: Times, values: Floats) -> Watched:
        """Frames without a leap, piece by piece: a new piece begins where a sensor is hidden, or the centre may have moved."""
        verdict = self.sensors.judge(times)
        values = np.where(verdict.hidden[:, self._owner], np.float32(np.nan), values)
        ends = range(self.drift.left, len(times), self.drift.length) if self.adaptation else range(0)
        parts = []
        for start, stop in _stretches([*(hiding.row for hiding in verdict.hidings), *ends], len(times)):
            self._hide(hiding for hiding in verdict.hidings if hiding.row == start)
            parts.append(self._piece(times[start:stop], values[start:stop]))
        watched = _joined(parts, len(self._owner))
        faults: list[Placed] = list(verdict.faults)
        return watched._replace(events=sorted([*faults, *watched.events], key=_row))

    def _hide(self, hidings: Iterable[Hiding]) -> None:
        """Take back what channels said since they began to say nothing, from the frame on in which that was."""
        for hiding in hidings:
            rows = self._ring.times > hiding.since - self._period
            self._ring.frames[np.ix_(rows, self._owner == hiding.channel)] = np.nan

    def _piece(self, times: Times, values: Floats) -> Watched:
        ends, count = times + self._period, len(times)
        frames = self._ring.push(times, values)
        if self.adaptation and self.adaptation.moved.any():
            frames = frames - self.adaptation.shift
        scores = self._detector.score(frames)[len(frames) - count :]
        statistic, alarmed, level, changes = self.decider.push(ends, scores)
        before = len(frames) - count
        events: list[Placed] = [
            (change.row, self._event(change, frames[: before + change.row + 1]))
            for change in self.teller.push(ends, changes)
        ]
        events += self._blocks(ends, values, statistic, alarmed)
        return Watched(values, scores, statistic, alarmed, level, sorted(events, key=_row))

    def _event(self, change: Change, frames: Floats) -> Alarm | Cleared:
        """The event of a change at the last of `frames`."""
        if not change.raised:
            return Cleared(change.time, change.since, change.score, change.settled)
        self.drift.raised()
        return Alarm(
            time=change.time,
            score=change.score,
            threshold=self.decider.rule.threshold,
            p_value=self._detector.p_value(change.score),
            since=change.since,
            channels=self._detector.contributions(frames),
        )

    def _blocks(self, ends: Times, values: Floats, statistic: Floats, alarmed: npt.NDArray[np.bool_]) -> list[Placed]:
        """Look at the blocks that these frames end; returns what is to be said of drift."""
        rule = self.decider.rule
        events: list[Placed] = []
        row = 0
        for block in self.drift.push(ends, statistic, alarmed, rule.threshold):
            if block.drift:
                events.append((block.stop - 1, block.drift))
            if self.adaptation:
                self.adaptation.see(values[row : block.stop])
                if self.adaptation.end_block(block.quiet and block.maximum < rule.release * rule.threshold):
                    events.append((block.stop - 1, self.drift.drift(block.time, adapted=True)))
            row = block.stop
        if self.adaptation:
            self.adaptation.see(values[row:])
        return events


def _adaptation(detector: Detector) -> Adaptation:
    channels, record = detector.settings.channels, detector.record
    centre = np.concatenate([channel.centre for channel in channels]).astype(np.float32)
    scale = np.concatenate([channel.scale for channel in channels]).astype(np.float32)
    return Adaptation(centre, scale, record.adapt_limit, record.block)


def _stretches(cuts: Iterable[int], count: int) -> list[tuple[int, int]]:
    """The stretches of `count` rows that begin at the first and at each of `cuts`."""
    edges = [*sorted({0, *map(int, cuts)}), count]
    return [(start, stop) for start, stop in pairwise(edges) if stop > start]


def _row(placed: Placed) -> int:
    return placed[0]


def _joined(parts: list[Watched], width: int) -> Watched:
    if len(parts) == 1:
        return parts[0]
    nothing = np.zeros(0, np.float32)
    parts = [Watched(np.zeros((0, width), np.float32), nothing, nothing, np.zeros(0, np.bool_), nothing, []), *parts]
    starts = np.cumsum([0, *(len(part.scores) for part in parts)]).tolist()
    return Watched(
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.statistic for part in parts]),
        np.concatenate([part.alarmed for part in parts]),
        np.concatenate([part.level for part in parts]),
        [(start + row, event) for start, part in zip(starts, parts, strict=False) for row, event in part.events],
    )
