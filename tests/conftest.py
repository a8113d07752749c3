"""Lets tests import the made data that lies beside them, and Triton kernels run without a GPU."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# Before anything imports triton, which half of the training wing does: afterwards it is too late.
os.environ["TRITON_INTERPRET"] = "1"

for folder in ("learn", "learn/losses", "edge", "connect"):
    sys.path.insert(0, str(Path(__file__).parent / folder))
