"""Parsing many Python files on several cores, in order and with bounded memory.

The workers are plain child processes that run `docstring_parser.py` by its path. Unlike `multiprocessing` with spawn or
forkserver they never import the caller's `__main__`, so this also works from a REPL, a notebook and a script without a
guard; unlike fork they are safe beside running threads.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path

from nearfar.sources import docstring_parser
from nearfar.sources.docstring_parser import Docstring, read_docstrings

Answer = list[Docstring] | str

_CHUNK = 16  # files a message: enough to hide the round trip, few enough that the window stays small
_MAX_WORKERS = 4


def parse_files(paths: Iterable[str], workers: int | None = None) -> Iterator[tuple[str, Answer]]:
    """Yield every path with its docstrings or the reason why it has none, in the order given.

    At most a few chunks of files are under way at once, whatever the number of paths. Where no process can be started the
    files are parsed in this one.

    Args:
        paths: Python files.
        workers: how many processes; by default one a core, at most 4. 0 means none: parse here.
    """
    remaining = iter(paths)
    team = _start(min(_MAX_WORKERS, os.cpu_count() or 1) if workers is None else workers)
    if not team:
        for path in remaining:
            yield path, read_docstrings(path)
        return

    idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
    for worker in team:
        idle.put(worker)

    def parse(chunk: list[str]) -> list[Answer]:
        worker = idle.get()
        try:
            return worker.parse(chunk)
        finally:
            idle.put(worker)

    # One thread a worker, which only waits for it: question and answer take turns, so no pipe can fill up on both sides.
    threads = ThreadPoolExecutor(len(team), thread_name_prefix="docstrings")
    window: deque[tuple[list[str], Future[list[Answer]]]] = deque()
    try:
        while True:
            while len(window) < 3 * len(team) and (chunk := list(islice(remaining, _CHUNK))):
                window.append((chunk, threads.submit(parse, chunk)))
            if not window:
                return
            chunk, future = window.popleft()
            yield from zip(chunk, future.result(), strict=True)
    finally:  # also on Ctrl-C, and when the caller stops half way
        for worker in team:
            worker.stop()
        threads.shutdown(cancel_futures=True)
        for worker in team:  # one that a thread was just starting anew
            worker.stop()


def _start(count: int) -> list[_Worker]:
    """Start up to `count` workers; none where this Python cannot start another one of itself."""
    script = Path(docstring_parser.__file__)
    if count < 1 or not sys.executable or getattr(sys, "frozen", False) or not script.is_file():
        return []
    # Isolated and without site-packages: it starts in milliseconds and sees nothing of the caller's environment, so what
    # that says about file names has to be handed on.
    command = [sys.executable, "-I", "-S", "-X", f"utf8={sys.flags.utf8_mode}", os.fspath(script)]
    team: list[_Worker] = []
    try:
        for _ in range(count):
            team.append(_Worker(command))
    except OSError:  # no processes or no file handles left: those that did start will do
        pass
    except BaseException:
        for worker in team:
            worker.stop()
        raise
    return team


class _Worker:
    """One child process that is asked and answers in turn; started anew when a file has crashed it."""

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._stopped = False
        self._process = self._launch()

    def _launch(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # an interrupt while it starts up must not print a traceback
            encoding="ascii",  # JSON escapes everything else
        )
        assert process.stdout is not None
        try:
            ready = process.stdout.readline() == "ready\n"
        except BaseException:
            _end(process)
            raise
        if not ready:
            _end(process)
            raise OSError("the worker process ended while starting")
        return process

    def parse(self, paths: list[str]) -> list[Answer]:
        """Return an answer a path; a file that crashes the parser costs only its own answer."""
        answers = self._ask(paths)
        if answers is not None:
            return answers
        if len(paths) > 1:
            return [answer for path in paths for answer in self.parse([path])]
        return ["the parser process ended over it"]

    def _ask(self, paths: list[str]) -> list[Answer] | None:
        """Return the answers, or None if the process died over the question."""
        try:
            if self._process.poll() is not None and not self._stopped:
                self._process = self._launch()
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.write(json.dumps(paths) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except (OSError, ValueError):  # a broken pipe; a file closed by stop()
            line = ""
        if not line.endswith("\n"):
            _end(self._process)
            return None
        return [a if isinstance(a, str) else [(n, i, t) for n, i, t in a] for a in json.loads(line)]

    def stop(self) -> None:
        """End the process now; questions under way get no answer."""
        self._stopped = True
        _end(self._process)


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError, ValueError):
                pipe.close()
