"""Margin loss with distance-weighted negatives: far and near negatives drawn as often, not as often as they occur."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nearfar.learn.losses.distances import distances, labelled_pairs, with_both_kinds
from nearfar.learn.losses.operands import at_least_float32, unit


def margin_loss(
    embeddings: Tensor,
    labels: Tensor,
    *,
    generator: torch.Generator,
    margin: float = 0.2,
    boundary: Tensor | float = 1.2,
    cutoff: float = 0.5,
    candidates: Tensor | None = None,
    candidate_labels: Tensor | None = None,
) -> Tensor:
    """Mean hinge on how far positives lie beyond, and drawn negatives short of, a boundary with a margin on each side.

    Each positive pair (a, p) costs max(0, margin + d(a, p) - boundary), and with it one negative of a is drawn by
    `distance_weighted_negatives`, which costs max(0, margin + boundary - d(a, n)). Anchors that lack a positive or a
    negative have no part in it.

    Args:
        embeddings: (n, d), d at least 2, any length; compared by euclidean distance on the unit sphere.
        labels: (n,), equal for items that belong together.
        generator: where the draws come from; they are made on its device.
        margin: half the width of the strip around the boundary.
        boundary: distance that tells positives from negatives: a float, a scalar tensor, or (c,) one for each class, and
            then labels are indices into it. A tensor gets a gradient, so it may be learned.
        cutoff: distance below which negatives are not drawn more often still.
        candidates: (m, d), what the batch is compared with, e.g. a queue; None: itself, where no item is its own positive.
        candidate_labels: (m,), with `candidates`.

    Returns:
        Scalar loss, at least float32: the sum over the pairs, positive and drawn, divided by the number of those that are
        not 0. 0 with zero gradients when all are. Negatives from boundary + margin on cost nothing, so that they are drawn
        only for anchors that have no nearer one.

    Raises:
        ValueError: shapes do not fit, the batch has no positive or no negative pair, or a label has no boundary.

    Source:
        Wu et al., Sampling Matters in Deep Embedding Learning (arXiv:1706.07567), section 4, without the regularisation of
        the boundary; leaving out negatives that cost nothing as in the authors' code (nonzero_loss_cutoff).
    """
    pairs = with_both_kinds(labelled_pairs(embeddings, labels, candidates, candidate_labels))
    anchors, others = (unit(vectors) for vectors in at_least_float32(pairs.anchors, pairs.candidates))
    apart = distances(anchors, others)
    limit = _boundary_of(pairs.labels, torch.as_tensor(boundary, dtype=apart.dtype, device=apart.device))

    beyond = F.relu(margin + apart - limit) * pairs.positive
    costly = pairs.negative & (apart < limit + margin).detach()
    costly = torch.where(costly.any(dim=1, keepdim=True), costly, pairs.negative)
    count = pairs.positive.sum(dim=1, keepdim=True)
    drawn = distance_weighted_negatives(
        apart, costly, anchors.shape[1], generator, draws=int(count.max()), cutoff=cutoff
    )
    needed = torch.arange(drawn.shape[1], device=count.device) < count
    short = F.relu(margin + limit - apart.gather(1, drawn)) * needed
    active = (beyond > 0).sum() + (short > 0).sum()
    return (beyond.sum() + short.sum()) / active.clamp(min=1)


def distance_weighted_negatives(
    distances: Tensor,
    negative: Tensor,
    dim: int,
    generator: torch.Generator,
    *,
    draws: int = 1,
    cutoff: float = 0.5,
) -> Tensor:
    """Draw negatives with probability min(1 / q(cutoff), 1 / q(distance)), q the density of distances on the unit sphere.

    Points spread evenly over a sphere of many dimensions lie nearly all at distance sqrt(2), so that uniform draws never
    see a near negative. Dividing by the density makes every distance as likely; the cutoff keeps the nearest, whose
    gradients are mostly noise, from being drawn without end.

    Args:
        distances: (n, m), euclidean between unit vectors, 0 to 2.
        negative: (n, m) bool, which may be drawn; at least one in each row.
        dim: dimension of the vectors, at least 2.
        generator: where the draws come from; they are made on its device.
        draws: how many for each row, with replacement.
        cutoff: distance below which the weight no longer grows, above 0 and below 2.

    Returns:
        (n, draws) int64, columns of `distances`, on its device. No gradient.

    Raises:
        ValueError: shapes do not fit, a row has nothing to draw, or `dim`, `draws` or `cutoff` is out of range.

    Source:
        Wu et al. (arXiv:1706.07567), section 4: q(d) = d^(dim - 2) (1 - d^2 / 4)^((dim - 3) / 2), in logarithms throughout:
        at dimension 512, q(0.5) is about 1e-160.
    """
    if distances.ndim != 2 or negative.shape != distances.shape:
        raise ValueError(
            f"distances and negative must both be (n, m): got {tuple(distances.shape)} and {tuple(negative.shape)}"
        )
    if dim < 2 or draws < 1 or not 0 < cutoff < 2:
        raise ValueError(
            f"dim {dim}, draws {draws}, cutoff {cutoff}: dim must be 2 or more, draws 1 or more, cutoff between 0 and 2"
        )
    if not negative.any(dim=1).all():
        raise ValueError("a row has no negative to draw: leave such anchors out")
    with torch.no_grad():
        largest = _log_inverse_density(torch.tensor(cutoff, dtype=torch.float64), dim).to(distances.device)
        log_weights = torch.minimum(_log_inverse_density(distances.double(), dim), largest)
        chances = log_weights.masked_fill(~negative, -torch.inf).softmax(dim=1)
        drawn = torch.multinomial(chances.to(generator.device), draws, replacement=True, generator=generator)
    return drawn.to(distances.device)


def _log_inverse_density(distances: Tensor, dim: int) -> Tensor:
    """-log q; kept finite at distances 0 and 2, where q is 0 or has a pole."""
    tiny = torch.finfo(distances.dtype).eps
    radial = distances.clamp(min=tiny).log()
    axial = (1 - distances.square() / 4).clamp(min=tiny).log()
    return (2 - dim) * radial - (dim - 3) / 2 * axial


def _boundary_of(labels: Tensor, boundary: Tensor) -> Tensor:
    """(n, 1), or a scalar that serves for all."""
    if boundary.ndim == 0:
        return boundary
    if boundary.ndim > 1:
        raise ValueError(f"boundary must be a number or (c,), one for each class: got {tuple(boundary.shape)}")
    if labels.dtype.is_floating_point or labels.min() < 0 or labels.max() >= len(boundary):
        raise ValueError(
            f"with a boundary for each of {len(boundary)} classes, labels must be 0 to {len(boundary) - 1}"
        )
    return boundary[labels.long()].unsqueeze(1)
