"""Who is in a vault, as its holder sees it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EnrolledIdentity:
    """Somebody who has a template.

    Attributes:
        identity: the name.
        version: of the template.
        enrolled: when it was made, in seconds since 1970.
        samples: that it was made of.
        failures: in a row.
        locked: `wait` or `disabled`; None where an attempt may be made.
        wait_seconds: until one may be made, where it is `wait`.
    """

    identity: str
    version: int
    enrolled: float
    samples: int
    failures: int
    locked: str | None
    wait_seconds: float
