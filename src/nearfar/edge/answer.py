"""From a ranking of passages to the answers of a query: told once, read again, strong enough, unlike each other, shown."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nearfar.edge.distinct import Distinct, distinct
from nearfar.edge.diversity import mmr
from nearfar.edge.hit import Hit
from nearfar.edge.snippet import snippet
from nearfar.edge.store.reader import StoredPassage
from nearfar.errors import DataError
from nearfar.sources.document import MODALITY

if TYPE_CHECKING:
    from nearfar.edge.reranker import Reranker

RERANK_DEPTH = 50
"""How many passages a cross-encoder reads, unless the caller says otherwise."""
_DIVERSITY_POOL = 50
"""From how many passages, at least, the diverse ones are chosen; five times k where that is more."""

Answer = tuple[StoredPassage, float]
Ranking = Callable[[int], Iterator[Answer]]
"""Gives passages, best first, each once, for as long as more are asked for; told how many will be wanted in most cases."""
Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a caller of `SearchIndex.search` asks for beside the query; see there."""

    k: int
    where: str | None = None
    min_score: float | None = None
    diversity: float | None = None
    distinct: Distinct = "text"
    rerank_depth: int = RERANK_DEPTH
    among: Sequence[str] | None = None
    fair: bool = True

    def __post_init__(self) -> None:
        """Refuse what makes no sense.

        Raises:
            DataError: naming the argument and what it may be.
        """
        if not isinstance(self.k, int) or self.k < 1:
            raise DataError(f"k is how many passages to return, a whole number of at least 1, not {self.k!r}")
        if not isinstance(self.rerank_depth, int) or self.rerank_depth < 1:
            raise DataError(
                f"rerank_depth is how many passages are read again, a whole number of at least 1, not {self.rerank_depth!r}"
            )
        for name, number in (("diversity", self.diversity), ("min_score", self.min_score)):
            if number is not None and not (isinstance(number, int | float) and math.isfinite(number)):
                raise DataError(f"{name} is {number!r}; give a number")
        if self.diversity is not None and not 0 <= self.diversity <= 1:
            raise DataError(
                f"diversity is {self.diversity}; it goes from 0 (only relevance counts) to 1 (only difference counts)"
            )


def answers(
    query: str,
    ranking: Ranking,
    wanted: Wanted,
    reranker: Reranker | None,
    vectors: Callable[[Sequence[StoredPassage]], Vectors],
    items: Collection[str] = (),
) -> list[Answer]:
    """The passages to return, best first; in the order chosen, where they shall differ.

    Args:
        query: that they answer.
        ranking: of the passages.
        wanted: by the caller.
        reranker: orders the best of them anew.
        vectors: of passages, float32 (n, d); asked for where answers shall differ.
        items: the towers of an index whose documents are no texts, so that equal words do not make them copies.
    """
    taken = wanted.k if wanted.diversity is None else max(_DIVERSITY_POOL, 5 * wanted.k)
    if reranker is not None:
        taken = wanted.rerank_depth
    # A few more than are taken, for those that say the same.
    pool = taken if wanted.distinct == "none" else taken + taken // 2 + 5
    chosen = list(islice(_told_once(ranking(pool), wanted.distinct, items), taken))
    if reranker is not None and chosen:
        scores = reranker.scores(query, [_content(passage) for passage, _ in chosen])
        order = np.argsort(-scores, kind="stable").tolist()
        chosen = [(chosen[place][0], float(scores[place])) for place in order]
    if wanted.min_score is not None:
        chosen = [found for found in chosen if found[1] >= wanted.min_score]
    if wanted.diversity is not None and chosen:
        rows = vectors([passage for passage, _ in chosen])
        relevance = np.array([score for _, score in chosen])
        chosen = [chosen[place] for place in mmr(relevance, rows, wanted.k, wanted.diversity).tolist()]
    return chosen[: wanted.k]


def as_hits(found: Sequence[Answer], shown: Sequence[str], thumbnails: Mapping[str, bytes] | None = None) -> list[Hit]:
    """Passages as hits.

    Args:
        found: passages with their scores, best first.
        shown: a hit has the part of its text with most of the words that begin with one of these.
        thumbnails: small pictures by id of the document, in an index whose documents have a tower; None in one of texts.
    """
    stems = sorted(set(shown))
    return [
        Hit(
            id=passage.id,
            title=passage.title,
            text=snippet(passage.text, stems),
            location=passage.location,
            score=score,
            rank=rank,
            passage=passage.number,
            heading="" if passage.heading == passage.title else passage.heading,
            page=passage.page,
            metadata=passage.metadata,
            modality="" if thumbnails is None else str(passage.metadata.get(MODALITY, "")),
            thumbnail=(thumbnails or {}).get(passage.id, b""),
        )
        for rank, (passage, score) in enumerate(found, start=1)
    ]


def checked_query(query: str) -> str:
    """A query as every part of a search takes it.

    Raises:
        DataError: it is blank or no text.
    """
    if not isinstance(query, str):
        raise DataError(f"a query is a text, not {type(query).__name__}")
    query = query.encode("utf-8", "replace").decode().replace("\0", " ")
    if not query.strip():
        raise DataError("the query is empty; type some words to search for")
    return query


class Rerankers:
    """Opens the cross-encoders that callers name, each once."""

    def __init__(self, threads: int) -> None:
        """Let each use so many threads."""
        self._threads = threads
        self._open: dict[Path, Reranker] = {}

    def get(self, rerank: Reranker | str | Path | None) -> Reranker | None:
        """The cross-encoder that is given, or that of a bundle.

        Raises:
            BundleError: the bundle is damaged, or of another kind.
        """
        if not isinstance(rerank, str | Path):
            return rerank
        from nearfar.edge.reranker import Reranker

        path = Path(rerank)
        if path not in self._open:
            self._open[path] = Reranker.open(path, threads=self._threads)
        return self._open[path]


def _told_once(ranking: Iterator[Answer], kind: Distinct, items: Collection[str]) -> Iterator[Answer]:
    scores: dict[tuple[str, int], float] = {}

    def passages() -> Iterator[StoredPassage]:
        for passage, score in ranking:
            scores[passage.id, passage.number] = score
            yield passage

    def own(passage: StoredPassage) -> bool:
        return bool(items) and passage.metadata.get(MODALITY) in items

    return ((passage, scores[passage.id, passage.number]) for passage in distinct(passages(), kind, own=own))


def _content(passage: StoredPassage) -> str:
    return f"{passage.heading}\n{passage.text}" if passage.heading else passage.text
