"""A fit in several processes: this one starts them, listens to them, and lets none outlive the others or itself."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import Empty, Queue
from types import FrameType
from typing import IO, Any

from nearfar.errors import CollapseWarning, DataError, InterruptedRunError, RunError
from nearfar.learn.trainer.fit import threads_each
from nearfar.learn.trainer.strategy import Rank
from nearfar.progress import Stages, Tick, silent
from nearfar.recipe import Recipe, dump_recipe

_PROGRAM = "nearfar.learn.rank"
_GRACE = 10.0
"""Seconds that the others have to end by themselves once one has failed: a rank that is waited for in vain cannot."""

_OWN_ERRORS: dict[str, type[Exception]] = {
    error.__name__: error for error in (InterruptedRunError, DataError, RunError, OSError)
}
"""Errors that say all there is to say, so it does not matter which process they come from."""

_LOOPBACK = {"linux": "lo", "darwin": "lo0"}


@dataclass(frozen=True)
class Failure:
    """How a process ended that should not have.

    Attributes:
        rank: its number.
        kind: which of our own errors it was, or empty.
        message: what it said, or what killed it.
    """

    rank: int
    kind: str
    message: str

    @classmethod
    def of(cls, rank: int, error: BaseException) -> Failure:
        """That of an error."""
        kind = next((name for name, own in _OWN_ERRORS.items() if isinstance(error, own)), "")
        return cls(rank, kind, str(error) if kind else f"{type(error).__name__}: {error}")


def fit_in_processes(recipe: Recipe, directory: Path, *, resume: bool = False, stages: Stages = silent) -> None:
    """Do what `fit` does in `train.devices` processes, each with its share of every batch.

    The processes find each other by a file and talk over the loopback device (or NCCL); the first one writes the
    checkpoints. What else they print goes to `logs/rank-N.txt`.

    Args:
        recipe: what to do.
        directory: the run directory, with its data prepared.
        resume: go on from `checkpoints/last.ckpt` where there is one.
        stages: told how far the first process is.

    Raises:
        InterruptedRunError: after Ctrl-C or SIGTERM; all processes finished the same step, and the state is saved.
        RunError, DataError, OSError: as `fit`; and where a process fails or dies, by its number.
    """
    world = recipe.train.devices
    (directory / "logs").mkdir(exist_ok=True)
    processes: list[subprocess.Popen[bytes]] = []
    asked = threading.Event()
    with (
        tempfile.TemporaryDirectory(prefix="nearfar-") as folder,
        _signals_passed_on(processes, asked),
        _all_ended(processes),
    ):
        for number in range(world):
            rank = Rank(number, world, f"file://{folder}/rendezvous")
            processes.append(_start(rank, recipe, directory, resume))
        failures = _listen(processes, stages)
    if not failures:
        return
    # Where one is missing, the others fail too; what says most comes first, and otherwise the first to fail.
    cause = min(failures, key=lambda failure: (not failure.kind, not failure.message.startswith("killed")))
    if cause.kind:
        raise _OWN_ERRORS[cause.kind](cause.message)
    if asked.is_set():
        raise KeyboardInterrupt
    raise RunError(
        f"process {cause.rank} of {world} (train.devices) failed: {cause.message}. What it wrote is in "
        f"{_log(directory, cause.rank)}. Go on with: nearfar train --resume {directory}"
    )


def _log(directory: Path, rank: int) -> Path:
    return directory / "logs" / f"rank-{rank}.txt"


def _start(rank: Rank, recipe: Recipe, directory: Path, resume: bool) -> subprocess.Popen[bytes]:
    """Start a process. It has a pipe from us that ends when we do, however that happens."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads_each(recipe.train))}
    if sys.platform in _LOOPBACK:
        environment.setdefault("GLOO_SOCKET_IFNAME", _LOOPBACK[sys.platform])
    with _log(directory, rank.number).open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", _PROGRAM],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,  # the terminal's Ctrl-C is for us
        )
    task = {"recipe": dump_recipe(recipe), "directory": str(directory), "resume": resume, "rank": asdict(rank)}
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it has died already, and will be heard of
        process.stdin.write(json.dumps(task).encode() + b"\n")
        process.stdin.flush()
    return process


@contextlib.contextmanager
def _all_ended(processes: Sequence[subprocess.Popen[bytes]]) -> Iterator[None]:
    """Afterwards no process is left."""
    try:
        yield
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


@contextlib.contextmanager
def _signals_passed_on(processes: Sequence[subprocess.Popen[bytes]], asked: threading.Event) -> Iterator[None]:
    """Ctrl-C and SIGTERM ask the first process to stop, which tells the others; a second time stops at once.

    Begins before the processes do: they would inherit that a signal is ignored, but not that it is handled.
    """

    def on_signal(number: int, frame: FrameType | None) -> None:
        if asked.is_set() or not processes:
            raise KeyboardInterrupt
        asked.set()
        processes[0].send_signal(signal.SIGINT)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _listen(processes: Sequence[subprocess.Popen[bytes]], stages: Stages) -> list[Failure]:
    """Pass on progress until all have ended, or until the grace after a failure is over; all failures in order."""
    heard: Queue[tuple[int, dict[str, Any] | None]] = Queue()
    for rank, process in enumerate(processes):
        assert process.stdout is not None
        threading.Thread(target=_read, args=(rank, process.stdout, heard), daemon=True).start()
    running, failures, ticks = set(range(len(processes))), list[Failure](), dict[int, Tick]()
    deadline: float | None = None
    while running:
        try:
            rank, message = heard.get(timeout=None if deadline is None else max(0.0, deadline - time.monotonic()))
        except Empty:
            break
        if message is not None and "failure" in message:
            failures.append(Failure(**message["failure"]))
        elif message is not None:
            _pass_on(message, stages, ticks)
        else:
            running.discard(rank)
            code = processes[rank].wait()
            if code and all(failure.rank != rank for failure in failures):
                failures.append(Failure(rank, "", _how_it_died(code)))
        if failures and deadline is None:
            deadline = time.monotonic() + _GRACE
    return failures


def _read(rank: int, pipe: IO[bytes], heard: Queue[tuple[int, dict[str, Any] | None]]) -> None:
    with contextlib.suppress(ValueError):  # closed, or cut off in mid-line
        for line in pipe:
            heard.put((rank, json.loads(line)))
    heard.put((rank, None))


def _pass_on(message: dict[str, Any], stages: Stages, ticks: dict[int, Tick]) -> None:
    """Progress of the first process, by the number that it gives a stage; and what it warns of."""
    if "warning" in message:
        warnings.warn(message["warning"], CollapseWarning, stacklevel=2)
    elif "stage" in message:
        ticks[message["number"]] = stages(message["stage"], message["total"])
    else:
        ticks[message["number"]](message["count"], message["note"])


def _how_it_died(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}"
    why = " (the system does that when memory runs out)" if -code == signal.SIGKILL else ""
    return f"killed by {signal.Signals(-code).name}{why}"
