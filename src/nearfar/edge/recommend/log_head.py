"""The head of a history: one sealed part that covers all events, so that none can be taken out, put in, exchanged or put back alone."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from nearfar.edge.sealed.seal import filled

_ROOM = 256  # bytes that the plain text is filled up to a multiple of
_NOTHING = bytes(32).hex()


@dataclass(frozen=True, slots=True)
class LogHead:
    """The state of a history, sealed again with every change.

    Attributes:
        bundle: digest of the bundle beside it.
        counter: changes so far.
        last: number of the latest event that was ever written.
        events: how many there are.
        rows: hex of the combined marks of their rows; see `HistorySeal.combined`.
        removals: how often something was forgotten: whoever has seen fewer must read all rows again.
        updates: how many the catalogue beside it has had: an older one, put back, has had fewer.
    """

    bundle: str
    counter: int = 0
    last: int = 0
    events: int = 0
    rows: str = _NOTHING
    removals: int = 0
    updates: int = 0

    def to_bytes(self) -> bytes:
        """The text that is sealed."""
        return filled(json.dumps(asdict(self), separators=(",", ":")).encode(), _ROOM)


def read_log_head(text: bytes) -> LogHead:
    """Make the head that `LogHead.to_bytes` described; `text` was found genuine."""
    return LogHead(**json.loads(text))
