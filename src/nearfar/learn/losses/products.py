"""Inner products of listed pairs, and sums over the pairs of each owner."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nearfar.learn.losses.operands import at_least_float32, once_differentiable

_PAIRS_AT_A_TIME = 65_536


def paired_products(left: Tensor, right: Tensor, left_places: Tensor, right_places: Tensor) -> Tensor:
    """`left[left_places[k]] @ right[right_places[k]]` for every k, without keeping the gathered vectors.

    Args:
        left: (n, d).
        right: (m, d).
        left_places: (k,) int64.
        right_places: (k,) int64.

    Returns:
        (k,); gradients flow to left and right, once.
    """
    products: Tensor = _PairedProducts.apply(left, right, left_places, right_places)  # type: ignore[no-untyped-call]
    return products


class _PairedProducts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor, left_places: Tensor, right_places: Tensor) -> Tensor:
        ctx.save_for_backward(left, right, left_places, right_places)
        blocks = zip(*(torch.split(t, _PAIRS_AT_A_TIME) for t in (left_places, right_places)), strict=True)
        return torch.cat(
            [
                torch.linalg.vecdot(*at_least_float32(left.index_select(0, i), right.index_select(0, j)))
                for i, j in blocks
            ]
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        left, right, left_places, right_places = ctx.saved_tensors
        of_left, of_right = ctx.needs_input_grad[:2]
        dleft = torch.zeros_like(left) if of_left else None
        dright = torch.zeros_like(right) if of_right else None
        blocks = (
            torch.split(tensor, _PAIRS_AT_A_TIME) for tensor in (left_places, right_places, gradient.unsqueeze(1))
        )
        for i, j, slope in zip(*blocks, strict=True):
            if dleft is not None:
                dleft.index_add_(0, i, (right.index_select(0, j) * slope).to(dleft))
            if dright is not None:
                dright.index_add_(0, j, (left.index_select(0, i) * slope).to(dright))
        return dleft, dright, None, None


def segment_count(owners: Tensor, count: int) -> Tensor:
    """How many pairs each owner has: (count,) int64."""
    return torch.bincount(owners, minlength=count)


def segment_mean(values: Tensor, owners: Tensor, count: int) -> Tensor:
    """Mean of the values (k,) of each owner: (count,); 0 for one without any."""
    summed = torch.zeros(count, dtype=values.dtype, device=values.device).index_add(0, owners, values)
    return summed / segment_count(owners, count).clamp(min=1)


def segment_logsumexp(values: Tensor, owners: Tensor, count: int) -> Tensor:
    """Log-sum-exp of the values (k,) of each owner: (count,); exact for a single value, 0 for one without any."""
    highest = torch.full((count,), -torch.inf, dtype=values.dtype, device=values.device)
    highest = highest.scatter_reduce(0, owners, values.detach(), "amax").nan_to_num(neginf=0.0)
    above = (values - highest.index_select(0, owners)).exp()
    summed = torch.zeros_like(highest).index_add(0, owners, above)
    return highest + torch.where(summed > 0, summed, 1.0).log()
