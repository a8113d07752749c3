"""Watching a stream: samples in, alarms out, in memory that does not grow and with a state that survives a restart."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from nearfar.bundle.bundle import Bundle
from nearfar.edge.monitor.clock import ClockWatch
from nearfar.edge.monitor.detector import Detector
from nearfar.edge.monitor.drift import MonitorReport
from nearfar.edge.monitor.events import Alarm, Event
from nearfar.edge.monitor.intake import Intake, Samples, Values, When
from nearfar.edge.monitor.state import INSTEAD, event_of, read_state, write_state
from nearfar.edge.monitor.watch import FrameWatch
from nearfar.errors import DataError, StoreError
from nearfar.frontend.grid import Frames, Grid

QUEUE: Final = 10_000
"""Events that wait to be drained, at most; then the oldest are lost."""

_ROWS = 16_384  # samples taken at a time, which bounds the memory of a large block


class Trace(NamedTuple):
    """What a monitor made of k frames.

    Attributes:
        times: float64 (k,), when each begins.
        values: float32 (k, F) in physical units; NaN where a value is missing, or its sensor does not count.
        scores: float32 (k,), distances from normal; NaN where nothing is known.
        statistic: float32 (k,), what is compared with the threshold; minus infinity where too little is known.
        alarmed: bool (k,), whether there is an alarm.
        level: float32 (k,), the score over what is alarming at the time, which may be more than the threshold after an alarm (`settle`).
        events: all that happened, in its order.
    """

    times: npt.NDArray[np.float64]
    values: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    statistic: npt.NDArray[np.float32]
    alarmed: npt.NDArray[np.bool_]
    level: npt.NDArray[np.float32]
    events: tuple[Event, ...]


class Monitor:
    """Watches one machine. Not for several threads at once.

    Args:
        detector: what scores frames.
        threshold: in place of that of the detector.
        state: the file that the state is kept in; None keeps none.
        state_every: seconds of the stream between two savings of the state.
        digest: of the bundle, which the state belongs to.
    """

    def __init__(
        self,
        detector: Detector,
        *,
        threshold: float | None = None,
        state: str | Path | None = None,
        state_every: float = 60.0,
        digest: str = "",
    ) -> None:
        settings = detector.settings
        self.detector = detector
        self._settings = settings
        self._digest, self._path, self._state_every = digest, None if state is None else Path(state), state_every
        self._intake = Intake(settings)
        self._grid = Grid(settings)
        self._watch = FrameWatch(detector, detector.record.threshold if threshold is None else _level(threshold))
        self._clock = ClockWatch(settings)
        self._events: deque[Event] = deque(maxlen=QUEUE)
        self._lost = 0
        self._score = float("nan")
        self._statistic = -np.inf
        self._saved = float("nan")

    @classmethod
    def open(
        cls,
        bundle: str | Path | Bundle,
        *,
        state: str | Path | None = None,
        threshold: float | None = None,
        state_every: float = 60.0,
        on_bad_state: Literal["refuse", "restart"] = "refuse",
        threads: int = 1,
    ) -> Self:
        """The monitor of a bundle, which goes on where it stopped if there is a state.

        Args:
            bundle: a directory, or a bundle that is already open.
            state: the file to keep the state in. One that is not there yet is made by the first saving.
            threshold: in place of that of the bundle, and of that of the state.
            state_every: seconds of the stream between two savings; `save` saves at any time.
            on_bad_state: what to do about a state that is torn or of another bundle: `refuse` raises an error; `restart` begins anew and
                overwrites it with the first saving.
            threads: CPU threads of the encoder, where there is one.

        Raises:
            BundleError: the bundle is damaged, or is no monitor.
            StoreError: the state cannot be used.
            DataError: the threshold is no number.
        """
        opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
        detector = Detector.open(opened, threads=threads)
        fresh = partial(cls, detector, threshold=threshold, state=state, state_every=state_every, digest=opened.digest)
        monitor = fresh()
        if state is None or not Path(state).exists():
            return monitor
        try:
            monitor._restore(read_state(Path(state), opened.digest), keep_threshold=threshold is not None)
        except StoreError:
            if on_bad_state == "refuse":
                raise
            return fresh()
        return monitor

    @property
    def score(self) -> float:
        """Distance from normal at the last frame; NaN where nothing is known."""
        return self._score

    @property
    def statistic(self) -> float:
        """What is compared with the threshold: the `needed`-th largest of the last `out_of` scores."""
        return self._statistic

    @property
    def threshold(self) -> float:
        """Scores above it are alarming. May be set at any time."""
        return self._watch.decider.rule.threshold

    @threshold.setter
    def threshold(self, value: float) -> None:
        decider = self._watch.decider
        decider.rule = replace(decider.rule, threshold=_level(value))

    @property
    def alarmed(self) -> bool:
        """Whether there is an alarm now."""
        return self._watch.decider.alarmed

    @property
    def time(self) -> float:
        """End of the last frame that was scored, in the seconds of the stream; NaN before the first."""
        return self._watch.last + self._settings.period

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels, in the order in which `update` takes their values."""
        return tuple(channel.name for channel in self._settings.channels)

    @property
    def sensors_out(self) -> dict[str, str]:
        """Channels that do not count now, and why: `stuck` or `unplugged`."""
        return self._watch.sensors.out

    @property
    def lost(self) -> int:
        """Events that were never drained and had to make room for later ones."""
        return self._lost

    def update(self, values: Values, times: When = None, channels: Sequence[str | int] | None = None) -> Alarm | None:
        """Take samples.

        Args:
            values: one sample of every channel (c,), a block of them (n, c), or a mapping of channel names to a value or to values (n,), so
                that channels of other rates can come on their own. NaN or None: missing.
            times: of the samples: seconds since 1970-01-01 UTC (a number or (n,) numbers), datetimes (without a zone: UTC), or datetime64.
                None counts on from the last sample of these channels, by the period, or by the rate of a fast channel.
            channels: names or numbers of the channels that `values` are of; by default all, in their order.

        Returns:
            The last alarm that these samples raised, or None. It is in `drain` too, with everything else that happened.

        Raises:
            DataError: shapes, names or times do not fit; nothing was taken then.
            StoreError: the state could not be saved. The samples were taken.
        """
        alarm = None
        for trace in self._traces(values, times, channels):
            for event in trace.events:
                alarm = event if isinstance(event, Alarm) else alarm
        return alarm

    def trace(self, values: Values, times: When = None, channels: Sequence[str | int] | None = None) -> Trace:
        """The same as `update`, for those who want to see every frame: replays and measurements."""
        nothing = self._advance(Frames(np.zeros(0), np.zeros((0, self._settings.features), np.float32)))
        return _joined([nothing, *self._traces(values, times, channels)])

    def flush(self) -> Trace:
        """Score the frame that is still open: at the end of a stream. What still comes for it is late."""
        return self._advance(self._grid.flush())

    def drain(self) -> list[Event]:
        """All events since the last drain, in the order in which they happened."""
        events = list(self._events)
        self._events.clear()
        return events

    def report(self) -> MonitorReport:
        """What became of the promised rate of false alarms so far, and whether scores have drifted."""
        return self._watch.drift.report()

    def save(self) -> None:
        """Save the state now; it is on the medium when this returns. Events that were not drained are in it.

        Raises:
            DataError: the monitor was opened without a file for its state.
            StoreError: it cannot be written.
        """
        if self._path is None:
            raise DataError("this monitor keeps no state: open it with state=PATH")
        write_state(self._path, self._digest, self._state())
        self._saved = self._watch.last

    def _traces(self, values: Values, times: When, channels: Sequence[str | int] | None) -> Iterator[Trace]:
        for samples in self._intake.take(values, times, channels):
            for start in range(0, len(samples.times), _ROWS):
                rows = slice(start, start + _ROWS)
                yield self._take(Samples(samples.times[rows], samples.values[rows], samples.channels))
        self._save_in_time()

    def _take(self, samples: Samples) -> Trace:
        self._watch.sensors.samples.observe(samples.times, samples.values, samples.channels)
        return self._advance(self._grid.push(samples.times, samples.values, samples.channels.tolist()))

    def _advance(self, frames: Frames) -> Trace:
        watched = self._watch.push(frames.times, frames.values)
        notices = list(self._grid.notices)
        self._grid.notices.clear()
        placed = [*self._clock.take(notices, frames.times), *watched.events]
        events = tuple(event for _, event in sorted(placed, key=lambda each: each[0]))
        if len(frames.times):
            self._score, self._statistic = float(watched.scores[-1]), float(watched.statistic[-1])
        self._lost += max(0, len(self._events) + len(events) - QUEUE)
        self._events.extend(events)
        return Trace(
            frames.times, watched.values, watched.scores, watched.statistic, watched.alarmed, watched.level, events
        )

    def _save_in_time(self) -> None:
        """Save when it is time, and at the first frame, so that a place that cannot be written to is noticed at once."""
        last = self._watch.last
        if self._path is not None and not np.isnan(last) and not 0 <= last - self._saved < self._state_every:
            self.save()

    def _state(self) -> dict[str, Any]:
        return {
            "intake": self._intake.state(),
            "grid": self._grid.state(),
            "watch": self._watch.state(),
            "clock": self._clock.state(),
            "events": list(self._events),
            "lost": self._lost,
            "score": self._score,
            "statistic": self._statistic,
        }

    def _restore(self, state: Mapping[str, Any], *, keep_threshold: bool) -> None:
        try:
            self._intake.restore(state["intake"])
            self._grid = Grid.restore(self._settings, state["grid"])
            self._watch.restore(state["watch"], keep_threshold=keep_threshold)
            self._clock.restore(state["clock"])
            self._events.extend(event_of(record) for record in state["events"])
            self._lost, self._score, self._statistic = state["lost"], state["score"], state["statistic"]
        except (KeyError, TypeError, ValueError, DataError) as error:
            raise StoreError(f"{self._path}: does not fit this nearfar ({error!r}): {INSTEAD}") from error
        self._saved = self._watch.last


def _level(threshold: float) -> float:
    level = float(threshold)
    if not np.isfinite(level) or level < 0:
        raise DataError(f"threshold is {threshold}: give a number, 0 or more")
    return level


def _joined(traces: list[Trace]) -> Trace:
    return Trace(
        np.concatenate([trace.times for trace in traces]),
        np.concatenate([trace.values for trace in traces]),
        np.concatenate([trace.scores for trace in traces]),
        np.concatenate([trace.statistic for trace in traces]),
        np.concatenate([trace.alarmed for trace in traces]),
        np.concatenate([trace.level for trace in traces]),
        tuple(event for trace in traces for event in trace.events),
    )
