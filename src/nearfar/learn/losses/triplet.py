"""Triplet loss: an anchor closer to its positive than to its negative, by a margin; given or mined from labels."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from nearfar.learn.losses.distances import (
    Distance,
    distances,
    labelled_pairs,
    matched_distances,
    with_both_kinds,
)
from nearfar.learn.losses.operands import aligned

BLOCK_TRIPLETS = 2**22
"""Triplets written out at a time, where they have to be: 16 MiB in float32, a few times over."""


def triplet(
    anchors: Tensor,
    positives: Tensor,
    negatives: Tensor,
    *,
    margin: float,
    soft: bool = False,
    distance: Distance = "euclidean",
) -> Tensor:
    """Mean over given triplets of the hinge on margin + d(anchor, positive) - d(anchor, negative).

    Args:
        anchors: (n, d).
        positives: (n, d), row by row what belongs to the anchor.
        negatives: (n, d), row by row what does not.
        margin: how much closer the positive has to be, in the unit of the distance.
        soft: softplus instead of the hinge; it never quite reaches 0. The paper's soft margin has `margin` 0.
        distance: "euclidean" or "squared" between the vectors as they are (FaceNet: squared, of unit vectors), or "cosine",
            which is 1 - cosine.

    Returns:
        Scalar loss, at least float32 whatever the vectors are; the mean over all triplets, also those at 0.

    Raises:
        ValueError: shapes do not fit, there is no triplet, or the distance is not one of the three.

    Source:
        Schroff et al., FaceNet (arXiv:1503.03832), eq. 2; soft as in Hermans et al., In Defense of the Triplet Loss for
        Person Re-Identification (arXiv:1703.07737), section 2.
    """
    anchors, positives, negatives = aligned({"anchors": anchors, "positives": positives, "negatives": negatives})
    near = matched_distances(anchors, positives, distance)
    far = matched_distances(anchors, negatives, distance)
    return _penalty(margin + near - far, soft).mean()


def triplet_by_label(
    embeddings: Tensor,
    labels: Tensor,
    *,
    margin: float,
    mine: Literal["semi_hard", "hard", "all"] = "semi_hard",
    soft: bool = False,
    distance: Distance = "euclidean",
    candidates: Tensor | None = None,
    candidate_labels: Tensor | None = None,
) -> Tensor:
    """Triplet loss of a labelled batch; anchors that lack a positive or a negative have no part in it.

    Args:
        embeddings: (n, d).
        labels: (n,), equal for items that belong together.
        margin: how much closer the positive has to be, in the unit of the distance.
        mine: which triplets, and what the mean is taken over.
            "semi_hard": each positive pair with the nearest negative that is further away than the positive, or where none
            is, the furthest negative; mean over positive pairs.
            "hard": each anchor's furthest positive with its nearest negative; mean over anchors.
            "all": every triplet; mean over those that are not 0 yet (with `soft`, none is 0: over all), as otherwise the
            many easy ones drown the rest. All of them 0 gives 0 with zero gradients.
        soft: softplus instead of the hinge.
        distance: as in `triplet`.
        candidates: (m, d), what the batch is compared with, e.g. a queue; None: itself, where no item is its own positive.
        candidate_labels: (m,), with `candidates`.

    Returns:
        Scalar loss, at least float32. Memory is O(nm) and time O(nm log m) also for "all"; only soft "all" has to visit
        every triplet, which it does in blocks of anchors.

    Raises:
        ValueError: shapes do not fit, the batch has no positive or no negative pair, or `mine` or `distance` is none of the
            named.

    Source:
        "semi_hard": Schroff et al., FaceNet (arXiv:1503.03832), section 3.2; the case without a semi-hard negative as in
        TensorFlow's triplet_semihard_loss. "hard" and "all": Hermans et al. (arXiv:1703.07737), section 2, batch hard
        and batch all, the latter with its mean over non-zero triplets.
    """
    pairs = with_both_kinds(labelled_pairs(embeddings, labels, candidates, candidate_labels))
    apart = distances(pairs.anchors, pairs.candidates, distance)
    if mine == "semi_hard":
        return _semi_hard(apart, pairs.positive, pairs.negative, margin, soft)
    if mine == "hard":
        furthest = apart.masked_fill(~pairs.positive, -torch.inf).amax(dim=1)
        nearest = apart.masked_fill(~pairs.negative, torch.inf).amin(dim=1)
        return _penalty(margin + furthest - nearest, soft).mean()
    if mine == "all":
        every = _every_soft if soft else _every_hinge
        return every(apart, pairs.positive, pairs.negative, margin)
    raise ValueError(f"mine is {mine!r}: choose 'semi_hard', 'hard' or 'all'")


def _penalty(violations: Tensor, soft: bool) -> Tensor:
    return F.softplus(violations) if soft else F.relu(violations)


def _semi_hard(apart: Tensor, positive: Tensor, negative: Tensor, margin: float, soft: bool) -> Tensor:
    ascending = apart.masked_fill(~negative, torch.inf).sort(dim=1).values
    first_further = torch.searchsorted(ascending.detach(), apart.detach(), right=True)
    furthest = negative.sum(dim=1, keepdim=True) - 1
    chosen = ascending.gather(1, torch.minimum(first_further, furthest))
    violations = torch.where(positive, margin + apart - chosen, 0)
    return (_penalty(violations, soft) * positive).sum() / positive.sum()


def _every_hinge(apart: Tensor, positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    """The sum of all hinges needs no triplets, only how many active ones each distance is part of.

    Sum over active (p, n) of margin + d_p - d_n = sum over p of count_p (margin + d_p) - sum over n of count_n d_n, and the
    counts come from sorting: count_p is the number of negatives nearer than margin + d_p, count_n the number of positives
    whose margin + d_p lies beyond d_n.
    """
    reach = margin + apart
    with torch.no_grad():
        reaches = reach.masked_fill(~positive, -torch.inf).sort(dim=1).values
        negatives = apart.masked_fill(~negative, torch.inf).sort(dim=1).values
        of_positive = torch.searchsorted(negatives, reach) * positive
        of_negative = (reach.shape[1] - torch.searchsorted(reaches, apart, right=True)) * negative
        active = of_positive.sum()
    return (of_positive * reach - of_negative * apart).sum(dim=1).sum() / active.clamp(min=1)


def _every_soft(apart: Tensor, positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    """Softplus is not linear on either side, so every triplet is visited; each block is made again for its gradient."""
    per_anchor = positive.sum(dim=1)
    most = int(per_anchor.max())
    present, place = positive.to(torch.uint8).topk(most, dim=1)
    near = apart.gather(1, place).masked_fill(present == 0, -torch.inf)
    far = apart.masked_fill(~negative, torch.inf)
    rows = max(1, BLOCK_TRIPLETS // (most * far.shape[1]))
    total = apart.new_zeros(())
    for start in range(0, len(far), rows):
        block = slice(start, start + rows)
        total = total + checkpoint(
            _sum_of_softplus, near[block], far[block], margin, use_reentrant=False, preserve_rng_state=False
        )
    return total / (per_anchor * negative.sum(dim=1)).sum()


def _sum_of_softplus(near: Tensor, far: Tensor, margin: float) -> Tensor:
    """Over every positive (b, k) with every negative (b, m); -inf and inf stand for none."""
    return F.softplus(margin + near.unsqueeze(2) - far.unsqueeze(1)).sum()
