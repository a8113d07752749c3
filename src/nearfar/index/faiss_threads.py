"""Faiss, loaded when it is first needed, and how many threads it may use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any


def faiss() -> Any:
    """The library; the types it ships do not know half of its names. Whoever never searches never loads it."""
    return import_module("faiss")


@contextmanager
def faiss_threads(count: int) -> Iterator[None]:
    """Limit faiss to `count` threads for a moment: the setting is the process's, and others may want another."""
    library = faiss()
    before = library.omp_get_max_threads()
    if before == count:
        yield
        return
    library.omp_set_num_threads(count)
    try:
        yield
    finally:
        library.omp_set_num_threads(before)
