"""Texts that say nearly the same, by their letters: partners of one may not count as negatives of the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nearfar.index.exact import top_k
from nearfar.index.hnsw import HnswIndex

Ints = npt.NDArray[np.int64]

MOST = 16
"""Texts that are noted down for each, itself among them."""

_FOLDED = 5_000  # letters of a text that are looked at
_HASHED = 256  # components by which texts are found that may be near
_SLACK = 0.1  # how far a cosine of these may be off: four standard deviations where texts are near
_CANDIDATES = 2 * MOST  # of one text that are looked at closely; templates make thousands
_ROWS = 1_024
_SCANNED = 60_000  # texts that are compared with each other by a scan; of more a graph finds those that may be near


def alike_texts(
    texts: Sequence[str], similar: float | None, *, progress: Callable[[int], None] = lambda _: None
) -> Ints:
    """For each text those whose counts of letter trigrams have at least some cosine with its own.

    Candidates are found by hashed counts (Weinberger et al., Feature hashing for large scale multitask learning, 2009), and compared
    exactly. Of a text that has many which are alike the nearest stay.

    Args:
        texts: n different ones.
        similar: least cosine, above 0; None takes none but the text itself.
        progress: called with the number of texts just compared.

    Returns:
        (n, p) int64, p at most `MOST`: numbers of texts, itself first, then the nearest; filled up with -1.
    """
    count = len(texts)
    own = np.arange(count, dtype=np.int64)[:, None]
    if similar is None or count < 2:
        return own
    grams = _trigrams(texts, 2**20, alternate=False)
    found = []
    for left, right in _candidates(_trigrams(texts, _HASHED, alternate=True).toarray(), similar - _SLACK):
        cosines = np.asarray(grams[left].multiply(grams[right]).sum(axis=1), np.float64).ravel()
        near = cosines >= similar - 1e-6
        found.append((left[near], right[near], cosines[near]))
        progress(min(_ROWS, count))
    left, right, cosines = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.lexsort((right, -cosines, left))
    left, right = left[order], right[order]
    place = np.arange(len(left)) - np.searchsorted(left, left)
    kept = place < MOST - 1
    table = np.full((count, int(place[kept].max(initial=-1)) + 1), -1, np.int64)
    table[left[kept], place[kept]] = right[kept]
    return np.concatenate([own, table], axis=1)


def _trigrams(texts: Sequence[str], features: int, *, alternate: bool) -> Any:
    """Unit rows of counts of the trigrams of the folded texts, ends included, as a sparse matrix (n, features)."""
    from sklearn.feature_extraction.text import HashingVectorizer

    folded = [f" {' '.join(text[:_FOLDED].casefold().split())} " for text in texts]
    vectoriser = HashingVectorizer(
        analyzer="char",
        ngram_range=(3, 3),
        lowercase=False,
        n_features=features,
        alternate_sign=alternate,
        dtype=np.float32,
    )
    return vectoriser.transform(folded)


def _candidates(vectors: npt.NDArray[np.float32], least: float) -> Iterator[tuple[Ints, Ints]]:
    """Pairs (left, right) of different rows that may be near, block by block of the first."""
    count = len(vectors)
    graph = None
    if count > _SCANNED:
        ids = np.arange(count, dtype=np.int64)
        graph = HnswIndex.build([(ids, vectors)], sample=vectors[:: max(1, count // 10_000)])
    for start in range(0, count, _ROWS):
        part = vectors[start : start + _ROWS]
        if graph is not None:
            scores, ids = graph.search(part, _CANDIDATES + 1, ef=4 * _CANDIDATES)
            rows, places = np.nonzero((scores >= least) & (ids >= 0))
            columns = ids[rows, places]
        else:
            rows, columns = _scanned(part @ vectors.T, least)
        other = rows + start != columns
        yield rows[other] + start, columns[other]


def _scanned(scores: npt.NDArray[np.float32], least: float) -> tuple[Ints, Ints]:
    """Rows and columns of the scores from `least` on; of a row with many of these the best."""
    near = scores >= least
    full = np.flatnonzero(near.sum(axis=1) > _CANDIDATES)
    if len(full):
        _, best = top_k(scores[full], np.arange(scores.shape[1]), _CANDIDATES + 1)
        near[full] = False
        near[full[:, None], best] = True
    rows, columns = np.nonzero(near)
    return rows, columns
