"""The scores of the passages of one file of postings, and the best of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from nearfar.index.postings import Postings

_GROUP = 64
_COMMON = 16
"""A word is common when at least one in so many passages holds it: adding n kept scores is then quicker than adding up
its postings, which lie scattered."""
_KEPT_BYTES = 16 << 20

Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ScoredPart:
    """Postings with what a query needs beside them.

    Attributes:
        postings: of the passages.
        gone: numbers of the passages that are no longer there, int64.
        mask: whether a passage is gone, bool (room,); empty when none is.
        norms: float32 (room,).
        scores: of the last query, float32 (room,); only postings of an altered file lie behind the first n.
        kept: the scores that common words give, float32 (n,) each, the one used last at the end. The same few dozen
            words make most of the work of all queries.
    """

    postings: Postings
    gone: npt.NDArray[np.int64]
    mask: npt.NDArray[np.bool_]
    norms: Floats
    scores: Floats
    kept: dict[tuple[int, float], Floats] = field(default_factory=dict)

    @classmethod
    def of(cls, postings: Postings, gone: npt.NDArray[np.int64], mean_length: float) -> ScoredPart:
        """Make ready to score `postings` without the passages `gone`."""
        mask = np.zeros(postings.room if len(gone) else 0, dtype=bool)
        mask[gone] = True
        return cls(postings, gone, mask, postings.norms(mean_length), np.zeros(postings.room, dtype=np.float32))

    def holders(self, number: int) -> int:
        """How many passages that are there hold a word."""
        held = self.postings.holders(number)
        if len(self.gone):
            held -= int(np.count_nonzero(self.mask[self.postings.passages(number)]))
        return held

    def score(self, weights: Sequence[tuple[int, float]]) -> None:
        """Fill `scores` with the BM25 of some words, given by number and inverse document frequency."""
        self.scores.fill(0)
        here = self.scores[: len(self.postings)]
        rare = []
        for number, weight in weights:
            if self._is_common(number):
                np.add(here, self._scores_of_common(number, weight), out=here)
            else:
                rare.append((number, weight))
        self.postings.add_scores(rare, self.norms, self.scores)
        self.scores[self.gone] = 0

    def _is_common(self, number: int) -> bool:
        return self.scores.nbytes <= _KEPT_BYTES and self.postings.holders(number) * _COMMON >= len(self.postings)

    def _scores_of_common(self, number: int, weight: float) -> Floats:
        scores = self.kept.pop((number, weight), None)
        if scores is None:
            whole = np.zeros_like(self.scores)
            self.postings.add_scores([(number, weight)], self.norms, whole)
            scores = whole[: len(self.postings)].copy()
            while (len(self.kept) + 1) * scores.nbytes > _KEPT_BYTES:
                del self.kept[next(iter(self.kept))]
        self.kept[number, weight] = scores
        return scores

    def best(self, k: int, allowed: Rows | None) -> tuple[Rows, Floats]:
        """Rows and scores of at least the k best passages that hold a word, in order of rows."""
        if allowed is None:
            passages = _leading(self.scores[: len(self.postings)], k)
        else:
            chosen = present(self.postings.passages_of(allowed))
            passages = chosen[_leading(self.scores[chosen], k)]
        return self.postings.rows_of(passages), self.scores[passages]


def _leading(scores: Floats, k: int) -> npt.NDArray[np.intp]:
    """At least the k largest of scores float32 (n,) that are above 0, with all that equal the last of them.

    The k-th largest of the maxima of groups is no larger than the k-th largest score. It costs one look at each score,
    where a partition would move them about.
    """
    groups = len(scores) // _GROUP
    if k < 1 or not len(scores):
        return np.zeros(0, dtype=np.intp)
    least = np.float32(0)
    if k <= groups:
        # A group is every so-manieth score: numpy takes the maximum of columns much faster than of short rows.
        maxima = scores[: groups * _GROUP].reshape(_GROUP, groups).max(axis=0)
        least = np.partition(maxima, groups - k)[groups - k]
    found = np.flatnonzero(scores >= least if least > 0 else scores > 0)
    if len(found) > 4 * k:
        kth = np.partition(scores[found], len(found) - k)[len(found) - k]
        found = found[scores[found] >= kth]
    return found


def present(passages: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Those numbers of passages that `passages_of` found."""
    return passages[passages >= 0]
