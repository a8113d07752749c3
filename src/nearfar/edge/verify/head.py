"""The head of a vault: one sealed part that covers all others, so that none can be taken out, put back or exchanged alone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from nearfar.edge.verify.attempts import AttemptBook, read_book
from nearfar.edge.verify.clock import Moment

_ROOM = 1024  # bytes that the plain text is filled up to a multiple of: its length tells little


@dataclass(slots=True)
class Head:
    """The state of a vault, sealed again with every change.

    Attributes:
        counter: changes so far.
        clock: the latest moment that was seen.
        bundle: digest of the bundle in the vault.
        encoder: digest of what makes embeddings comparable (`comparable.encoder_digest`); templates are bound to it.
        components: of a template.
        threshold: least score of a match.
        rows: digest of all templates.
        book: failures.
        audit_first: number of the first entry of the audit log that is kept.
        audit_before: link before it.
        audit_last: number of the last entry.
        audit_link: its link.
        quiet: `kind result` -> when such an entry was last written, and how many were left out since.
        witnessed: whether the vault is used with a witness.
    """

    counter: int
    clock: Moment
    bundle: str
    encoder: str
    components: int
    threshold: float
    rows: bytes
    book: AttemptBook
    audit_first: int
    audit_before: bytes
    audit_last: int
    audit_link: bytes
    quiet: dict[str, tuple[float, int]]
    witnessed: bool

    def to_bytes(self) -> bytes:
        """The text that is sealed."""
        content: dict[str, Any] = {
            "counter": self.counter,
            "clock": self.clock,
            "bundle": self.bundle,
            "encoder": self.encoder,
            "components": self.components,
            "threshold": self.threshold,
            "rows": self.rows.hex(),
            "attempts": self.book.state(),
            "audit": [self.audit_first, self.audit_before.hex(), self.audit_last, self.audit_link.hex()],
            "quiet": self.quiet,
            "witnessed": self.witnessed,
        }
        text = json.dumps(content, separators=(",", ":")).encode()
        return text + b" " * (-len(text) % _ROOM)


def read_head(text: bytes) -> Head:
    """Make the head that `Head.to_bytes` described; `text` was found genuine."""
    content = json.loads(text)
    first, before, last, link = content["audit"]
    return Head(
        counter=content["counter"],
        clock=Moment(*content["clock"]),
        bundle=content["bundle"],
        encoder=content["encoder"],
        components=content["components"],
        threshold=content["threshold"],
        rows=bytes.fromhex(content["rows"]),
        book=read_book(content["attempts"]),
        audit_first=first,
        audit_before=bytes.fromhex(before),
        audit_last=last,
        audit_link=bytes.fromhex(link),
        quiet={key: (when, left_out) for key, (when, left_out) in content["quiet"].items()},
        witnessed=content["witnessed"],
    )
