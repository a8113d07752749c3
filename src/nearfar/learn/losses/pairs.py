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

    def misfit(self, anchors: int, candidates: int) -> str | None:
        """What is wrong with the shapes for so many anchors and candidates; None where nothing is."""
        ours, theirs = tuple(self.anchors.shape), tuple(self.candidates.shape)
        if len(ours) not in (1, 2) or ours[0] != anchors:
            return f"anchors is {ours}, expected ({anchors},) or ({anchors}, q)"
        return None if theirs == (candidates,) else f"candidates is {theirs}, expected ({candidates},)"

    def numbered(self, below: int) -> tuple[Tensor, Tensor]:
        """The same pairs by keys under `below`: of anchors (q, n), any of which may be equal, and of candidates (m,).

        What matches nothing is -1 among the anchors and -2 among the candidates.
        """
        anchors, candidates = (
            (self.anchors if self.anchors.ndim == 2 else self.anchors.unsqueeze(1)).mT,
            self.candidates,
        )
        if not len(anchors):
            anchors = anchors.new_full((1, anchors.shape[1]), -1)
        without = anchors < 0, candidates < 0
        if max(int(keys.max()) for keys in (anchors, candidates) if keys.numel()) >= below:
            _, ranks = torch.unique(torch.cat([anchors.flatten(), candidates]), return_inverse=True)
            anchors, candidates = ranks[: anchors.numel()].view_as(anchors), ranks[anchors.numel() :]
        return anchors.masked_fill(without[0], -1), candidates.masked_fill(without[1], -2)

    def dense(self) -> Tensor:
        """The pairs as a bool matrix (n, m), for batches small enough to afford it."""
        anchors, candidates = self.numbered(2**62)
        return (anchors.unsqueeze(2) == candidates).any(dim=0)


class Negatives(NamedTuple):
    """More negatives of all anchors, without gradient: a queue, a memory bank, precomputed vectors.

    Attributes:
        vectors: (k, d).
        ignored: pairs of an anchor and one of these that do not count.
    """

    vectors: Tensor
    ignored: tuple[Match, ...] = ()
