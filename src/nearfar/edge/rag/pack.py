"""Passages that were found, made into as many sources as a budget of tokens has room for."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Literal, Protocol, get_args

from nearfar.edge.rag.citation import Citation, Passage, runs
from nearfar.errors import DataError

Order = Literal["score", "document"]
Count = Callable[[str], int]

_SEPARATOR = "\n\n"
_ANY_NUMBER = 99
"""Stands for the number of a source while it is not known."""
_SENTENCE_END = re.compile(r"[.!?…][\"')\]»”’]*(?=\s)|[。！？][」』”’]*|(?=\n[^\S\n]*\n)")
# Scripts that are written without spaces can be cut behind every character.
_WORD_END = re.compile(r"(?<=\S)(?=\s)|(?<=[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff])")


class Hit(Protocol):
    """A passage that a search found: its document, its number in it, and how well it answers."""

    @property
    def id(self) -> str: ...  # noqa: D102
    @property
    def passage(self) -> int: ...  # noqa: D102
    @property
    def score(self) -> float: ...  # noqa: D102


class Passages(Protocol):
    """Where passages are kept."""

    def passages_of(self, id: str, first: int, last: int) -> Sequence[Passage]:
        """The passages `first` to `last` of a document, both included, in order; those that there are."""
        ...


@dataclass(frozen=True, slots=True)
class Retrieved:
    """The sources for one question.

    Attributes:
        question: that was asked.
        passages: the sources, numbered from 1 in the order that they are shown in.
        tokens: of `as_prompt()`.
        budget_tokens: how many there may be.
        left_out: how many passages were found and did not fit.
    """

    question: str
    passages: tuple[Citation, ...]
    tokens: int
    budget_tokens: int
    left_out: int

    def as_prompt(self) -> str:
        """The sources as text, `[1]`, `[2]` and so on, each with its place; empty where there is none.

        The question and what to do with them are for the caller to add.
        """
        return _prompt(self.passages)

    def to_json(self) -> str:
        """Everything as JSON."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=1)


def pack(
    index: Passages,
    question: str,
    hits: Iterable[Hit],
    budget_tokens: int,
    count: Count,
    *,
    neighbours: int = 0,
    order: Order = "score",
) -> Retrieved:
    """Make sources of passages that were found, as many as fit.

    The best comes first. One that does not fit is left out, and the next is tried. Passages of one document that touch,
    overlap, or follow each other under one heading become one source. Where not even the best fits, it is cut at the
    end of a sentence.

    Args:
        index: where the passages are kept.
        question: that they answer.
        hits: what was found, best first.
        budget_tokens: the most tokens that `as_prompt()` of the result may have.
        count: the tokens of a text.
        neighbours: once all hits are in, fill up with so many passages before and after each, nearest first.
        order: `score` puts the best source first; `document` keeps the sources of a document together in its order,
            the document with the best source first.

    Returns:
        The sources; never more tokens than the budget.

    Raises:
        DataError: the budget is not positive, `neighbours` is negative, or there is no such order.
    """
    check_limits(budget_tokens, neighbours, order)
    choice = _Choice(budget_tokens, count)
    found: list[Passage] = []
    for hit in hits:
        # None where another process has removed it since it was found.
        for passage in index.passages_of(hit.id, hit.passage, hit.passage):
            found.append(passage)
            if not choice.add(passage, hit.score):
                choice.add_shortened(passage, hit.score)
    for distance in range(1, neighbours + 1):
        for passage in found:
            for number in (passage.number - distance, passage.number + distance):
                for near in index.passages_of(passage.id, number, number):
                    choice.add_beside(near)
    sources, tokens = choice.sources(order)
    left_out = sum(1 for passage in found if not any(_holds(source, passage) for source in sources))
    return Retrieved(question, sources, tokens, budget_tokens, left_out)


