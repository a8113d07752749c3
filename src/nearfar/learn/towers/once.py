"""Contents that are looked at once, however many rows name them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from typing import Any

from nearfar.learn.towers.tower import RefusedItem


class Once:
    """Adds items, and knows the same file and the same bytes again before they are decoded.

    Args:
        add: takes a content and where it stands, and gives its number, as `ItemWriter.add`.
    """

    def __init__(self, add: Callable[[Any, str], int]) -> None:
        self._add = add
        self._met: dict[str | bytes, int | tuple[str, str]] = {}

    def __call__(self, content: Any, location: str) -> int:
        """The number of a content.

        Raises:
            RefusedItem: it cannot be used, or could not be used before.
        """
        name = _known_as(content)
        if name is None:
            return self._add(content, location)
        if name not in self._met:
            try:
                self._met[name] = self._add(content, location)
            except RefusedItem as refused:
                # Not the error itself, which holds on to the content by its traceback.
                self._met[name] = (refused.reason, refused.detail)
        found = self._met[name]
        if isinstance(found, tuple):
            raise RefusedItem(*found)
        return found


def _known_as(content: Any) -> str | bytes | None:
    """By what a content is known again; None for what has neither name nor bytes."""
    if isinstance(content, (str, os.PathLike)):
        return os.fspath(content)
    if isinstance(content, (bytes, bytearray, memoryview)):
        return hashlib.blake2b(content, digest_size=16).digest()
    return None
