"""All that an anchor is compared with, from however many sources, and how its negatives add up."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from nearfar.learn.losses.logsumexp import pair_logsumexp
from nearfar.learn.losses.pairs import Match
from nearfar.learn.losses.positives import Positives
from nearfar.learn.losses.tiles import Exclusion


class Further(NamedTuple):
    """Negatives without gradient.

    Attributes:
        vectors: (k, d), not copied.
        stretch: (k,) what brings each to unit length; None if they are taken as they are.
        ignored: pairs that do not count.
    """

    vectors: Tensor
    stretch: Tensor | None
    ignored: tuple[Match, ...]


@dataclass(frozen=True)
class Pool:
    """Anchors, their candidates, and further negatives.

    Attributes:
        anchors: (n, d).
        candidates: (m, d).
        scale: scalar, multiplies the products.
        more: negatives without gradient.
        symmetric: whether candidates look for anchors too.
    """

    anchors: Tensor
    candidates: Tensor
    scale: Tensor
    more: tuple[Further, ...]
    symmetric: bool

    def total(self, excluded: Exclusion, power: float = 1.0) -> tuple[Tensor, ...]:
        """Log-sum-exp of the scores times `power`: of each anchor (n,) and, if symmetric, of each candidate (m,)."""
        rows, columns = pair_logsumexp(
            self.anchors, self.candidates, self.scale, excluded, power=power, columns=self.symmetric
        )
        for more in self.more:
            of_these = Exclusion(ignored=more.ignored, row_limit=excluded.row_limit)
            further, _ = pair_logsumexp(
                self.anchors, more.vectors, self.scale, of_these, power=power, columns=False, stretch=more.stretch
            )
            rows = torch.logaddexp(rows, further)
        return (rows, columns) if self.symmetric else (rows,)

    def reweighted(
        self, excluded: Exclusion, positives: tuple[Positives, ...], *, debias: float, hardness: float
    ) -> tuple[Tensor, ...]:
        """As `total`, with hard negatives counted more and the share of false ones taken off.

        Args:
            excluded: all that is no negative.
            positives: of each direction.
            debias: probability that a negative is in truth positive (arXiv:2007.00224, eq. 8).
            hardness: each negative weighs exp(hardness * score), relative to their mean (arXiv:2010.04592, eq. 4).
        """
        if not debias and not hardness:
            return self.total(excluded)
        counts, totals = self.total(excluded, 0.0), self.total(excluded, 1 + hardness)
        if hardness:
            weights = self.total(excluded, hardness)
            totals = tuple(c + t - w for c, t, w in zip(counts, totals, weights, strict=True))
        if debias:
            totals = tuple(
                _debiased(t, c, side, debias, lowest=-self.scale)
                for t, c, side in zip(totals, counts, positives, strict=True)
            )
        return totals


def _debiased(total: Tensor, count: Tensor, positives: Positives, share: float, *, lowest: Tensor) -> Tensor:
    """Log of max((sum over negatives - share * N * mean over positives) / (1 - share), N * the lowest term there can be)."""
    positive = positives.logsumexp() - positives.count.clamp(min=1).log()
    # How much of the sum is to be taken off, as a logarithm; where all of it, the gradient of the difference is of no use.
    taken = count + math.log(share) + positive - total
    left = total + torch.log1p(-taken.clamp(max=-1e-6).exp()) - math.log1p(-share)
    floor = count + lowest
    return torch.where((taken < -1e-6) & (left > floor), left, floor)
