"""Answers that appear once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, Protocol, TypeVar, get_args

from nearfar.errors import DataError

Distinct = Literal["none", "text", "document"]


class Candidate(Protocol):
    """A passage that was found: the document it is of, its text, and where in the document it stands."""

    @property
    def id(self) -> str: ...  # noqa: D102
    @property
    def text(self) -> str: ...  # noqa: D102
    @property
    def begin(self) -> int: ...  # noqa: D102
    @property
    def end(self) -> int: ...  # noqa: D102


C = TypeVar("C", bound=Candidate)


def distinct(candidates: Iterable[C], kind: Distinct, *, own: Callable[[C], bool] = lambda _: False) -> Iterator[C]:
    """Pass on the candidates that say something new.

    `text` drops a passage with the text of an earlier one, upper and lower case and blanks aside, in whatever document:
    a copy of a file is no second answer. It also drops a passage more than half of which lies in one earlier passage of
    its document. `document` keeps the best passage of every document. `none` keeps all.

    Passages that only mean nearly the same are kept: how close two vectors lie depends on the encoder, and "is" and "is
    not" lie very close. `diversity.mmr` puts such passages apart without dropping any.

    Args:
        candidates: best first; taken one by one, so the k best distinct ones are `islice(distinct(...), k)`, and an
            iterator that goes on searching when it is asked for more is never asked for more than is needed.
        kind: `none`, `text` or `document`.
        own: whether a candidate has a content of its own beside its text, as a picture has beside its caption: `text` keeps it.

    Yields:
        Those that are kept, in their order.

    Raises:
        DataError: there is no such kind.
    """
    if kind not in get_args(Distinct):
        raise DataError(f"there is no kind of distinct answers {kind!r}; choose one of {', '.join(get_args(Distinct))}")
    match kind:
        case "none":
            return iter(candidates)
        case "document":
            return _one_each(candidates)
        case "text":
            return _new_text(candidates, own)


def _one_each(candidates: Iterable[C]) -> Iterator[C]:
    seen: set[str] = set()
    for candidate in candidates:
        if candidate.id not in seen:
            seen.add(candidate.id)
            yield candidate


def _new_text(candidates: Iterable[C], own: Callable[[C], bool]) -> Iterator[C]:
    texts: set[str] = set()
    spans: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for candidate in candidates:
        if own(candidate):
            yield candidate
            continue
        text = " ".join(candidate.text.casefold().split())
        # Without a text it is the title that was found, and titles are not compared.
        if text and text in texts:
            continue
        if any(2 * _shared(candidate, span) > candidate.end - candidate.begin for span in spans[candidate.id]):
            continue
        texts.add(text)
        spans[candidate.id].append((candidate.begin, candidate.end))
        yield candidate


def _shared(candidate: Candidate, span: tuple[int, int]) -> int:
    begin, end = span
    return max(0, min(candidate.end, end) - max(candidate.begin, begin))
