"""The pairwise sigmoid loss: every pair on its own is a yes or a no, so nothing is normalised over the batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nearfar.learn.losses.operands import at_least_float32, once_differentiable, unit
from nearfar.learn.losses.pairs import Match
from nearfar.learn.losses.products import paired_products
from nearfar.learn.losses.tiles import LOG2_E, Exclusion, Tiles


def siglip(
    anchors: Tensor,
    candidates: Tensor,
    positive: Tensor,
    *,
    temperature: Tensor | float,
    bias: Tensor | float,
    ignored: Sequence[Match] = (),
) -> Tensor:
    """Sum over all pairs of -log sigmoid(z (cos / temperature + bias)), divided by n; z is 1 for positives, else -1.

    Args:
        anchors: (n, d), any length; compared by cosine.
        candidates: (m, d).
        positive: (n,) int64, the place of the positive among the candidates, or (n, p) for several, filled up with -1.
        temperature: divides the cosines; a float or a scalar tensor (then it gets a gradient). The paper starts at 0.1.
        bias: added to every logit, likewise; the paper starts at -10, about the logarithm of the share of positives.
        ignored: pairs that count neither as positive nor as negative, unless they are positive.

    Returns:
        Scalar loss, at least float32 whatever the vectors are. Memory is O((n + m) d) and one tile.

    Raises:
        ValueError: shapes that do not fit.

    Source:
        Zhai et al., Sigmoid Loss for Language Image Pre-Training (arXiv:2303.15343), algorithm 1.
    """
    places = positive.unsqueeze(1) if positive.ndim == 1 else positive
    if (
        anchors.ndim != 2
        or candidates.ndim != 2
        or anchors.shape[1] != candidates.shape[1]
        or len(places) != len(anchors)
    ):
        raise ValueError(
            f"shapes do not fit: anchors {tuple(anchors.shape)}, candidates {tuple(candidates.shape)}, positive "
            f"{tuple(positive.shape)}; expected (n, d), (m, d) and (n,) or (n, p)"
        )
    for misfit in (match.misfit(len(anchors), len(candidates)) for match in ignored):
        if misfit is not None:
            raise ValueError(f"shapes do not fit: ignored.{misfit}")
    with torch.autocast(anchors.device.type, enabled=False):
        x, y = (unit(vectors) for vectors in at_least_float32(anchors, candidates))
        scale = 1 / torch.as_tensor(temperature, dtype=x.dtype, device=x.device)
        shift = torch.as_tensor(bias, dtype=x.dtype, device=x.device)
        rows, slots = (places >= 0).nonzero(as_tuple=True)
        found = paired_products(x, y, rows, places[rows, slots]) * scale + shift
        others = _softplus_sum(x, y, scale, shift, Exclusion(always=(Match.places(positive, len(y)), *ignored)))
        return (others + F.softplus(-found).sum()) / len(x)


def _softplus_sum(x: Tensor, y: Tensor, scale: Tensor, shift: Tensor, excluded: Exclusion) -> Tensor:
    """Sum of log(1 + exp(scale * x @ y.T + shift)) over the pairs that are not left out."""
    summed: Tensor = _SoftplusSum.apply(x, y, scale, shift, excluded)  # type: ignore[no-untyped-call]
    return summed


class _SoftplusSum(torch.autograd.Function):
    """Nothing is normalised, so the slope of a pair is known with its score: the gradients are made on the way forward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, scale: Tensor, shift: Tensor, excluded: Exclusion) -> Tensor:
        learns = any(ctx.needs_input_grad)
        dx, dy = (torch.zeros_like(v) if learns else None for v in (x, y))
        total, dshift = (torch.zeros((), dtype=torch.float64, device=x.device) for _ in range(2))
        tiles = Tiles(x, y, scale, excluded)
        for rows, scaled in tiles.blocks():
            for cols, scores, slopes in tiles.across(rows, scaled):
                logits = scores.div_(LOG2_E).add_(shift)
                if dx is not None and dy is not None:
                    torch.sigmoid(logits, out=slopes)
                    dshift += slopes.sum()
                    dx[rows].addmm_(slopes, y[cols])
                    dy[cols].addmm_(slopes.T, x[rows])
                total += F.softplus(logits, threshold=40).sum()
        if dx is not None and dy is not None:
            ctx.save_for_backward(x, scale, dx.mul_(scale), dy.mul_(scale), dshift.to(shift))
        return total.to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, dx, dy, dshift = ctx.saved_tensors
        dscale = torch.linalg.vecdot(x, dx).sum() / scale
        return dx * gradient, dy * gradient, dscale * gradient, dshift * gradient, None
