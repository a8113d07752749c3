"""From a server's scores to passages in order: joined, and fetched."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence

import numpy as np

from nearfar.bundle.manifest import Fusion
from nearfar.connect.outgoing import metadata_of, passage_key
from nearfar.connect.server import Found, Question, Scored, Server, Vector
from nearfar.edge.answer import Answer
from nearfar.edge.fusion import fuse
from nearfar.edge.search import CANDIDATES, Mode
from nearfar.edge.store.reader import StoredPassage

_FIELDS = ("id", "number", "title", "heading", "text", "location", "page", "begin", "end")
_FETCHED = 50
"""Passages whose texts are fetched at a time."""


def candidates(server: Server, question: Question, fusion: Fusion, k: int) -> Iterator[Answer]:
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


def vectors_of(server: Server, passages: Sequence[StoredPassage]) -> Vector:
    """The vectors of passages, float32 (n, d); zeros for one that a push has deleted since."""
    keys = [passage_key(passage.id, passage.number) for passage in passages]
    there = server.passages(keys, vectors=True)
    found = {key: np.asarray(each.vector, dtype=np.float32) for key, each in there.items() if each.vector is not None}
    missing = np.zeros(next((len(vector) for vector in found.values()), 1), dtype=np.float32)
    return np.stack([found.get(key, missing) for key in keys])


def stored(found: Found) -> StoredPassage:
    """A passage as the server keeps it, like one of a store; the server knows no rows."""
    fields = {name: found.fields[name] for name in _FIELDS}
    return StoredPassage(0, **fields, metadata=metadata_of(found.fields["metadata"]))


def _ranked(scored: Scored, mode: Mode, fusion: Fusion) -> list[tuple[uuid.UUID, float]]:
    scores = scored.bm25 if mode == "keyword" else scored.dense
    if mode == "hybrid":
        best = float(scored.bm25.max(initial=0.0))
        relative = scored.bm25 / best if best else np.zeros_like(scored.bm25)
        scores = fuse(np.stack([scored.dense, scored.bm25, relative], axis=1), fusion)
    return sorted(zip(scored.keys, scores.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0]))


def _fetched(server: Server, ranked: Sequence[tuple[uuid.UUID, float]]) -> Iterator[Answer]:
    found = server.passages([key for key, _ in ranked], vectors=False)
    for key, score in ranked:
        if key in found:  # a push may have deleted it since
            yield stored(found[key]), score
