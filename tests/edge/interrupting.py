"""Ctrl-C at a chosen line of our own."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def interrupted(own: tuple[str, ...], do: Callable[[], object], line: int) -> bool:
    """Whether Ctrl-C came at the given line that `do` runs of the files whose paths begin as in `own`."""
    left = line

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if not frame.f_code.co_filename.startswith(own):
            return None
        # Python looks for signals at calls and jumps, never as a `with` block begins or ends; a trace would come there, and leave a lock
        # behind that no Ctrl-C leaves.
        code = linecache.getline(frame.f_code.co_filename, frame.f_lineno).lstrip()
        if event == "line" and not code.startswith(("with ", "try:")):
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        do()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(None)
    return False