class _Choice:
    """The passages chosen so far, and what they cost."""

    def __init__(self, budget: int, count: Count) -> None:
        self._budget = budget
        self._count = count
        self._cost = lru_cache(maxsize=None)(lambda prompt: count(prompt + _SEPARATOR))
        self._documents: dict[str, dict[int, Passage]] = {}
        self._scores: dict[str, dict[int, float]] = {}
        self._costs: dict[str, int] = {}
        self._shortened: Citation | None = None

    def add(self, passage: Passage, score: float) -> bool:
        """Take a passage that was found, if it fits."""
        scores = self._scores.get(passage.id, {})
        return self._try(passage, {**scores, passage.number: score})

    def add_beside(self, passage: Passage) -> bool:
        """Take a passage that was not found, if it fits and goes on from one that was."""
        if passage.number in self._documents.get(passage.id, {}):
            return False
        return self._try(passage, self._scores.get(passage.id, {}))

    def _try(self, passage: Passage, scores: dict[int, float]) -> bool:
        held = {**self._documents.get(passage.id, {}), passage.number: passage}
        sources = _sources(held, scores)
        if self._shortened or sources is None:
            return False
        cost = sum(self._cost(source.as_prompt()) for source in sources)
        if sum(self._costs.values()) - self._costs.get(passage.id, 0) + cost > self._budget:
            return False
        self._documents[passage.id], self._scores[passage.id], self._costs[passage.id] = held, scores, cost
        return True

    def add_shortened(self, passage: Passage, score: float) -> bool:
        """Take as much of the first passage as fits; nothing else fits beside it."""
        if self._documents or self._shortened:
            return False
        whole = Citation.of([passage], score, _ANY_NUMBER)
        for ends in (_SENTENCE_END, _WORD_END):
            places = [match.end() for match in ends.finditer(whole.text) if whole.text[: match.end()].strip()]
            fitting = _last_fitting(places, lambda place: self._cost(whole.cut_to(place).as_prompt()) <= self._budget)
            if fitting is not None:
                self._shortened = whole.cut_to(fitting)
                return True
        return False

    def sources(self, order: Order) -> tuple[tuple[Citation, ...], int]:
        """The sources with their numbers, and the tokens of their prompt."""
        sources = [self._shortened] if self._shortened else []
        for id, held in self._documents.items():
            sources += _sources(held, self._scores[id]) or []
        sources.sort(key=lambda source: (-source.score, source.id, source.begin))
        while sources:
            shown = _numbered(sources, order)
            tokens = self._count(_prompt(shown))
            if tokens <= self._budget:
                return shown, tokens
            sources.pop()  # tokens of the parts need not add up to those of the whole
        return (), 0


def _sources(held: dict[int, Passage], scores: dict[int, float]) -> list[Citation] | None:
    """The passages of one document as sources; None where one of them would hold nothing that was found."""
    sources = []
    for run in runs(held.values()):
        found = [scores[passage.number] for passage in run if passage.number in scores]
        if not found:
            return None
        sources.append(Citation.of(run, max(found), _ANY_NUMBER))
    return sources


def _holds(source: Citation, passage: Passage) -> bool:
    whole = passage.end <= source.end or source.shortened
    return source.id == passage.id and source.begin <= passage.begin and whole


def _numbered(sources: Sequence[Citation], order: Order) -> tuple[Citation, ...]:
    shown = list(sources)
    if order == "document":
        places: dict[str, int] = {}
        for source in sources:
            places.setdefault(source.id, len(places))
        shown.sort(key=lambda source: (places[source.id], source.begin))
    return tuple(replace(source, number=number) for number, source in enumerate(shown, start=1))


def _prompt(sources: Sequence[Citation]) -> str:
    return _SEPARATOR.join(source.as_prompt() for source in sources)


def _last_fitting(places: Sequence[int], fits: Callable[[int], bool]) -> int | None:
    """The largest of the ascending places that fits, where a smaller one fits whenever a larger one does."""
    low, high = 0, len(places)
    while low < high:
        middle = (low + high) // 2
        if fits(places[middle]):
            low = middle + 1
        else:
            high = middle
    return places[low - 1] if low else None


def check_limits(budget_tokens: int, neighbours: int, order: str) -> None:
    """Refuse what makes no sense; see `pack`."""
    if budget_tokens < 1:
        raise DataError(
            f"the budget is how many tokens the sources may have, and must be at least 1, not {budget_tokens}"
        )
    if neighbours < 0:
        raise DataError(f"neighbours is how many passages to add on each side, 0 or more, not {neighbours}")
    if order not in get_args(Order):
        raise DataError(f"there is no order {order!r}; choose one of {', '.join(get_args(Order))}")
