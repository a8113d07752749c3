"""What one forward and backward costs alone: peak extra memory and time, in a fresh process that holds nothing else.

Extra memory is the highest resident size during the call less the resident size before it: gradients of the inputs are in it,
the inputs are not. The process has warmed up on a tiny problem, so that libraries are loaded, and has the peak of before
forgotten, which only Linux can do; elsewhere there is no figure, and no limit on memory either.

    python -m tools.alone NAME N D BYTES
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_OUT_OF_MEMORY = 3
_TINY = 64


class TooMuchError(Exception):
    """A call needs more memory or time than it is given."""


@dataclass(frozen=True)
class Alone:
    """Of one call: wall time in seconds, and peak extra memory in bytes where the system tells."""

    seconds: float
    extra_bytes: int | None


def has_peaks() -> bool:
    """Whether this system tells the peak of a part of a process."""
    return _CLEAR.exists()


def most_bytes() -> int:
    """What a call may need: 16 GB, or 60 % of the memory of this machine if that is less."""
    return min(16 * 10**9, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * 6 // 10)


def alone(name: str, n: int, d: int, *, seconds: float) -> Alone:
    """Run one objective once, on one thread, in a process of its own.

    Raises:
        TooMuchError: it needs more memory than `most_bytes`, or more time than `seconds`.
        RuntimeError: it failed for another reason.
    """
    folder = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH")]))
    limit = most_bytes()
    command = [sys.executable, "-m", "tools.alone", name, str(n), str(d), str(limit)]
    try:
        ended = subprocess.run(
            command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        raise TooMuchError(f"needs more than {seconds:.0f} s") from None
    # Libraries that do not look whether they were given memory end by a signal.
    if ended.returncode == _OUT_OF_MEMORY or ended.returncode < 0:
        raise TooMuchError(f"needs more than {limit / 1e9:.1f} GB")
    if ended.returncode:
        raise RuntimeError(f"{name} with {n} x {d} ended with {ended.returncode}:\n{ended.stderr}")
    return Alone(*json.loads(ended.stdout.splitlines()[-1]))


def _main() -> int:
    import torch

    from tools.objectives import OBJECTIVES, sides, step

    name, (n, d, limit) = sys.argv[1], map(int, sys.argv[2:])
    torch.set_num_threads(1)
    step(OBJECTIVES[name], *sides(_TINY, d))()
    run = step(OBJECTIVES[name], *sides(n, d))
    before = None
    if has_peaks():
        _CLEAR.write_text("5")
        before = _status()["VmRSS"]
        _limit_memory(limit)
    started = time.perf_counter()
    try:
        run()
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError) or "allocate memory" in str(error):
            return _OUT_OF_MEMORY
        raise
    seconds = time.perf_counter() - started
    print(json.dumps([seconds, None if before is None else _status()["VmHWM"] - before]))
    return 0


def _limit_memory(further: int) -> None:
    import resource

    limit = _status()["VmSize"] + further
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _status() -> dict[str, int]:
    """The sizes that the system tells of this process, in bytes."""
    sizes = re.findall(r"^(Vm\w+):\s+(\d+) kB$", _STATUS.read_text(encoding="ascii", errors="replace"), re.MULTILINE)
    return {name: int(kilobytes) * 1024 for name, kilobytes in sizes}


if __name__ == "__main__":
    raise SystemExit(_main())
