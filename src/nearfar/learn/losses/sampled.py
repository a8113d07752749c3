"""Objectives over items, few of which are looked at: sampled softmax with its correction, and calibrated binary cross-entropy.

Both take a list of candidates for each anchor that are left out, because they are positive or were acted on before: such lists are
as long as histories, so they are places and no keys, as `info_nce` has them.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nearfar.learn.losses.operands import at_least_float32, once_differentiable
from nearfar.learn.losses.products import paired_products
from nearfar.learn.losses.tiles import EMPTY

_SCORES_AT_A_TIME = 2**22


def sampled_softmax(
    anchors: Tensor,
    candidates: Tensor,
    targets: Tensor,
    positive: Tensor,
    weights: Tensor,
    *,
    left_out: Tensor,
    log_expected: Tensor | None = None,
) -> Tensor:
    """Weighted mean over positives of -log softmax of their dot product among itself and the candidates.

    The candidates may be all items, or a sample of them: then the score of each is lowered by the logarithm of how often it was to be
    expected in the sample, so that the sum over the sample is in the mean that over all items (log-Q).

    Args:
        anchors: (n, d), any length.
        candidates: (m, d), the negatives.
        targets: (t, d), what positives are taken from.
        positive: (n, p) int64, places of the positives among the targets, filled up with -1.
        weights: (n, p) not negative; of no meaning where there is no positive.
        left_out: (n, q) int64, places of candidates that are no negatives of an anchor, filled up with -1: its positives above all.
        log_expected: (m,), logarithm of the number of times that each candidate was to be expected; None where all are there once.

    Returns:
        Scalar loss, at least float32. Memory is O((n + m) d + n q) and a block of scores. 0 where all weights are.

    Raises:
        ValueError: shapes that do not fit.

    Source:
        Bengio and Senecal, Adaptive Importance Sampling to Accelerate Training of a Neural Probabilistic Language Model, IEEE TNN
        2008, section 3; the correction of batches in Yi et al., Sampling-Bias-Corrected Neural Modeling, RecSys 2019, eq. 4.
    """
    _check(anchors, candidates, targets, positive, weights, left_out)
    with torch.autocast(anchors.device.type, enabled=False):
        x, y, z = at_least_float32(anchors, candidates, targets)
        if log_expected is not None:
            x = torch.cat([x, x.new_ones(len(x), 1)], dim=1)
            y = torch.cat([y, -log_expected.to(y).unsqueeze(1)], dim=1)
        negatives = log_sum_exp(x, y, left_out)
        rows, slots = (positive >= 0).nonzero(as_tuple=True)
        scores = paired_products(anchors.to(z), z, rows, positive[rows, slots])
        losses = F.softplus(negatives.index_select(0, rows) - scores)
        shares = weights[rows, slots].to(losses)
        return (losses * shares).sum() / shares.sum().clamp(min=1e-12)


def calibrated_bce(
    positives: Tensor,
    negatives: Tensor,
    weights: Tensor,
    *,
    counted: Tensor,
    power: float = 1.0,
) -> Tensor:
    """Weighted mean of the generalised binary cross-entropy of a positive and its negatives.

    Args:
        positives: (n,) scores.
        negatives: (n, k) scores.
        weights: (n,) not negative.
        counted: (n, k) bool, which of the negatives count.
        power: beta: the positive's probability is raised to it; 1 is plain binary cross-entropy. See `gbce_power`.

    Returns:
        Scalar: of each row the mean over the positive and the negatives that count. 0 where all weights are.

    Source:
        Petrov and Macdonald, gSASRec (arXiv:2308.07192), eq. 9; with one negative and a power of 1 the loss of SASRec
        (arXiv:1808.09781), eq. 7, but for a constant factor.
    """
    good, bad = at_least_float32(positives, negatives)
    of_negatives = (F.softplus(bad) * counted).sum(dim=1)
    losses = (power * F.softplus(-good) + of_negatives) / (1 + counted.sum(dim=1))
    shares = weights.to(losses)
    return (losses * shares).sum() / shares.sum().clamp(min=1e-12)


def gbce_power(negatives: int, items: int, calibration: float) -> float:
    """Beta of gBCE (arXiv:2308.07192, eq. 14).

    Args:
        negatives: drawn for a positive, k.
        items: that there are.
        calibration: t: 0 leaves the loss as it is, 1 makes scores calibrated for all items.
    """
    rate = min(1.0, negatives / max(1, items - 1))
    return rate * (calibration * (1 - 1 / rate) + 1 / rate)


def log_sum_exp(anchors: Tensor, candidates: Tensor, left_out: Tensor) -> Tensor:
    """Log-sum-exp over candidates of the dot products of each anchor, a block at a time.

    Args:
        anchors: (n, d).
        candidates: (m, d), of the same dtype.
        left_out: (n, q) int64, places of candidates that do not count for an anchor, filled up with -1.

    Returns:
        (n,), about `EMPTY` where nothing is left; gradients flow to anchors and candidates, once.
    """
    totals: Tensor = _LogSumExp.apply(anchors, candidates, left_out)  # type: ignore[no-untyped-call]
    return totals


class _LogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, left_out: Tensor) -> Tensor:
        totals = torch.cat([x.new_zeros(0), *(_scores(x, y, left_out, rows).logsumexp(1) for rows in _blocks(x, y))])
        ctx.save_for_backward(x, y, left_out, totals)
        return totals

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, y, left_out, totals = ctx.saved_tensors
        # Of what is left out, exp(score - total) has to be 0 also where nothing else is there.
        totals = totals.masked_fill(totals < EMPTY / 2, torch.inf)
        dx, dy = torch.empty_like(x), torch.zeros_like(y)
        for rows in _blocks(x, y):
            shares = _scores(x, y, left_out, rows).sub_(totals[rows].unsqueeze(1)).exp_().mul_(slope[rows].unsqueeze(1))
            torch.mm(shares, y, out=dx[rows])
            dy.addmm_(shares.T, x[rows])
        return dx, dy, None


def _blocks(x: Tensor, y: Tensor) -> list[slice]:
    size = max(1, _SCORES_AT_A_TIME // max(1, len(y)))
    return [slice(start, min(start + size, len(x))) for start in range(0, len(x), size)]


def _scores(x: Tensor, y: Tensor, left_out: Tensor, rows: slice) -> Tensor:
    """Dot products of some anchors with all candidates, `EMPTY` where they do not count."""
    scores = x[rows] @ y.T
    some = left_out[rows]
    anchors, slots = (some >= 0).nonzero(as_tuple=True)
    scores[anchors, some[anchors, slots]] = EMPTY
    return scores


def _check(
    anchors: Tensor, candidates: Tensor, targets: Tensor, positive: Tensor, weights: Tensor, left_out: Tensor
) -> None:
    n, d = len(anchors), anchors.shape[-1]
    fits = (
        anchors.ndim == candidates.ndim == targets.ndim == positive.ndim == left_out.ndim == 2
        and candidates.shape[1] == targets.shape[1] == d
        and len(positive) == len(left_out) == n
        and weights.shape == positive.shape
    )
    if not fits or not len(candidates) or not len(targets):
        raise ValueError(
            f"shapes do not fit: anchors {tuple(anchors.shape)}, candidates {tuple(candidates.shape)}, targets "
            f"{tuple(targets.shape)}, positive {tuple(positive.shape)}, weights {tuple(weights.shape)}, left_out "
            f"{tuple(left_out.shape)}; expected (n, d), (m, d), (t, d), (n, p), (n, p) and (n, q), none of them empty"
        )
