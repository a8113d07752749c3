"""Lets tests import the made data that lies beside them, the processes they start import the tests, and Triton kernels run without a GPU."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# Before anything imports triton, which half of the training wing does: afterwards it is too late.
os.environ["TRITON_INTERPRET"] = "1"

for folder in ("learn", "learn/losses", "edge", "connect"):
    sys.path.insert(0, str(Path(__file__).parent / folder))

# A process that a test starts afresh looks for `tests.edge...` in the paths of this one; `pytest` leaves out where it was called,
# `python -m pytest` does not.
sys.path.append(str(Path(__file__).parent.parent))
