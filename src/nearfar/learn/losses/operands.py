"""What the objectives take in: brought to one precision, checked, scaled to unit length."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

_P = ParamSpec("_P")
_R = TypeVar("_R")


def once_differentiable(backward: Callable[_P, _R]) -> Callable[_P, _R]:
    """For a backward that autograd must not look into: raise if a second derivative is asked for.

    The decorator of the same name in torch lets some second derivatives through, as zeros.
    """

    @functools.wraps(backward)
    def checked(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        if torch.is_grad_enabled():
            raise RuntimeError("this loss can be differentiated once: create_graph=True asks for a second derivative")
        return backward(*args, **kwargs)

    return checked


def at_least_float32(*tensors: Tensor) -> list[Tensor]:
    """All in their widest type, and not below float32: half precision keeps three digits of a cosine or a mean."""
    precise = torch.float32
    for tensor in tensors:
        precise = torch.promote_types(precise, tensor.dtype)
    return [tensor.to(precise) for tensor in tensors]


def aligned(matrices: Mapping[str, Tensor], *, least_rows: int = 1) -> list[Tensor]:
    """Check that row i of every matrix can belong to the same item, and bring all of them to one precision.

    Args:
        matrices: (n, d) each, under the name by which the caller knows it.
        least_rows: rows that the objective cannot do without.

    Returns:
        The matrices in the order given, in their widest type, at least float32.

    Raises:
        ValueError: a matrix is not (n, d), the shapes differ, a matrix is without columns, or n < `least_rows`.
    """
    shapes = {name: tuple(matrix.shape) for name, matrix in matrices.items()}
    said = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
    if any(len(shape) != 2 or shape[1] == 0 for shape in shapes.values()):
        raise ValueError(f"expected matrices of rows and at least one column, got {said}")
    if len(set(shapes.values())) > 1:
        raise ValueError(f"expected matrices of one shape, row i of each belonging to the same item, got {said}")
    if any(shape[0] < least_rows for shape in shapes.values()):
        raise ValueError(f"expected at least {least_rows} row{'s' if least_rows > 1 else ''}, got {said}")
    return at_least_float32(*matrices.values())


def unit(vectors: Tensor, dim: int = -1) -> Tensor:
    """Scale to length 1 along `dim`.

    A vector of length 0 has no direction. It stays 0 and gets no gradient, where a division by a small constant would hand
    back one of 1e12. Backward needs only the result and the lengths.
    """
    scaled: Tensor = _Unit.apply(vectors, dim)  # type: ignore[no-untyped-call]
    return scaled


class _Unit(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, vectors: Tensor, dim: int) -> Tensor:
        length: Tensor = torch.linalg.vector_norm(vectors, dim=dim, keepdim=True)
        inverse = 1 / length.masked_fill(length == 0, torch.inf)
        scaled: Tensor = vectors * inverse
        ctx.save_for_backward(scaled, inverse)
        ctx.dim = dim
        return scaled

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        scaled, inverse = ctx.saved_tensors
        along = gradient * scaled
        torch.mul(scaled, along.sum(ctx.dim, keepdim=True), out=along)
        return torch.sub(gradient, along, out=along).mul_(inverse), None
