"""A finished run: what is alike whatever it learned from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from nearfar.recipe import Recipe


class _Counts(Protocol):
    @property
    def skipped(self) -> dict[str, int]: ...

    @property
    def examples(self) -> list[str]: ...


class _Corpus(Protocol):
    @property
    def counts(self) -> _Counts: ...


C = TypeVar("C", bound=_Corpus)
C_co = TypeVar("C_co", bound=_Corpus, covariant=True)


class _Prepared(Protocol[C_co]):
    @property
    def corpus(self) -> C_co: ...


@dataclass(frozen=True)
class Trained(Generic[C]):
    """A finished run over a corpus.

    Attributes:
        directory: where everything lies.
        recipe: what was done.
        prepared: what it learned from.
    """

    directory: Path
    recipe: Recipe
    prepared: _Prepared[C]

    @property
    def corpus(self) -> C:
        """The prepared data."""
        return self.prepared.corpus

    @property
    def skipped(self) -> tuple[dict[str, int], list[str]]:
        """What the reader passed over: how many for which reason, and the first few."""
        counts = self.corpus.counts
        return counts.skipped, counts.examples
