"""A process that is killed at each of its writes, whole or half done.

`killed_at_writes` starts a module that tells a `Story` and hands it to `play`. That one forks a child for each write: it has everything
imported, opens what there is, is armed, and does one thing.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]


class Outcome(NamedTuple):
    """What became of one child.

    Attributes:
        half: whether the last write was half done.
        calls: how many writes it was let do.
        killed: whether it was killed, or had ended by then.
        said: `done` where it acknowledged what it did.
        state: what `Story.look` found afterwards.
    """

    half: int
    calls: int
    killed: bool
    said: str | None
    state: Any


@dataclass(frozen=True)
class Story:
    """What the children do in a folder, to what lies at `folder / "v"`.

    Attributes:
        make: makes what is there before.
        create: begins one anew, and gives what can be closed.
        open: opens it.
        doing: name -> what is done to what was opened.
        look: what is there afterwards, as JSON can hold it.
    """

    make: Callable[[Path], None]
    create: Callable[[Path], Any]
    open: Callable[[Path], Any]
    doing: Mapping[str, Callable[[Any], object]]
    look: Callable[[Path], object]


def killed_at_writes(
    killing: Path, module: str, work: Path, what: str, half: str, every: int, *more: str
) -> list[Outcome]:
    """Run the module of a story, with arguments as `play` takes them, and `more` that it reads itself."""
    environment = {**os.environ, "LD_PRELOAD": str(killing), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", module, str(work), what, half, str(every), *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-2000:]
    outcomes = [Outcome(*json.loads(line)) for line in done.stdout.splitlines()]
    for outcome in outcomes:
        assert isinstance(outcome.state, list), outcome  # an error would be a text
    return outcomes


def play(story: Story) -> None:
    """Print an `Outcome` as a line of JSON for each write, by the arguments of the process: work, what, halves, every."""
    work, what, every = Path(sys.argv[1]), sys.argv[2], int(sys.argv[4])
    made, folder, said = work / "made", work / "now", work / "said"

    def act() -> str:
        if what == "create":
            _arm(calls, half)
            story.create(folder).close()
            return "done"
        opened = story.open(folder)
        _arm(calls, half)
        story.doing[what](opened)
        said.touch()  # acknowledged; it may still be killed while it closes
        opened.close()
        return "done"

    made.mkdir()
    assert _child(lambda: story.make(made))[0] is False
    for half in map(int, sys.argv[3]):
        calls, killed = 0, True
        while killed:
            shutil.rmtree(folder, ignore_errors=True)
            if what == "create":
                folder.mkdir()
            else:
                shutil.copytree(made, folder)
            said.unlink(missing_ok=True)
            killed, answer = _child(act)
            if killed and what == "create" and not (folder / "v").exists():
                again, answer = _child(lambda: story.create(folder).close() or "done")
                assert not again, answer
                assert answer == "done", answer
            answer = answer or ("done" if said.exists() else None)
            print(json.dumps(Outcome(half, calls, killed, answer, _child(lambda: story.look(folder))[1])), flush=True)
            calls += every


def _arm(calls: int, half: int) -> None:
    """Be killed after so many further writes; of less than none never."""
    ctypes.CDLL(os.environ["LD_PRELOAD"]).arm(ctypes.c_long(calls), half)


def _child(do: Callable[[], object]) -> tuple[bool, Any]:
    """Whether a fork that does something was killed, and what it returned, by a pipe; None where it had not by then."""
    reading, writing = os.pipe()
    number = os.fork()
    if not number:
        code = 1
        try:
            os.close(reading)
            said = json.dumps(do()).encode()
            _arm(-1, 0)
            os.write(writing, said)
            code = 0
        except BaseException as error:
            _arm(-1, 0)
            os.write(writing, json.dumps(f"{type(error).__name__}: {error}").encode())
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        said = file.read()
    _, status = os.waitpid(number, 0)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    assert killed or status == 0, said
    return killed, json.loads(said) if said else None
