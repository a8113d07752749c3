"""What it costs when documents come later: a tenth of them is held out of training, and embedded in three ways."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nearfar.edge.teacher import BySide
from nearfar.embedder import Embedder, Item, Side
from nearfar.evaluate import RetrievalTask, rank_dense
from nearfar.evaluate.metrics import ndcg_at

_SHARE = 0.1


def held_out(documents: int) -> frozenset[int]:
    """Places of a tenth of the documents, always the same."""
    drawn = np.random.default_rng(0).permutation(documents)[: max(1, round(documents * _SHARE))]
    return frozenset(drawn.tolist())


def asking_for(task: RetrievalTask, places: frozenset[int]) -> RetrievalTask:
    """The queries that have a relevant document among `places`, over all documents.

    Raises:
        DataError: no query has one.
    """
    kept = [n for n, judged in enumerate(task.qrels) if any(gain > 0 and p in places for p, gain in judged.items())]
    return RetrievalTask([task.queries[n] for n in kept], task.documents, [task.qrels[n] for n in kept])


class _Either:
    """Some texts through one embedder, all others through another."""

    def __init__(self, texts: frozenset[str], one: Embedder, other: Embedder) -> None:
        self._texts, self._one, self._other = texts, one, other

    @property
    def dim(self) -> int:
        return self._one.dim

    def embed(self, items: Sequence[Item], side: Side = "document") -> npt.NDArray[np.float32]:
        vectors = np.array(self._other.embed(items, side))
        chosen = [place for place, item in enumerate(items) if item in self._texts]
        if chosen:
            vectors[chosen] = self._one.embed([items[place] for place in chosen], side)
        return vectors


def added(
    task: RetrievalTask, places: frozenset[int], table: Embedder, teacher: Embedder
) -> dict[str, npt.NDArray[np.float64]]:
    """nDCG@10 of each query by who embeds documents: `teacher` all, `table` those at `places`, `all_table` all."""
    new = frozenset(task.documents[place] for place in places)
    ways: dict[str, Embedder] = {
        "teacher": BySide(table, teacher),
        "table": BySide(table, _Either(new, table, teacher)),
        "all_table": table,
    }
    return {name: ndcg_at(rank_dense(embedder, task), task.qrels, 10) for name, embedder in ways.items()}
