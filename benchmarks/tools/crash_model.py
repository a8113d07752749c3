"""What a writer that will be killed is told to do, and what an index may hold after that."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from nearfar.sources.document import Document, Passage

_SYLLABLES = ("ka", "lo", "mi", "ne", "ru", "sa", "ti", "vo", "zu", "pe")
WORDS = tuple(a + b + c for a in _SYLLABLES for b in _SYLLABLES for c in _SYLLABLES[:4])
FIRST, FEWEST = 110, 60
BATCH = 32
"""Passages in one transaction of a build, in place of 512."""

Action = Literal["build", "open", "upsert", "delete", "settle"]
Version = tuple[int, int]
"""A number and a version of a document; together they give its text, and no two texts are alike."""


@dataclass(frozen=True, slots=True)
class Step:
    """One call of the writer: of `documents` that it stores, or of `numbers` that it removes."""

    action: Action
    documents: tuple[Version, ...] = ()
    numbers: tuple[int, ...] = ()


def mark(number: int, version: int, passage: int) -> str:
    """A word that only this passage has."""
    return f"mark{number}of{version}p{passage}x"


def document(number: int, version: int) -> Document:
    """The document of a number in a version: one to three passages."""
    rng = random.Random(f"{number}/{version}")
    text, passages = "", []
    for place in range(1, rng.choice((1, 1, 1, 2, 3)) + 1):
        begin = len(text)
        text += f"{mark(number, version, place)} {' '.join(rng.choices(WORDS, k=9))}"
        passages.append(Passage(begin, len(text)))
        text += "\n\n"
    return Document(f"doc-{number}", text, metadata={"shelf": number % 7}, passages=tuple(passages))


class Planner:
    """Makes up what writers do; never gives the same version of a document twice."""

    def __init__(self, seed: int) -> None:
        """Plan with this seed."""
        self.rng = random.Random(seed)
        self._numbers = 0
        self._versions = 0

    def plan(self, held: dict[int, int]) -> list[Step]:
        """The steps of one writer, for an index that holds these versions."""
        if not held:
            return [Step("build", tuple(self._new(FIRST)))]
        if len(held) < FEWEST or self.rng.random() < 0.3:
            return [Step("build", tuple(self._next_source(held)))]
        held = dict(held)
        steps = [Step("open")]
        for _ in range(self.rng.randint(2, 4)):
            if self.rng.random() < 0.6:
                size = self.rng.choice((2, 4, 6, 30))
                known = self.rng.sample(sorted(held), min(size // 2, len(held)))
                documents = [*self._again(known), *self._new(size - len(known))]
                held.update(documents)
                steps.append(Step("upsert", tuple(documents)))
            else:
                gone = self.rng.sample(sorted(held), self.rng.randint(1, 6))
                held = {number: version for number, version in held.items() if number not in gone}
                steps.append(Step("delete", numbers=tuple(gone)))
        return [*steps, Step("settle")]

    def _next_source(self, held: dict[int, int]) -> list[Version]:
        kept = [number for number in held if self.rng.random() < 0.85]
        changed = set(self.rng.sample(kept, min(10, len(kept))))
        documents = [(number, held[number]) for number in kept if number not in changed]
        documents += [*self._again(sorted(changed)), *self._new(max(15, FIRST - len(kept)))]
        self.rng.shuffle(documents)
        return documents

    def _new(self, count: int) -> list[Version]:
        numbers = range(self._numbers, self._numbers + count)
        self._numbers += count
        return self._again(numbers)

    def _again(self, numbers: Sequence[int]) -> list[Version]:
        self._versions += 1
        return [(number, self._versions) for number in numbers]


@dataclass(slots=True)
class Ledger:
    """What an index may hold, by what its writer has begun and has said to be done.

    Attributes:
        allowed: number -> versions, of which it must hold one; None among them where it may be absent.
        gone: versions that it must not hold any more, the latest last.
        in_flight: the step that was begun and not acknowledged.
    """

    allowed: dict[int, set[int | None]] = field(default_factory=dict)
    gone: list[Version] = field(default_factory=list)
    in_flight: Step | None = None

    @classmethod
    def of(cls, held: dict[int, int], gone: list[Version]) -> Ledger:
        """An index that nobody writes."""
        return cls({number: {version} for number, version in held.items()}, list(gone))

    def begin(self, step: Step) -> None:
        """From now on the index may hold the old or the new."""
        self.in_flight = step
        for number, version in step.documents:
            self.allowed.setdefault(number, {None}).add(version)
        leaving = set(step.numbers)
        if step.action == "build":
            leaving |= self.allowed.keys() - {number for number, _ in step.documents}
        for number in leaving:
            self.allowed.setdefault(number, {None}).add(None)

    def stored(self, count: int) -> None:
        """The first so many documents of a build are stored."""
        assert self.in_flight is not None
        for number, version in self.in_flight.documents[:count]:
            self._is(number, version)

    def removed(self) -> None:
        """A build has removed what its source no longer has."""
        assert self.in_flight is not None
        for number in self.allowed.keys() - {number for number, _ in self.in_flight.documents}:
            self._is(number, None)

    def done(self) -> None:
        """The step is acknowledged."""
        assert self.in_flight is not None
        self.stored(len(self.in_flight.documents))
        if self.in_flight.action == "build":
            self.removed()
        for number in self.in_flight.numbers:
            self._is(number, None)
        self.in_flight = None

    @property
    def all_or_nothing(self) -> bool:
        """The step in flight is one transaction."""
        step = self.in_flight
        if step is None or step.action not in {"upsert", "delete"}:
            return False
        return sum(len(document(*each).passages) for each in step.documents) <= BATCH

    def _is(self, number: int, version: int | None) -> None:
        for former in self.allowed.pop(number, set()):
            if former is not None and former != version:
                self.gone.append((number, former))
        if version is not None:
            self.allowed[number] = {version}
