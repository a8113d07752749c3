"""What a verifier answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Reason = Literal["match", "no match", "quality", "wait", "disabled"]
"""Why: the sample matches; it does not, or nobody of that name is enrolled, which is not told apart; it is of no use (`detail` says
in which way); too many failures, and the delay is not over; so many that another way to log in is needed."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer to whether a sample is of an identity.

    Attributes:
        accepted: whether it is; nothing else is a yes.
        reason: why.
        detail: for people; of bad quality the name of what is wrong with the sample, and what to do.
        score: cosine (or normalised score) against the template, of an accepted sample. A refused one has none, unless the verifier
            was told to show them: who sees how near each try comes can climb to a match.
        wait_seconds: until the next attempt counts, where the reason is `wait`.
    """

    accepted: bool
    reason: Reason
    detail: str = ""
    score: float | None = None
    wait_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Identification:
    """The answer to who, of all that are enrolled, a sample is of.

    Attributes:
        identity: who; None where nobody matches, and with every other reason than `match`.
        reason: as of a `Decision`.
        detail: likewise.
        score: likewise.
        wait_seconds: likewise.
    """

    identity: str | None
    reason: Reason
    detail: str = ""
    score: float | None = None
    wait_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A template that was made, and stored.

    Attributes:
        identity: of whom.
        samples: that it was made of.
        version: 1 for the first; each renewal adds 1 and makes the templates before it useless.
        refused: samples that were left out, each with the reason.
        agreement: least cosine of a sample with the mean of the others: a low one says that the samples are not all of one identity.
    """

    identity: str
    samples: int
    version: int
    refused: tuple[str, ...]
    agreement: float
