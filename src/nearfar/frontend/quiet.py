"""Holding back the warnings of Pillow and NumPy, also where several threads decode at once."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_filters: list[warnings.catch_warnings[None]] = []
_inside = 0


@contextmanager
def quiet() -> Iterator[None]:
    """Ignore what readers of pictures warn of: what matters becomes an error, and the rest is not for the user of a bundle.

    The filters of `warnings` belong to the whole process, so the first thread in sets them and the last one out puts the
    former ones back.
    """
    global _inside
    with _lock:
        if not _inside:
            kept = warnings.catch_warnings()
            kept.__enter__()
            _filters.append(kept)
            warnings.filterwarnings("ignore", module=r"PIL\b")
            warnings.filterwarnings("ignore", message=r"Reading `\.npy`")
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                _filters.pop().__exit__(None, None, None)
