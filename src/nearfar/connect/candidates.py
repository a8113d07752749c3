"""From a server's scores to passages in order: joined, fetched, read again by a cross-encoder, set apart from each other."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from nearfar.bundle.manifest import Fusion
from nearfar.connect.server import Question, Scored, Server
from nearfar.edge.diversity import mmr
from nearfar.edge.fusion import fuse
from nearfar.edge.search import CANDIDATES, Mode

if TYPE_CHECKING:
    from nearfar.edge.reranker import Reranker

_FETCHED = 50
"""Passages whose texts are fetched at a time."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A passage with its score; `fields` as in `Outgoing`."""

    key: uuid.UUID
    id: str
    text: str
    begin: int
    end: int
    score: float
    fields: Mapping[str, Any]

    @property
    def content(self) -> str:
        """Heading and text as one string: what was embedded, and what a cross-encoder reads."""
        return f"{self.fields['heading']}\n{self.text}" if self.fields["heading"] else self.text


def candidates(server: Server, question: Question, fusion: Fusion, k: int) -> Iterator[Candidate]:
    """Passages, best first, for as long as more are wanted.

    Args:
        server: asked anew, deeper, when the first `k` do not suffice.
        question: what it is asked.
        fusion: joins the scores of mode `hybrid`.
        k: how many will be wanted in most cases.
    """
    seen: set[uuid.UUID] = set()
    depth = max(k, CANDIDATES) if question.mode == "hybrid" else k
    while True:
        scored = server.scored(question, depth)
        # A deeper look can find something better than what is out already; it comes after that, and none comes twice.
        ranked = [pair for pair in _ranked(scored, question.mode, fusion) if pair[0] not in seen]
        for start in range(0, len(ranked), _FETCHED):
            yield from _fetched(server, ranked[start : start + _FETCHED])
        if not scored.full:
            return
        seen.update(key for key, _ in ranked)
        depth *= 4


def reranked(found: Sequence[Candidate], query: str, reranker: Reranker) -> list[Candidate]:
    """Candidates with the scores of a cross-encoder, best first."""
    scores = reranker.scores(query, [each.content for each in found]).tolist() if found else []
    scored = [replace(each, score=score) for each, score in zip(found, scores, strict=True)]
    return sorted(scored, key=lambda each: -each.score)


def diverse(server: Server, found: Sequence[Candidate], k: int, diversity: float) -> list[Candidate]:
    """K of the candidates, each unlike those before it; see `mmr`."""
    there = server.passages([each.key for each in found], vectors=True)
    kept = [each for each in found if each.key in there]
    if not kept:
        return []
    vectors = np.stack([np.asarray(there[each.key].vector, dtype=np.float32) for each in kept])
    relevance = np.array([each.score for each in kept])
    return [kept[place] for place in mmr(relevance, vectors, k, diversity).tolist()]


def _ranked(scored: Scored, mode: Mode, fusion: Fusion) -> list[tuple[uuid.UUID, float]]:
    scores = scored.bm25 if mode == "keyword" else scored.dense
    if mode == "hybrid":
        best = float(scored.bm25.max(initial=0.0))
        relative = scored.bm25 / best if best else np.zeros_like(scored.bm25)
        scores = fuse(np.stack([scored.dense, scored.bm25, relative], axis=1), fusion)
    return sorted(zip(scored.keys, scores.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0]))


def _fetched(server: Server, ranked: Sequence[tuple[uuid.UUID, float]]) -> Iterator[Candidate]:
    found = server.passages([key for key, _ in ranked], vectors=False)
    for key, score in ranked:
        if key in found:  # a push may have deleted it since
            fields = found[key].fields
            yield Candidate(key, fields["id"], fields["text"], fields["begin"], fields["end"], score, fields)
