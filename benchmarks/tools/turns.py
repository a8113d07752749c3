"""Time functions in turns, in one process, so that a noisy machine is noisy for all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch

from tools.latency import Seconds

_MOST = 25

Stopwatch = Callable[[Callable[[], object]], float]
"""Calls a function and returns the seconds it took."""


def wall_seconds(run: Callable[[], object]) -> float:
    """Time of one call by the clock on the wall."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def stopwatch_of(device: torch.device) -> Stopwatch:
    """Times what the device does, where that is not what the CPU does."""
    if device.type != "cuda":
        return wall_seconds

    def seconds(run: Callable[[], object]) -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / 1e3

    return seconds


def in_turns(
    runs: Mapping[str, Callable[[], object]],
    *,
    seconds: float,
    fewest: int = 3,
    turn_seconds: float | None = None,
    stopwatch: Stopwatch = wall_seconds,
) -> dict[str, Seconds]:
    """Call every function once, then once more, and so on; who begins changes with every turn.

    Args:
        runs: name -> what is timed.
        seconds: about how long to go on, at most 25 turns; 0 for a single one.
        fewest: turns, however long they take.
        turn_seconds: what a turn takes, if all have been called before; by default an unmeasured turn warms up and tells.
        stopwatch: times one call.

    Returns:
        Name -> seconds (turns,).
    """
    names = list(runs)
    if turn_seconds is None:
        turn_seconds = sum(stopwatch(runs[name]) for name in names)
    turns = max(fewest, min(_MOST, round(seconds / turn_seconds))) if seconds else 1
    taken: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(turns):
        for name in names:
            taken[name].append(stopwatch(runs[name]))
        names = names[1:] + names[:1]
    return {name: np.array(found) for name, found in taken.items()}


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch use so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
