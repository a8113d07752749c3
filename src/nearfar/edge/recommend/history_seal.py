"""The keys of a history: of its parts, of what an event is found again by, and of what covers all events together."""

from __future__ import annotations

import hmac
import struct
from collections.abc import Iterable

from nearfar.edge.keys import Key
from nearfar.edge.sealed.seal import Seal, filled

TAG_BYTES = 16
_ROOM = 64  # bytes that an event is filled up to a multiple of: the length of a name is not told


class HistorySeal(Seal):
    """Seals the parts of one history.

    Args:
        key: of the directory.
        history: identifier, 16 random bytes.
    """

    def __init__(self, key: Key, history: bytes) -> None:
        super().__init__(key.subkey("history"), "history", history)
        self._tags, self._marks = self.subkey("tags"), self.subkey("marks")

    def tag(self, text: bytes) -> bytes:
        """What an event is found again by, 16 bytes: tells nothing of it to who has no key."""
        return hmac.digest(self._tags, text, "sha256")[:TAG_BYTES]

    def seal_event(self, number: int, tag: bytes, text: bytes) -> bytes:
        """Encrypt the event of a number and tag."""
        return self.seal("event", filled(text, _ROOM), struct.pack(">Q", number), tag)

    def open_event(self, number: int, tag: bytes, sealed: bytes) -> bytes | None:
        """What `seal_event` encrypted; None where it is of another place, or a byte has changed."""
        return self.open("event", sealed, struct.pack(">Q", number), tag)

    def mark(self, number: int, tag: bytes, sealed: bytes) -> bytes:
        """The mark of a row, 32 bytes that nobody without the key can make."""
        return hmac.digest(self._marks, struct.pack(">Q", number) + tag + sealed, "sha256")


def combined(rows: str, marks: Iterable[bytes]) -> str:
    """Add rows to the marks of all rows, or take them away: both are the same.

    The sum without carry of keyed marks covers a set of rows however it came about, and costs one mark a change (MSet-XOR-Hash, Clarke
    et al., ASIACRYPT 2003). Rows are a set because their numbers differ; the sum itself is kept sealed.

    Args:
        rows: of the rows before, hex.
        marks: of those that come or go.
    """
    total = int(rows, 16)
    for mark in marks:
        total ^= int.from_bytes(mark, "big")
    return total.to_bytes(32, "big").hex()
