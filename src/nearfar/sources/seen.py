"""Telling whether a text has come by before, in a few dozen bytes each."""

from __future__ import annotations

from hashlib import blake2b


class Seen:
    """A set of texts, each remembered as a 16-byte digest only: long texts cost no more than short ones."""

    def __init__(self) -> None:
        self._digests: set[bytes] = set()

    def first_time(self, text: str) -> bool:
        """Remember `text`; true if it had not been seen before."""
        digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        if digest in self._digests:
            return False
        self._digests.add(digest)
        return True

    def unused(self, name: str) -> str:
        """Return `name`, or `name#2`, `name#3`, ... : the first that had not been seen before, which now is."""
        candidate, number = name, 1
        while not self.first_time(candidate):
            number += 1
            candidate = f"{name}#{number}"
        return candidate
