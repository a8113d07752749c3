"""The held-out pairs of a corpus as a retrieval task: which of all its documents belongs to this query?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import numpy as np

from nearfar.evaluate import RetrievalTask
from nearfar.learn.data.corpus import Ints, PairCorpus


class CorpusTexts(Sequence[str]):
    """Some texts of a corpus by position; they stay on disk."""

    def __init__(self, corpus: PairCorpus, numbers: Ints) -> None:
        self._texts, self._numbers = corpus.texts, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[str]: ...
    def __getitem__(self, place: int | slice) -> str | Sequence[str]:
        if isinstance(place, slice):
            return [self._texts[int(number)] for number in self._numbers[place]]
        return self._texts[int(self._numbers[place])]


def retrieval_task(
    corpus: PairCorpus, side: int, *, max_queries: int, max_documents: int, seed: int
) -> RetrievalTask | None:
    """The queries of one side against all candidates of the corpus, those of training included.

    Args:
        corpus: the corpus.
        side: VALIDATION or TEST.
        max_queries: a random sample of so many queries where there are more.
        max_documents: all positives and a random sample of the others where there are more.
        seed: of the samples.

    Returns:
        The task; None where nothing was held out on this side.
    """
    rng = np.random.default_rng([seed, 3, side])
    queries = np.sort(rng.permutation(corpus.queries_of(side))[:max_queries])
    if not len(queries):
        return None
    documents = np.flatnonzero(corpus.candidates)
    if len(documents) > max_documents:
        positives = np.unique(np.concatenate([corpus.positives_of(int(q)) for q in queries]))
        others = rng.permutation(np.setdiff1d(documents, positives))
        documents = np.sort(np.concatenate([positives, others[: max(0, max_documents - len(positives))]]))
    qrels = [{int(place): 1.0 for place in np.searchsorted(documents, corpus.positives_of(int(q)))} for q in queries]
    return RetrievalTask(
        CorpusTexts(corpus, corpus.query_texts[queries]), CorpusTexts(corpus, corpus.document_texts[documents]), qrels
    )
