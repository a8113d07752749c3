"""A child process that is forked, says lines, and can be killed."""

from __future__ import annotations

import json
import os
import select
import signal
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress


class Child:
    """A forked process with a pipe from it and one to it."""

    def __init__(self, run: Callable[[int, int], None]) -> None:
        """Fork, and let the child call `run` with the end it reads and the end it writes."""
        reads, told = os.pipe()
        heard, writes = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(told)
            os.close(heard)
            code = 1
            try:
                run(reads, writes)
                code = 0
            except BaseException:
                os.write(writes, b"error " + json.dumps(traceback.format_exc()[-800:]).encode() + b"\n")
            finally:
                os._exit(code)
        os.close(reads)
        os.close(writes)
        self._told, self._heard, self._rest = told, heard, b""
        self._lines: deque[bytes] = deque()

    def tell(self, line: str) -> None:
        """Send one line; where it has died, what it said last tells why."""
        with suppress(BrokenPipeError):
            os.write(self._told, line.encode() + b"\n")

    def lines(self, seconds: float | None = None) -> Iterator[tuple[str, str]]:
        """What it says, as (word, rest), until it ends; a line that a kill has cut off is left out."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while True:
            while self._lines:
                word, _, rest = self._lines.popleft().decode().partition(" ")
                yield word, rest
            wait = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not select.select([self._heard], [], [], wait)[0]:
                return
            if not (part := os.read(self._heard, 1 << 16)):
                return
            *whole, self._rest = (self._rest + part).split(b"\n")
            self._lines.extend(whole)

    def end(self) -> None:
        """Kill it, if it still runs, and wait for its end."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def close(self) -> None:
        """Let go of the pipes."""
        os.close(self._told)
        os.close(self._heard)
