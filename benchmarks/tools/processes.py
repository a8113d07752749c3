"""What a whole fresh process costs: time until it ends, peak memory, and the bytes installed for what it imports."""

from __future__ import annotations

import importlib.metadata
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.latency import one_thread

# Memory is the peak that the system reports of a child that has ended. What a process held before it became another
# program counts as well, so the child is started from an interpreter with nothing in it, not from this large one.
_LAUNCHER = """
import json, os, sys, time
silent = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
started = time.perf_counter()
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=silent)
_, status, usage = os.wait4(child, 0)
print(json.dumps([time.perf_counter() - started, usage.ru_maxrss, os.waitstatus_to_exitcode(status)]))
"""

# Runs a program in this interpreter and writes down which modules it left behind, and where they came from.
_WITNESS = """
import atexit, json, runpy, sys
target, program, *sys.argv[1:] = sys.argv[1:]
sys.argv[0] = program
def imported():
    tops = {name: module for name, module in sys.modules.items() if "." not in name and name != "__main__"}
    places = {name: getattr(module, "__file__", None) or "" for name, module in tops.items()}
    with open(target, "w") as file:
        json.dump(places, file)
atexit.register(imported)
runpy.run_path(program, run_name="__main__") if program.endswith(".py") else runpy.run_module(program, run_name="__main__", alter_sys=True)
"""


@dataclass(frozen=True)
class Cost:
    """Of one process: wall time from its start to its end in seconds, and its largest resident size in bytes."""

    seconds: float
    bytes: int


def costs(commands: Mapping[str, Sequence[str]], *, repeats: int) -> dict[str, Cost]:
    """Run commands in turns, each `repeats` times after one unmeasured run; medians.

    Args:
        commands: name -> program and its arguments. Their output is thrown away.
        repeats: how often each is measured.

    Raises:
        RuntimeError: a command failed.
    """
    taken: dict[str, list[Cost]] = {name: [] for name in commands}
    for turn in range(repeats + 1):
        for name, command in commands.items():
            cost = _cost(command)
            if turn:
                taken[name].append(cost)
    return {
        name: Cost(statistics.median(c.seconds for c in found), round(statistics.median(c.bytes for c in found)))
        for name, found in taken.items()
    }


def _cost(command: Sequence[str]) -> Cost:
    with one_thread():
        launched = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _LAUNCHER, *command], capture_output=True, text=True, check=True
        )
    seconds, peak, status = json.loads(launched.stdout)
    if status:
        raise RuntimeError(f"{' '.join(command)} ended with {status}:\n{launched.stderr}")
    return Cost(seconds, peak * (1 if sys.platform == "darwin" else 1024))


def installed_bytes(program: str, arguments: Sequence[str]) -> int:
    """Bytes of all installed distributions that a program imports from.

    Args:
        program: a module, or a script that ends in `.py`.
        arguments: of the program.
    """
    with tempfile.TemporaryDirectory(prefix="nearfar-") as folder:
        target = Path(folder) / "imported.json"
        with one_thread():
            subprocess.run(
                [sys.executable, "-c", _WITNESS, str(target), program, *arguments], capture_output=True, check=True
            )
        places: dict[str, str] = json.loads(target.read_text(encoding="utf-8"))
    owners = importlib.metadata.packages_distributions()
    distributions = {owner for name in places for owner in owners.get(name, ())}
    total = sum(_distribution_bytes(name) for name in distributions)
    # A checkout installed in place has a distribution without files: count its folder.
    for name, place in places.items():
        if name not in owners and name not in sys.stdlib_module_names and Path(place).name == "__init__.py":
            total += folder_bytes(Path(place).parent)
    return total


def _distribution_bytes(name: str) -> int:
    files = importlib.metadata.files(name) or []
    return sum(path.stat().st_size for path in (Path(str(file.locate())) for file in files) if path.is_file())


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
