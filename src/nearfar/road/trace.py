"""What a monitor makes of the stored stream of one machine, frame by frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nearfar.edge.monitor.events import Alarm, Cleared, Event, SensorFault
from nearfar.frontend.settings import SeriesSettings

Times = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Trace:
    """A stream that has been through a monitor.

    Attributes:
        machine: its name, or that of the file.
        settings: channels and frames.
        threshold: what scores had to exceed.
        times: float64 (k,), when each frame begins.
        frames: float32 (k, F) in physical units, NaN where missing.
        scores: float32 (k,), NaN where the monitor could say nothing.
        alarmed: bool (k,), whether scores were alarming.
        labels: bool (k,), where somebody marked a fault; None where nobody did.
        events: all that the monitor told, in order.
    """

    machine: str
    settings: SeriesSettings
    threshold: float
    times: Times
    frames: Floats
    scores: Floats
    alarmed: Flags
    labels: Flags | None
    events: tuple[Event, ...]

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """The alarms that were raised."""
        return tuple(event for event in self.events if isinstance(event, Alarm))

    @property
    def alarm_ends(self) -> tuple[float, ...]:
        """When each of `alarms` was over; the end of the stream for one that never was."""
        ends = [event.time for event in self.events if isinstance(event, Cleared)]
        last = self.end
        return tuple(next((end for end in ends if end >= alarm.time), last) for alarm in self.alarms)

    @property
    def told(self) -> Flags:
        """Bool (k,), from an alarm that was told to its end: one that comes again soon is the same."""
        flags = np.zeros(len(self.times), np.bool_)
        ends = self.times + self.settings.period
        for alarm, end in zip(self.alarms, self.alarm_ends, strict=True):
            flags |= (ends >= alarm.time - 1e-6) & (ends <= end + 1e-6)
        return flags

    @property
    def settled(self) -> list[tuple[float, float]]:
        """From when to when scores stayed above the threshold after an alarm had ended."""
        found = []
        for event in self.events:
            if isinstance(event, Cleared) and event.settled:
                over = (self.times >= event.time) & (~(self.scores > self.threshold) | self.alarmed)
                found.append((event.time, float(self.times[over.argmax()]) if over.any() else self.end))
        return found

    @property
    def end(self) -> float:
        """When the last frame ends."""
        return float(self.times[-1]) + self.settings.period

    def sensors_out(self, channel: str) -> list[tuple[float, float, str]]:
        """When a sensor did not count, from and to, and why."""
        found: list[tuple[float, float, str]] = []
        begun: tuple[float, str] | None = None
        for event in self.events:
            if not isinstance(event, SensorFault) or event.channel != channel:
                continue
            if begun is not None:
                found.append((begun[0], event.time, begun[1]))
            begun = None if event.fault == "ok" else (event.since, event.fault)
        return found if begun is None else [*found, (begun[0], self.end, begun[1])]


def intervals(times: Times, flags: Flags, period: float) -> list[tuple[float, float]]:
    """Runs of True as times from and to."""
    edges = np.flatnonzero(np.diff(flags, prepend=False, append=False)).reshape(-1, 2)
    return [(float(times[start]), float(times[stop - 1]) + period) for start, stop in edges]
