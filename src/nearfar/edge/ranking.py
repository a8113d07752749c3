"""Ranking the passages of a store for one query: which may be found, and in which order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from nearfar.bundle.joint_record import ScoreScale
from nearfar.bundle.manifest import Fusion
from nearfar.edge.answer import Answer, Wanted
from nearfar.edge.dense import nearest
from nearfar.edge.fusion import fuse
from nearfar.edge.items.mixed import Search, Share, ranked
from nearfar.edge.store.keyword import Term, distinct_words
from nearfar.edge.towers import Towers
from nearfar.edge.view import StoreView

Mode = Literal["hybrid", "dense", "keyword"]
CANDIDATES = 100
"""How many passages each side, embedding and keywords, hands to the fusion."""
_SHOWN = 8

Features = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
Vector = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Question:
    """One query, ready to be ranked.

    Attributes:
        text: empty of one that is no text.
        mode: how it is ranked.
        vector: its embedding, float32 (d,); None in mode `keyword`.
        terms: its words, where they count.
        allowed: rows that may be found; None allows all.
        shares: the parts of an index of several towers, which are ranked by how far hits stand out in theirs; none ranks all by cosine.
    """

    text: str
    mode: Mode
    vector: Vector | None
    terms: Sequence[Term]
    allowed: Rows | None
    shares: tuple[Share, ...] = ()

    def shown(self) -> list[str]:
        """Beginnings of the words that a snippet should show: the rarest, where that is known."""
        if self.mode == "dense":
            return distinct_words(self.text)[:_SHOWN]
        return [term.stem if term.word.startswith(term.stem) else term.word for term in self.terms[:_SHOWN]]


def allowed_rows(store: StoreView, towers: Towers, wanted: Wanted) -> Rows | None:
    """The rows that the condition and the towers asked for allow, ascending; None allows all."""
    allowed = store.allowed(wanted.where) if wanted.where else None
    if wanted.among is None or set(wanted.among) == set(towers.names):
        return allowed
    parts = [store.of_tower(name) for name in dict.fromkeys(wanted.among)]
    some = np.sort(np.concatenate([np.empty(0, np.int64), *parts]))
    return some if allowed is None else np.intersect1d(allowed, some, assume_unique=True)


def shares_of(
    store: StoreView, towers: Towers, wanted: Wanted, allowed: Rows | None, scales: Mapping[str, ScoreScale]
) -> tuple[Share, ...]:
    """What each tower has of the rows that may be found; nothing where what chance gives was not measured of all of them.

    Args:
        store: of the index.
        towers: of its bundle.
        wanted: by the caller.
        allowed: what `allowed_rows` returned.
        scales: of queries of the tower that asks with items of each; none ranks by cosine.
    """
    if not scales:
        return ()
    there = {name: rows for name in wanted.among or towers.names if len(rows := store.of_tower(name))}
    if not there.keys() <= scales.keys():
        return ()
    return tuple(Share(_search_in(store, name, rows, allowed), scales[name]) for name, rows in there.items())


def _search_in(store: StoreView, name: str, rows: Rows, allowed: Rows | None) -> Search:
    """What finds the nearest among the rows of one tower that may be found."""
    codes = store.codes_of_tower(name)
    if codes is None:
        some = rows if allowed is None else np.intersect1d(rows, allowed, assume_unique=True)
        return lambda query, k: store.dense.search(query, k, some)
    some_codes = codes if allowed is None else codes.among(allowed)
    return lambda query, k: nearest(query, [some_codes], k)


def ranked_passages(store: StoreView, fusion: Fusion, question: Question, pool: int) -> Iterator[Answer]:
    """The passages of a question, best first, read when they are asked for; more are looked for when those run out.

    Args:
        store: inside one state of it.
        fusion: joins the scores in mode `hybrid`.
        question: to answer.
        pool: how many are looked for at first.
    """
    given: set[int] = set()
    while True:
        best = _ranked(store, fusion, question, pool)
        # A deeper look can find something better than what is out already; it comes after that, and none comes twice.
        fresh = [found for found in best if found[0] not in given]
        step = max(10, pool // 4)
        for start in range(0, len(fresh), step):
            part = fresh[start : start + step]
            passages = store.reader.passages_in([row for row, _ in part])
            # A damaged file of postings can name rows that are not there.
            yield from ((passages[row], score) for row, score in part if row in passages)
        if len(best) < pool:
            return
        given.update(row for row, _ in fresh)
        pool *= 4


def joined(
    store: StoreView, vector: Vector, terms: Sequence[Term], depth: int, allowed: Rows | None
) -> tuple[list[int], Features]:
    """The best `depth` rows of each side, ascending, with all features of each (c, 3)."""
    near = store.dense.candidates(vector, depth, allowed)
    worded = store.keywords.candidates(terms, store.dense.total, depth, allowed)
    codes = store.dense.codes_of(np.union1d(near, np.array(worded, dtype=np.int64)))
    rows = codes.rows
    features = np.zeros((len(rows), 3), dtype=np.float32)
    features[:, 0] = codes.scores(vector)
    features[:, 1] = store.keywords.scores(terms, store.dense.total, rows.tolist())
    if features[:, 1].any():
        features[:, 2] = features[:, 1] / features[:, 1].max()
    return rows.tolist(), features


def _ranked(store: StoreView, fusion: Fusion, question: Question, k: int) -> list[tuple[int, float]]:
    allowed = question.allowed
    if question.vector is None:
        total = store.reader.passages()
        return store.keywords.best(question.terms, total, min(k, total), allowed)
    if question.shares:
        return ranked(question.vector, k, question.shares)
    if question.mode == "dense":
        rows, cosines = store.dense.search(question.vector, k, allowed)
        return list(zip(rows.tolist(), cosines.tolist(), strict=True))
    candidates, features = joined(store, question.vector, question.terms, max(k, CANDIDATES), allowed)
    scores = fuse(features, fusion)
    order = np.lexsort((np.array(candidates), -scores))[:k]
    return [(candidates[position], float(scores[position])) for position in order]
