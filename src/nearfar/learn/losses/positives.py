"""What is positive to each anchor and, the other way round, to each candidate: listed by place, or by equal labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from nearfar.learn.losses.logsumexp import pair_logsumexp
from nearfar.learn.losses.operands import at_least_float32
from nearfar.learn.losses.pairs import Match
from nearfar.learn.losses.products import paired_products, segment_count, segment_logsumexp, segment_mean
from nearfar.learn.losses.tiles import Exclusion


@dataclass(frozen=True)
class Positives:
    """The positives of one direction: of n anchors, say, that look for theirs.

    Attributes:
        count: (n,) how many each has.
        mean: (n,) mean of their scores.
        logsumexp: (n,) log-sum-exp of their scores; a function, because by label it costs another pass.
        mean_of: mean of one value for each partner over the positives of each: (m,) to (n,).
        listed: scores (k,) of single pairs and their owners (k,); None for labels.
    """

    count: Tensor
    mean: Tensor
    logsumexp: Callable[[], Tensor]
    mean_of: Callable[[Tensor], Tensor]
    listed: tuple[Tensor, Tensor] | None = None


def listed_positives(anchors: Tensor, candidates: Tensor, scale: Tensor, places: Tensor) -> tuple[Positives, Positives]:
    """Positives given by their places among the candidates.

    Args:
        anchors: (n, d).
        candidates: (m, d).
        scale: scalar, multiplies the products.
        places: (n,) or (n, p) int64, -1 for none.

    Returns:
        Those of the anchors, and those of the candidates.
    """
    places = places.unsqueeze(1) if places.ndim == 1 else places
    rows, slots = (places >= 0).nonzero(as_tuple=True)
    columns = places[rows, slots]
    scores = paired_products(anchors, candidates, rows, columns) * scale

    def direction(owners: Tensor, partners: Tensor, number: int) -> Positives:
        return Positives(
            count=segment_count(owners, number).to(scores.dtype),
            mean=segment_mean(scores, owners, number),
            logsumexp=lambda: segment_logsumexp(scores, owners, number),
            mean_of=lambda values: segment_mean(values.index_select(0, partners), owners, number),
            listed=(scores, owners),
        )

    return direction(rows, columns, len(anchors)), direction(columns, rows, len(candidates))


def labelled_positives(
    anchors: Tensor, candidates: Tensor, scale: Tensor, labels: Match, itself: Tensor | None
) -> tuple[Positives, Positives]:
    """Positives given by equal labels, in O((n + m) d): the mean product is the product with the mean.

    Args:
        anchors: (n, d).
        candidates: (m, d).
        scale: scalar, multiplies the products.
        labels: of anchors (n,) and candidates (m,); negative for none.
        itself: (n,) the place of each anchor among the candidates, -1 for none; not a positive of its own.

    Returns:
        Those of the anchors, and those of the candidates.
    """
    n, m = len(anchors), len(candidates)
    left, right = at_least_float32(anchors, candidates)
    _, groups = torch.unique(torch.cat([labels.anchors, labels.candidates]), return_inverse=True)
    number = int(groups.max()) + 1
    places = torch.full((n,), -1, device=anchors.device) if itself is None else itself
    own = ((places >= 0) & (labels.anchors == labels.candidates[places.clamp(min=0)])).nonzero().squeeze(1)
    places = places[own]
    has_label = (labels.anchors >= 0, labels.candidates >= 0)

    def sums(values: Tensor, *, of_candidates: bool) -> Tensor:
        """For each on one side the sum over its positives on the other; values (m, c) to (n, c), or (n, c) to (m, c)."""
        ours, theirs = (groups[:n], groups[n:]) if of_candidates else (groups[n:], groups[:n])
        mine, yours = (own, places) if of_candidates else (places, own)
        by_group = torch.zeros(number, values.shape[1], dtype=values.dtype, device=values.device)
        of_all = by_group.index_add(0, theirs, values).index_select(0, ours)
        without_itself = of_all.index_add(0, mine, values.index_select(0, yours), alpha=-1)
        return without_itself * has_label[0 if of_candidates else 1].unsqueeze(1)

    only = Exclusion(only=labels, always=itself_match(itself, m))

    def direction(seekers: Tensor, sought: Tensor, *, of_candidates: bool) -> Positives:
        count = sums(torch.ones_like(sought[:, :1]), of_candidates=of_candidates).squeeze(1).round()

        def mean_of(values: Tensor) -> Tensor:
            return sums(values.unsqueeze(1), of_candidates=of_candidates).squeeze(1) / count.clamp(min=1)

        def logsumexp() -> Tensor:
            return pair_logsumexp(anchors, candidates, scale, only, columns=not of_candidates)[
                0 if of_candidates else 1
            ]

        products = torch.linalg.vecdot(seekers, sums(sought, of_candidates=of_candidates))
        return Positives(count, products / count.clamp(min=1) * scale, logsumexp, mean_of)

    return direction(left, right, of_candidates=True), direction(right, left, of_candidates=False)


def itself_match(itself: Tensor | None, candidates: int) -> tuple[Match, ...]:
    """The pairs of an anchor with itself."""
    return () if itself is None else (Match.places(itself, candidates),)
