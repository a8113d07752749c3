"""A monitor on a stream that does not end: samples in, events out, until somebody says stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from nearfar.connect.arrivals import Arrival, Feed, Times
from nearfar.connect.records import record_of, silence_record
from nearfar.connect.sinks import Sink
from nearfar.edge.monitor.events import Event
from nearfar.edge.monitor.monitor import Monitor, Trace

_LOOK = 0.25  # seconds between two looks at whether to stop, while nothing comes


class Tally(NamedTuple):
    """What went through.

    Attributes:
        samples: rows that were taken.
        alarms: alarms that were told.
    """

    samples: int
    alarms: int


class ArrivalClock:
    """Times of samples that have none: when they came, or counted on from there."""

    def __init__(self, every: float | None, begin: float | None = None) -> None:
        """Choose one of the two.

        Args:
            every: seconds from one row to the next; None for the time at which each came.
            begin: of the first row; now, where nothing is said.
        """
        self._every = every
        self._next = time.time() if begin is None else begin

    def times(self, count: int) -> Times:
        """Of the next `count` rows."""
        if self._every is None:
            return np.full(count, time.time())
        found = self._next + self._every * np.arange(count, dtype=np.float64)
        self._next += self._every * count
        return found


def watch(
    monitor: Monitor,
    feed: Feed,
    sinks: Sequence[Sink],
    *,
    name: str,
    clock: ArrivalClock,
    stop: Callable[[], bool],
    look: Callable[[Trace | None, list[Event], int], None],
    silence: float | None = None,
    skip_known: bool = False,
    flush: bool = False,
) -> Tally:
    """Take what comes until it ends or `stop` says so.

    Args:
        monitor: at the beginning, or as it was restored.
        feed: where samples come from.
        sinks: who is told of events.
        name: of the monitor.
        clock: of samples without times.
        stop: asked between two blocks.
        look: shown frames, events and the number of samples of every block, and now and then nothing while nothing comes.
        silence: seconds without samples that are told; None to wait quietly.
        skip_known: pass over samples before the last frame that the monitor has scored, as when a file is read again.
        flush: score the last, open frame when all has come.

    Raises:
        NearfarError: the feed or the state cannot go on.
    """
    samples = alarms = 0
    heard, quiet = time.monotonic(), False

    def tell(events: Iterable[Event]) -> list[Event]:
        nonlocal alarms
        told = list(events)
        for event in told:
            alarms += event.kind == "alarm"
            for sink in sinks:
                sink.send(record_of(event, name))
        return told

    look(None, tell(monitor.drain()), 0)  # what a state has kept
    while not stop() and not feed.ended:
        arrival = feed.next(_LOOK)
        if arrival is None:
            length = time.monotonic() - heard
            if silence is not None and length >= silence and not quiet and not feed.ended:
                quiet = True
                for sink in sinks:
                    sink.send(silence_record(name, length, time.time()))
            look(None, [], 0)
            continue
        heard, quiet = time.monotonic(), False
        if skip_known:
            arrival = _after(arrival, monitor.time)
        if not len(arrival.values):
            continue
        times = clock.times(len(arrival.values)) if arrival.times is None else arrival.times
        samples += len(arrival.values)
        trace = monitor.trace(arrival.values, times, arrival.channels)
        look(trace, tell(monitor.drain()), len(arrival.values))
    if flush and feed.ended:
        trace = monitor.flush()
        look(trace, tell(monitor.drain()), 0)
    return Tally(samples, alarms)


def _after(arrival: Arrival, known: float) -> Arrival:
    """The samples from `known` on; all where nothing is known."""
    if arrival.times is None or np.isnan(known) or not len(arrival.times) or arrival.times.min() >= known:
        return arrival
    new = arrival.times >= known
    return Arrival(arrival.times[new], arrival.values[new], arrival.channels)
