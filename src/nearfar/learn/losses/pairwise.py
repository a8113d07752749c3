"""Contrastive loss on pairs: the same close together, others at least a margin apart."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nearfar.learn.losses.distances import distances, labelled_pairs, matched_distances
from nearfar.learn.losses.operands import aligned


def contrastive(anchors: Tensor, others: Tensor, same: Tensor, *, margin: float) -> Tensor:
    """Mean over given pairs of half the squared distance (same) or half the squared shortfall of the margin (different).

    Args:
        anchors: (n, d), compared by euclidean distance as they are; normalise first to compare directions.
        others: (n, d), the other item of each pair.
        same: (n,) bool, whether the two belong together.
        margin: distance from which different items no longer repel; above 0.

    Returns:
        Scalar loss, at least float32 whatever the vectors are; the mean over all pairs, also those that are far enough.
        Two different items at the very same place are charged for, but get no gradient: no direction leads apart.

    Raises:
        ValueError: shapes do not fit, there is no pair, or `same` is not bool.

    Source:
        Hadsell, Chopra, LeCun, Dimensionality Reduction by Learning an Invariant Mapping (CVPR 2006), section 2.1, as
        a mean instead of a sum.
    """
    anchors, others = aligned({"anchors": anchors, "others": others})
    if same.shape != anchors.shape[:1] or same.dtype != torch.bool:
        raise ValueError(f"same must be (n,) bool: got {tuple(same.shape)} {same.dtype} for {len(anchors)} pairs")
    apart = matched_distances(anchors, others)
    return torch.where(same, apart, F.relu(margin - apart)).square().mean() / 2


def contrastive_by_label(
    embeddings: Tensor,
    labels: Tensor,
    *,
    positive_margin: float = 0.0,
    negative_margin: float = 1.0,
    candidates: Tensor | None = None,
    candidate_labels: Tensor | None = None,
) -> Tensor:
    """Contrastive loss over all pairs of a labelled batch, each kind averaged over its pairs that are not yet right.

    Args:
        embeddings: (n, d), compared by euclidean distance as they are; normalise first to compare directions.
        labels: (n,), equal for items that belong together.
        positive_margin: distance up to which a positive pair is close enough.
        negative_margin: distance from which a negative pair is far enough.
        candidates: (m, d), what the batch is compared with, e.g. a queue; None: itself, where no item is its own positive.
        candidate_labels: (m,), with `candidates`.

    Returns:
        Scalar loss, at least float32: mean of half the squared excess over the non-zero positive pairs, plus mean of half
        the squared shortfall over the non-zero negative pairs. A batch has far more negative pairs than positive ones, and
        most are soon far enough: one mean over all would fade as training goes on. 0 with zero gradients when every pair
        is right.

    Raises:
        ValueError: shapes do not fit, or the batch has no positive or no negative pair.

    Source:
        Hadsell, Chopra, LeCun (CVPR 2006), section 2.1; the positive margin and the averages over non-zero pairs as in PyTorch
        Metric Learning's ContrastiveLoss (which does not square).
    """
    pairs = labelled_pairs(embeddings, labels, candidates, candidate_labels)
    apart = distances(pairs.anchors, pairs.candidates)
    excess = F.relu(apart - positive_margin) * pairs.positive
    shortfall = F.relu(negative_margin - apart) * pairs.negative
    return _mean_of_nonzero(excess) + _mean_of_nonzero(shortfall)


def _mean_of_nonzero(hinges: Tensor) -> Tensor:
    return hinges.square().sum() / (2 * (hinges > 0).sum().clamp(min=1))
