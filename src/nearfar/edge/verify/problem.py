"""What is wrong with a sample, in words for who gave it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a sample is of no use.

    Attributes:
        name: what is wrong, in plain words; one of a few.
        detail: about this sample; may be empty.
        mend: what to do.
    """

    name: str
    detail: str = ""
    mend: str = ""

    def __str__(self) -> str:
        what = f"{self.name} ({self.detail})" if self.detail else self.name
        return f"{what}: {self.mend}" if self.mend else what
