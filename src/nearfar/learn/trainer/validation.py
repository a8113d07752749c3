"""Retrieval on the held-out pairs while training: figures to stop by, not figures to report."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nearfar.evaluate.metrics import mrr_at, ndcg_at, recall_at
from nearfar.frontend import TextFrontend
from nearfar.index.exact import exact_search
from nearfar.learn.data.corpus import PairCorpus
from nearfar.learn.data.split import VALIDATION
from nearfar.learn.data.textfile import TokenFile
from nearfar.learn.methods.dual_encoder import DualEncoder
from nearfar.learn.model import TorchEmbedder


class PairRetrieval:
    """Validation queries against their positives and a fixed sample of other documents.

    Args:
        corpus: the corpus.
        query_tokens: token ids of its queries.
        document_tokens: token ids of its documents.
        frontend: for padding.
        max_queries: at most so many validation queries.
        max_documents: at most so many candidates; all positives are among them.
        seed: of the sample.
        document_vectors: (d, D) what documents are in place of what the model would make of them.
    """

    def __init__(
        self,
        corpus: PairCorpus,
        query_tokens: TokenFile,
        document_tokens: TokenFile,
        frontend: TextFrontend,
        *,
        seed: int,
        max_queries: int = 1_000,
        max_documents: int = 10_000,
        document_vectors: npt.NDArray[np.floating] | None = None,
    ) -> None:
        rng = np.random.default_rng([seed, 2])
        queries = rng.permutation(corpus.queries_of(VALIDATION))[:max_queries]
        positives = np.unique(np.concatenate([corpus.positives_of(int(q)) for q in queries]))
        others = np.setdiff1d(np.flatnonzero(corpus.candidates), positives)
        room = max(0, max_documents - len(positives))
        documents = np.concatenate([positives, rng.permutation(others)[:room]])
        place = {int(d): i for i, d in enumerate(documents)}
        self._qrels = [{place[int(d)]: 1.0 for d in corpus.positives_of(int(q))} for q in queries]
        self._queries: list[npt.NDArray[np.int32]] = [np.array(query_tokens[int(q)]) for q in queries]
        self._given = None if document_vectors is None else np.asarray(document_vectors[documents], dtype=np.float32)
        self._documents: list[npt.NDArray[np.int32]] = [np.array(document_tokens[int(d)]) for d in documents]
        self._frontend = frontend

    def measure(self, method: DualEncoder) -> dict[str, float]:
        """nDCG@10, recall@1 and @10 and MRR@10 of a method in training, each a mean over the queries."""
        embedder = TorchEmbedder(method, self._frontend)
        documents = embedder.embed_tokens(self._documents, "document") if self._given is None else self._given
        _, ranked = exact_search(embedder.embed_tokens(self._queries, "query"), documents, 10)
        return {
            "ndcg_at_10": float(ndcg_at(ranked, self._qrels, 10).mean()),
            "recall_at_1": float(recall_at(ranked, self._qrels, 1).mean()),
            "recall_at_10": float(recall_at(ranked, self._qrels, 10).mean()),
            "mrr_at_10": float(mrr_at(ranked, self._qrels, 10).mean()),
        }
