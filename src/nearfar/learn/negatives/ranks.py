"""The batches of all ranks as one: the other ranks' items are negatives too."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

Embedded = TypeVar("Embedded", bound=tuple[Tensor, ...])
"""A NamedTuple of tensors, whose first dimension goes over items."""


def gathered(embedded: Embedded) -> Embedded:
    """Join what all ranks have embedded, field by field, in the order of the ranks.

    Every rank then holds the whole joint batch and computes its whole loss. For N items over w ranks that is (w - 1) / w of
    them more to receive and to hold, and w times as many comparisons over all as there are pairs; in return a loss need not
    know of ranks. Encoding, which costs most, is shared out.

    Gradients are those of the sum of the losses of all ranks. So the mean of the parameters' gradients over the ranks (see
    `average_gradients`) is the gradient of the mean loss, and where all ranks compute the same loss it is that of one
    process with the joint batch, for the parameters behind the embeddings and for those of the loss itself.

    Args:
        embedded: a NamedTuple of tensors (n, ...); n may differ between ranks. Integers (n, p) may differ in p too: they are
            filled up with -1.

    Returns:
        The same NamedTuple of tensors (N, ...); `embedded` itself where there is only one process.
    """
    if not several_ranks():
        return embedded
    shapes = _shapes(embedded)
    fields: list[Tensor] = [
        field if field.is_floating_point() else _joined(field, [shape[place] for shape in shapes], fill=-1)
        for place, field in enumerate(embedded)
    ]
    floats = [place for place, field in enumerate(embedded) if field.is_floating_point()]
    lengths = [[shape[place] for shape in shapes] for place in floats]
    for place, joint in zip(floats, _Join.apply(lengths, *(fields[place] for place in floats)), strict=True):  # type: ignore[no-untyped-call]
        fields[place] = joint
    return type(embedded)(*fields)


def several_ranks() -> bool:
    """Whether this process trains together with others."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def order_of_one(count: int) -> Tensor:
    """Places (count,) that bring rows gathered rank by rank into the order of the batch, of which rank r has rows[r::world]."""
    if not dist.is_available() or not dist.is_initialized():
        return torch.arange(count)
    world = dist.get_world_size()
    return torch.argsort(torch.cat([torch.arange(rank, count, world) for rank in range(world)]))


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace the gradient of each parameter by its mean over the ranks; one exchange for each number format.

    A parameter without a gradient on some ranks counts as zero there, and keeps none where it has none anywhere, so that
    an optimiser treats it as it would in one process.
    """
    if not several_ranks():
        return
    trained = [p for p in parameters if p.requires_grad]
    for dtype in dict.fromkeys(p.dtype for p in trained):
        same = [p for p in trained if p.dtype == dtype]
        device = same[0].device
        has = torch.tensor([p.grad is not None for p in same], dtype=dtype, device=device)
        flat = torch.cat([has, *((torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in same)])
        dist.all_reduce(flat)
        flat /= dist.get_world_size()
        anywhere, *means = torch.split(flat, [len(same), *(p.numel() for p in same)])
        for parameter, mean, some in zip(same, means, anywhere.tolist(), strict=True):
            parameter.grad = mean.view_as(parameter) if some else None


def _shapes(embedded: tuple[Tensor, ...]) -> list[list[tuple[int, int]]]:
    """Of each rank and each field: its length and its width, 1 where it has one dimension."""
    own = torch.tensor(
        [(len(field), field.shape[1] if field.ndim > 1 else 1) for field in embedded], device=embedded[0].device
    )
    shapes = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(shapes, own)
    return [[(length, width) for length, width in shape.tolist()] for shape in shapes]


def _joined(field: Tensor, shapes: list[tuple[int, int]], fill: int = 0) -> Tensor:
    """The field of all ranks; collectives want equal shapes, so it is filled up on the way."""
    longest, widest = (max(sizes) for sizes in zip(*shapes, strict=True))
    shape = (longest, widest, *field.shape[2:]) if field.ndim > 1 else (longest,)
    if not longest:
        return field.new_empty(0, *shape[1:])
    filled = field.new_full(shape, fill)
    filled[tuple(slice(size) for size in field.shape)] = field
    parts = [torch.empty_like(filled) for _ in shapes]
    dist.all_gather(parts, filled)
    return torch.cat([part[:length] for part, (length, _) in zip(parts, shapes, strict=True)])


class _Join(torch.autograd.Function):
    """All float fields at once: one node of the graph, so that every rank exchanges gradients in the same order."""

    @staticmethod
    def forward(ctx: Any, shapes: list[list[tuple[int, int]]], *fields: Tensor) -> tuple[Tensor, ...]:
        ctx.lengths = [[length for length, _ in of_ranks] for of_ranks in shapes]
        return tuple(_joined(field, of_ranks) for field, of_ranks in zip(fields, shapes, strict=True))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        rank, own = dist.get_rank(), []
        for lengths, gradient in zip(ctx.lengths, gradients, strict=True):
            total = gradient.to(torch.promote_types(gradient.dtype, torch.float32), copy=True).contiguous()
            if len(total):
                dist.all_reduce(total)
            first = sum(lengths[:rank])
            own.append(total[first : first + lengths[rank]].to(gradient.dtype))
        return None, *own
