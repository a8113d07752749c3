"""What a reader of recordings yields."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias

from nearfar.sources.document import ReadReport

ClipContent: TypeAlias = Path | bytes
"""A recording that is not decoded yet: a file, or the bytes of one."""


@dataclass(frozen=True, slots=True)
class Clip:
    """One recording, or a part of one, not decoded yet.

    Attributes:
        id: unique and stable within its source (for example `anna/monday/1.wav` or `train.parquet#7`).
        content: where its samples are.
        label: who or what is heard; empty where the data say nothing.
        split: `train`, `validation`, `test` or what the data call it; empty where they say nothing.
        location: where a person finds it, for messages.
        session: which recordings of its label were made in one go with it; empty where the data say nothing.
        group: what it belongs together with (a household, a film); empty where the data say nothing.
        attribute: which group error rates are told apart for (sex, accent, device); empty where the data say nothing.
        start: second at which it begins within `content`; None at the beginning.
        end: second at which it ends; None at the end.
    """

    id: str
    content: ClipContent = field(compare=False, repr=False)
    label: str = ""
    split: str = ""
    location: str = ""
    session: str = ""
    group: str = ""
    attribute: str = ""
    start: float | None = None
    end: float | None = None


class ClipSource(Protocol):
    """A place that recordings come from, read one by one so that memory does not grow with it."""

    report: ReadReport

    def clips(self) -> Iterator[Clip]:
        """Yield the recordings in a fixed order; a second call starts again from the first."""
        ...

    def again(self, ids: Sequence[str]) -> Iterator[Clip]:
        """Yield these recordings again, in the order of `ids`; cheapest in the order of `clips`."""
        ...

    def contents(self, ids: Sequence[str]) -> Iterator[ClipContent]:
        """Yield the content of these recordings again, in the order of `ids`; of a part, that of the whole."""
        ...
