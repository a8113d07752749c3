"""Samples as they come in: blocks of rows, from a thread that waits for them."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

Times = npt.NDArray[np.float64]
Values = npt.NDArray[np.float32]

_WAITING = 8  # blocks between the two threads; a source that can wait does


class Arrival(NamedTuple):
    """Samples that came together.

    Attributes:
        times: float64 (n,), seconds since 1970-01-01 UTC, in the order they came; None where nobody said.
        values: float32 (n, c), NaN where a value is missing.
        channels: the names of the c columns.
    """

    times: Times | None
    values: Values
    channels: tuple[str, ...]


class Feed(Protocol):
    """Where a monitor's samples come from."""

    @property
    def ended(self) -> bool:
        """Whether nothing will come any more."""
        ...

    @property
    def problem(self) -> str:
        """What is wrong with the source now, in words; empty where nothing is."""
        ...

    @property
    def lost(self) -> int:
        """How many messages came faster than they could be looked at."""
        ...

    def next(self, wait: float) -> Arrival | None:
        """The next samples, or None if none come within `wait` seconds.

        Raises:
            NearfarError: the source cannot go on.
        """
        ...

    def close(self) -> None:
        """Let go of the source."""
        ...


class ThreadFeed:
    """What an iterator gives, taken in a thread, so that whoever asks need not wait with it."""

    problem = ""
    lost = 0

    def __init__(self, arrivals: Iterable[Arrival]) -> None:
        self._queue: queue.Queue[Arrival | BaseException | None] = queue.Queue(_WAITING)
        self._ended = self._closed = False
        self._thread = threading.Thread(target=self._work, args=(iter(arrivals),), name="samples", daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        """Whether the iterator is at its end and all of it was handed over."""
        return self._ended

    def next(self, wait: float) -> Arrival | None:
        """See `Feed`."""
        if self._ended:
            return None
        try:
            found = self._queue.get(timeout=wait)
        except queue.Empty:
            return None
        if isinstance(found, BaseException):
            self._ended = True
            raise found
        self._ended = found is None
        return found

    def close(self) -> None:
        """Take no more; the thread ends with the next arrival, or with the process."""
        self._closed = True

    def _work(self, arrivals: Iterator[Arrival]) -> None:
        last: BaseException | None = None
        try:
            for arrival in arrivals:
                if not self._put(arrival):
                    return
        except Exception as error:  # it belongs to whoever asks
            last = error
        self._put(last)

    def _put(self, item: Arrival | BaseException | None) -> bool:
        while not self._closed:
            try:
                self._queue.put(item, timeout=0.5)
            except queue.Full:
                continue
            return True
        return False


def paced(arrivals: Iterable[Arrival], speed: float, step: float = 0.1) -> Iterator[Arrival]:
    """Give stored samples as slowly as they were taken.

    Args:
        arrivals: with times.
        speed: 1 for as it was, 60 for a minute a second.
        step: seconds between two deliveries.
    """
    begun, first = time.monotonic(), None
    for arrival in arrivals:
        if arrival.times is None or not len(arrival.times):
            yield arrival
            continue
        first = arrival.times[0] if first is None else first
        number = np.floor((arrival.times - first) / (speed * step)).astype(np.int64)
        cuts = [0, *(np.flatnonzero(np.diff(number)) + 1).tolist(), len(number)]
        for start, stop in pairwise(cuts):
            due = begun + (arrival.times[stop - 1] - first) / speed
            time.sleep(max(0.0, due - time.monotonic()))
            yield Arrival(arrival.times[start:stop], arrival.values[start:stop], arrival.channels)
