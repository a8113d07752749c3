"""Views on their way through encoder and heads: one pass for all that have one size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nearfar.learn.views.batch import ViewBatch

Module = Callable[[Tensor], Tensor]


class Projected(NamedTuple):
    """What the methods embed that have an encoder and a projector.

    Attributes:
        features: (n, V, dim) of the encoder.
        projections: (n, V, d) of the projector, which is what the loss compares.
    """

    features: Tensor
    projections: Tensor


def full_views(batch: ViewBatch) -> tuple[Tensor, ...]:
    """The views of full size: those as large as the first."""
    return tuple(view for view in batch.views if view.shape == batch.views[0].shape)


def two_views(batch: ViewBatch) -> tuple[Tensor, Tensor]:
    """The two views of full size.

    Raises:
        ValueError: there are more or fewer.
    """
    views = full_views(batch)
    if len(views) != 2:
        raise ValueError(f"expected two views of full size, got {[tuple(view.shape) for view in batch.views]}")
    return views[0], views[1]


def in_one_pass(module: Module, views: Sequence[Tensor]) -> Tensor:
    """What a module makes of V views (n, ...) of one size: (n, V, ...)."""
    made = module(torch.cat(list(views)))
    return made.reshape(len(views), -1, *made.shape[1:]).transpose(0, 1)


def each(module: Module, vectors: Tensor) -> Tensor:
    """What a module of vectors makes of each of (n, V, d): (n, V, d')."""
    made = module(vectors.flatten(0, 1))
    return made.reshape(*vectors.shape[:2], *made.shape[1:])


def projected(encoder: Module, projector: Module, views: Sequence[Tensor]) -> Projected:
    """Views of one size through both."""
    features = in_one_pass(encoder, views)
    return Projected(features, each(projector, features))
