"""Which pairs of a batch belong together: by keys, so that no (n, m) matrix has to say it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Match(NamedTuple):
    """The pairs of an anchor and a candidate whose keys are equal: same text, same owner, same label, same place.

    Attributes:
        anchors: (n,) or (n, q) int64, the keys of each anchor; it matches a candidate by any of them.
        candidates: (m,) int64, the key of each candidate.

    A negative key matches nothing, so -1 fills rows up.
    """

    anchors: Tensor
    candidates: Tensor

    @classmethod
    def places(cls, place: Tensor, candidates: int) -> Match:
        """Pairs given by the place of the candidate: `place` (n,) or (n, q) int64, -1 for none."""
        return cls(place, torch.arange(candidates, device=place.device))

    def columns(self) -> list[tuple[Tensor, Tensor]]:
        """The match as pairs of single keys, (n,) and (m,), of which any may be equal."""
        anchors = self.anchors.unsqueeze(1) if self.anchors.ndim == 1 else self.anchors
        return [(column, self.candidates) for column in anchors.unbind(1)]

    def dense(self) -> Tensor:
        """The pairs as a bool matrix (n, m), for batches small enough to afford it."""
        matches = torch.zeros(len(self.anchors), len(self.candidates), dtype=torch.bool, device=self.anchors.device)
        for anchors, candidates in self.columns():
            matches |= (anchors.unsqueeze(1) == candidates) & (anchors >= 0).unsqueeze(1)
        return matches


class Negatives(NamedTuple):
    """More negatives of all anchors, without gradient: a queue, a memory bank, precomputed vectors.

    Attributes:
        vectors: (k, d).
        ignored: pairs of an anchor and one of these that do not count.
    """

    vectors: Tensor
    ignored: tuple[Match, ...] = ()
