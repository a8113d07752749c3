"""Query latency of several systems, each in a process of its own, taking turns so that a noisy machine is noisy for all."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection

import numpy as np
import numpy.typing as npt

from nearfar.evaluate import Interval

Seconds = npt.NDArray[np.float64]

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
_BLOCK = 10
_WARM_UP = 20


def interleaved(
    systems: Mapping[str, Callable[[], Callable[[str], object]]], queries: Sequence[str], *, rounds: int = 3
) -> dict[str, Seconds]:
    """Time every query on every system, warm, on one thread.

    Each system gets a process of its own with one thread to a library. They answer the same ten queries, one system after
    the other, then the next ten; who begins changes with every turn.

    Args:
        systems: name -> what opens the system in its process and returns its search; has to be picklable.
        queries: what to ask.
        rounds: how often each query is asked.

    Returns:
        Name -> seconds (q,) of each query, the median of its rounds.
    """
    taken: dict[str, list[list[float]]] = {name: [] for name in systems}
    with _workers(systems) as connections:
        names = list(systems)
        for _ in range(rounds):
            seconds: dict[str, list[float]] = {name: [] for name in names}
            for start in range(0, len(queries), _BLOCK):
                for name in names:
                    connections[name].send(queries[start : start + _BLOCK])
                    seconds[name] += connections[name].recv()
                names = names[1:] + names[:1]
            for name in names:
                taken[name].append(seconds[name])
    return {name: np.median(np.array(times), axis=0) for name, times in taken.items()}


def ratio_of_medians(above: Seconds, below: Seconds, *, resamples: int = 2000, seed: int = 0) -> Interval:
    """median(above) / median(below) with its 95 % interval from a paired bootstrap over the queries."""
    drawn = np.random.default_rng(seed).integers(len(above), size=(resamples, len(above)))
    ratios = np.median(above[drawn], axis=1) / np.median(below[drawn], axis=1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return Interval(float(np.median(above) / np.median(below)), float(low), float(high))


@contextmanager
def _workers(systems: Mapping[str, Callable[[], Callable[[str], object]]]) -> Iterator[dict[str, Connection]]:
    context = multiprocessing.get_context("spawn")
    connections: dict[str, Connection] = {}
    processes = []
    try:
        with one_thread():
            for name, make in systems.items():
                connections[name], theirs = context.Pipe()
                process = context.Process(target=_serve, args=(make, theirs), daemon=True)
                process.start()
                theirs.close()
                processes.append(process)
        for connection in connections.values():
            connection.recv()
        yield connections
    finally:
        for connection in connections.values():
            connection.close()
        for process in processes:
            process.join(10)
            if process.is_alive():
                process.terminate()


def _serve(make: Callable[[], Callable[[str], object]], connection: Connection) -> None:
    """Open a system, then time the queries that come through the pipe until its other end is closed."""
    search = make()
    for number in range(_WARM_UP):
        search(f"warm up query number {number}")
    connection.send("ready")
    while True:
        try:
            queries = connection.recv()
        except EOFError:
            return
        seconds = []
        for query in queries:
            started = time.perf_counter()
            search(query)
            seconds.append(time.perf_counter() - started)
        connection.send(seconds)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let processes that start now use one thread a library."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
