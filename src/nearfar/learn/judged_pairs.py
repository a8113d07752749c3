"""What a reranker learns from: queries with passages that answer them and passages that only look as if they did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nearfar.errors import DataError
from nearfar.evaluate import RetrievalTask, rank_bm25
from nearfar.learn.data.split import TEST, components, sides_by_component
from nearfar.learn.data.textfile import text_key
from nearfar.sources import Pair

_NEGATIVES = 30  # mined for a query: the first places of BM25 after its own


@dataclass(frozen=True)
class Judged:
    """A query of the training side.

    Attributes:
        query: its text.
        positives: passages that answer it, at least one.
        negatives: passages that do not, hard ones first; may be empty.
    """

    query: str
    positives: tuple[str, ...]
    negatives: tuple[str, ...]


@dataclass(frozen=True)
class Training:
    """Pairs, split.

    Attributes:
        judged: what is learned from.
        passages: of the training side, where random negatives come from.
        test: held-out queries over all passages; None where too little was given.
    """

    judged: list[Judged]
    passages: list[str]
    test: RetrievalTask | None


def judged_pairs(pairs: Sequence[Pair], *, test: float = 0.1, max_test: int = 200, seed: int = 0) -> Training:
    """Split pairs and find the negatives of each query.

    Queries that share a passage stay on one side. A negative is what the pairs name as one; else what BM25 finds for the
    query among the passages of the training side, its own left out. Passages that answer a query without being named so are
    taken for negatives: give every query all that it should find.

    Args:
        pairs: with texts that are not empty.
        test: share of the queries that is held out.
        max_test: at most so many held-out queries are measured.
        seed: of the split.

    Returns:
        The training side, and the held-out task.

    Raises:
        DataError: fewer than two queries or passages are left to learn from.
        MissingExtraError: bm25s is not installed.
    """
    positives: dict[str, dict[str, None]] = {}
    named: dict[str, dict[str, None]] = {}
    for pair in pairs:
        positives.setdefault(pair.query, {}).update(dict.fromkeys(pair.positives))
        named.setdefault(pair.query, {}).update(dict.fromkeys(pair.negatives))
    queries = list(positives)
    keys = np.array([text_key(query) for query in queries], dtype=np.int64)
    links = [(text_key(query), text_key(text)) for query, texts in positives.items() for text in texts]
    left, right = (np.array(side, dtype=np.int64) for side in zip(*links, strict=True)) if links else (keys, keys)
    sides = sides_by_component(components(keys, [(left, right)]), 0.0, test, seed)
    trained = [query for query, side in zip(queries, sides, strict=True) if side != TEST]
    held_out = [query for query, side in zip(queries, sides, strict=True) if side == TEST][:max_test]
    passages = list(dict.fromkeys(text for query in trained for text in positives[query]))
    if len(trained) < 2 or len(passages) < 2:
        raise DataError(
            f"{len(trained)} queries with {len(passages)} passages are left to learn from: give at least two of each, better "
            "a thousand"
        )
    judged = _with_negatives(trained, passages, positives, named)
    whole = passages + list(dict.fromkeys(text for query in held_out for text in positives[query]))
    numbers = {text: number for number, text in enumerate(whole)}
    qrels = [{numbers[text]: 1.0 for text in positives[query]} for query in held_out]
    return Training(judged, passages, RetrievalTask(held_out, whole, qrels) if held_out else None)


def _with_negatives(
    queries: Sequence[str],
    passages: Sequence[str],
    positives: dict[str, dict[str, None]],
    named: dict[str, dict[str, None]],
) -> list[Judged]:
    numbers = {text: number for number, text in enumerate(passages)}
    own = [{numbers[text]: 1.0 for text in positives[query]} for query in queries]
    mined = rank_bm25(RetrievalTask(queries, passages, own), _NEGATIVES + 10, split_identifiers=True)
    judged = []
    for query, found in zip(queries, mined, strict=True):
        given = [text for text in named[query] if text not in positives[query]]
        hard = [passages[n] for n in found if n >= 0 and passages[n] not in positives[query]]
        judged.append(Judged(query, tuple(positives[query]), tuple(given or hard[:_NEGATIVES])))
    return judged
