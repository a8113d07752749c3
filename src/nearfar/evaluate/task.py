"""What a retrieval evaluation is about: queries, documents, and which belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nearfar.errors import DataError
from nearfar.evaluate.metrics import Qrels


@dataclass(frozen=True, slots=True)
class RetrievalTask:
    """Queries, the documents to find, and which documents each query should find.

    Attributes:
        queries: the query texts, q of them.
        documents: the texts to search, n of them; anything with a length and integer indexing will do, so that a large
            collection can stay on disk.
        qrels: for each query the gain of its judged documents by their index; a gain above 0 is relevant.

    Raises:
        DataError: if there is nothing to measure, or a query has no relevant document, or a judgement points nowhere.
    """

    queries: Sequence[str]
    documents: Sequence[str]
    qrels: Qrels

    def __post_init__(self) -> None:
        if not len(self.queries) or not len(self.documents):
            raise DataError(
                f"nothing to measure: {len(self.queries)} queries over {len(self.documents)} documents; "
                "a retrieval task needs at least one of each"
            )
        if len(self.qrels) != len(self.queries):
            raise DataError(
                f"{len(self.queries)} queries but judgements for {len(self.qrels)}; every query needs its own"
            )
        for query, judged in enumerate(self.qrels):
            stray = [document for document in judged if not 0 <= document < len(self.documents)]
            if stray:
                raise DataError(f"query {query} is judged on document {stray[0]}; there are only {len(self.documents)}")
            if not any(gain > 0 for gain in judged.values()):
                raise DataError(f"query {query} has no relevant document, so no ranking can be right; leave it out")
