"""Training in processes of their own, so that each one's memory is its own."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def output_of(program: Path, arguments: Sequence[str]) -> str:
    """The last line that a Python program prints; it runs in a process of its own.

    Raises:
        RuntimeError: it failed.
    """
    child = subprocess.run([sys.executable, str(program), *arguments], capture_output=True, text=True, check=False)
    if child.returncode:
        raise RuntimeError(f"{program.name} {' '.join(arguments)} failed:\n{child.stderr}")
    return child.stdout.splitlines()[-1]


def peak_bytes() -> int:
    """The largest resident size of this process so far.

    On Linux not that of getrusage, in which what the parent held before it started this process counts as well.
    """
    status = Path("/proc/self/status")
    if status.exists():
        found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text("utf-8"))
        if found:
            return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
