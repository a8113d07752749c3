"""The keyword baseline: BM25, through bm25s."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nearfar.errors import MissingExtraError
from nearfar.evaluate.task import RetrievalTask

Analysis = Literal["english", "plain"]
"""How text becomes terms: with English stop words removed and stemmed, or only lowercased and split."""

_IDENTIFIER_BORDER = re.compile(r"_+|(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def rank_bm25(
    task: RetrievalTask, k: int = 100, *, analysis: Analysis = "english", split_identifiers: bool = False
) -> npt.NDArray[np.int64]:
    """Rank the documents by BM25 (Lucene's variant, k1 = 1.5, b = 0.75): the baseline that an encoder has to beat.

    Args:
        task: what to rank.
        k: how many places to fill, at least 1.
        analysis: how text becomes terms.
        split_identifiers: whether snake_case and camelCase are cut into words first; a stronger baseline on code.

    Returns:
        int64 array (q, min(k, n)), best first, among equals the lower index first; -1 where no further document shares
        a term with the query.

    Raises:
        MissingExtraError: if bm25s or PyStemmer is not installed.
        ValueError: if `k` is below 1.

    Source: Lù, BM25S: Orders of magnitude faster lexical search via eager sparse scoring, 2024, section 2.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    try:
        import bm25s
        import Stemmer
    except ImportError as error:
        raise MissingExtraError("train", "The BM25 baseline") from error

    def terms(texts: Sequence[str], *, return_ids: bool) -> Any:
        # One by one, so that a collection on disk is never in memory as text.
        single: Iterator[str] = (texts[index] for index in range(len(texts)))
        return bm25s.tokenize(
            (_IDENTIFIER_BORDER.sub(" ", text) for text in single) if split_identifiers else single,
            stopwords="english" if analysis == "english" else [],
            stemmer=Stemmer.Stemmer("english") if analysis == "english" else None,
            return_ids=return_ids,
            show_progress=False,
        )

    ranked = np.full((len(task.queries), min(k, len(task.documents))), -1, dtype=np.int64)
    document_terms = terms(task.documents, return_ids=True)
    if not document_terms.vocab:
        return ranked
    index = bm25s.BM25(method="lucene")
    index.index(document_terms, show_progress=False)
    for place, query_terms in enumerate(terms(task.queries, return_ids=False)):
        if query_terms:
            found = _best(index.get_scores(query_terms), k)
            ranked[place, : len(found)] = found
    return ranked


def _best(scores: npt.NDArray[np.float32], k: int) -> npt.NDArray[np.int64]:
    """Indices of the at most `k` highest scores above 0, best first, among equals the lower index first."""
    matching = np.flatnonzero(scores > 0)
    if len(matching) > k:
        threshold = np.partition(scores[matching], -k)[-k]
        matching = matching[scores[matching] >= threshold]
    in_order = np.argsort(-scores[matching], kind="stable")[:k]
    return matching[in_order]
