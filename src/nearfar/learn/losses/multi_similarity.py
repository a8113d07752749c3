"""Multi-similarity loss: pairs mined against each other, then weighted softly by how wrong they are."""

from __future__ import annotations

import torch
from torch import Tensor

from nearfar.learn.losses.distances import cosines, labelled_pairs, with_both_kinds


def multi_similarity(
    embeddings: Tensor,
    labels: Tensor,
    *,
    alpha: float = 2.0,
    beta: float = 50.0,
    threshold: float = 0.5,
    epsilon: float = 0.1,
    candidates: Tensor | None = None,
    candidate_labels: Tensor | None = None,
) -> Tensor:
    """Mean over anchors of soft maxima: of how far mined positives fall below a cosine, and mined negatives rise above it.

    Mining keeps a negative that is more similar than the least similar positive less epsilon, and a positive that is less
    similar than the most similar negative plus epsilon. Each anchor then costs
    log(1 + sum exp(-alpha (s_p - threshold))) / alpha + log(1 + sum exp(beta (s_n - threshold))) / beta.

    Args:
        embeddings: (n, d), any length; compared by cosine.
        labels: (n,), equal for items that belong together.
        alpha: sharpness for positives; above 0.
        beta: sharpness for negatives; above 0.
        threshold: the cosine that positives should exceed and negatives stay below (the paper's lambda).
        epsilon: slack of the mining; 2 or more keeps every pair.
        candidates: (m, d), what the batch is compared with, e.g. a queue; None: itself, where no item is its own positive.
        candidate_labels: (m,), with `candidates`.

    Returns:
        Scalar loss, at least float32. Anchors that lack a positive or a negative are left out of the mean; those of which
        mining keeps nothing count as 0.

    Raises:
        ValueError: shapes do not fit, or the batch has no positive or no negative pair.

    Source:
        Wang et al., Multi-Similarity Loss with General Pair Weighting for Deep Metric Learning (arXiv:1904.06627),
        section 4. The paper sets threshold 1; 0.5 is that of the authors' later code.
    """
    pairs = with_both_kinds(labelled_pairs(embeddings, labels, candidates, candidate_labels))
    similar = cosines(pairs.anchors, pairs.candidates)
    with torch.no_grad():
        least_positive = similar.masked_fill(~pairs.positive, torch.inf).amin(dim=1, keepdim=True)
        most_negative = similar.masked_fill(~pairs.negative, -torch.inf).amax(dim=1, keepdim=True)
        positive = pairs.positive & (similar < most_negative + epsilon)
        negative = pairs.negative & (similar > least_positive - epsilon)
    above = similar - threshold
    pulled = _log_one_plus_sum_exp(-alpha * above, positive) / alpha
    pushed = _log_one_plus_sum_exp(beta * above, negative) / beta
    return (pulled + pushed).mean()


def _log_one_plus_sum_exp(exponents: Tensor, counted: Tensor) -> Tensor:
    """Of each row, over what counts; 0 where nothing does."""
    log_sum = exponents.masked_fill(~counted, -torch.inf).logsumexp(dim=1)
    return torch.logaddexp(log_sum, torch.zeros_like(log_sum))
