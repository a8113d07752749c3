"""Lets tests import the made data that lies beside them."""

from __future__ import annotations

import sys
from pathlib import Path

for folder in ("learn", "learn/losses", "edge", "connect"):
    sys.path.insert(0, str(Path(__file__).parent / folder))
