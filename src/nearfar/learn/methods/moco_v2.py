"""MoCo v2: Chen et al., Improved Baselines with Momentum Contrastive Learning (arXiv:2003.04297); algorithm 1 of arXiv:1911.05722.

The papers shuffle pictures between GPUs, so that a query and its key do not share the statistics of BatchNorm; here they do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nearfar.learn.encoders.heads import mlp
from nearfar.learn.encoders.view_encoder import ViewEncoder
from nearfar.learn.losses import Negatives
from nearfar.learn.methods.image_method import ImageMethod
from nearfar.learn.methods.passes import each, in_one_pass, projected, two_views
from nearfar.learn.methods.stored import info_nce_with_stored
from nearfar.learn.negatives import MomentumEncoder, Queue
from nearfar.learn.views.batch import ViewBatch
from nearfar.recipe.methods import MocoV2 as Settings


class Embedded(NamedTuple):
    """n pictures; V is 1, or 2 where each view looks for the other.

    Attributes:
        features: (n, V, dim) of the encoder.
        queries: (n, V, d) of the projector.
        keys: (n, V, d) by the slow copies, of the other view than the query in the same place; without gradient.
        items: (n,) number of each picture.
    """

    features: Tensor
    queries: Tensor
    keys: Tensor
    items: Tensor


class MocoV2(ImageMethod):
    """A view finds the other view, embedded by a slow copy of the encoder, among a queue of past ones."""

    def __init__(self, encoder: ViewEncoder, settings: Settings) -> None:
        super().__init__(encoder)
        self.settings = settings
        self.projector = mlp((encoder.dim, *settings.projector), norm="none")
        self.key_encoder, self.key_projector = MomentumEncoder(encoder), MomentumEncoder(self.projector)
        self.queue = Queue(settings.queue, settings.projector[-1])

    def embed(self, batch: ViewBatch) -> Embedded:
        """Queries by the encoder, keys by its slow copy."""
        first, second = two_views(batch)
        views, others = ((first, second), (second, first)) if self.settings.symmetric else ((first,), (second,))
        keys = each(self.key_projector, in_one_pass(self.key_encoder, others))
        return Embedded(*projected(self.encoder, self.projector, views), keys, batch.items)

    def loss(self, embedded: Embedded, further: Sequence[Negatives] = ()) -> Tensor:
        """InfoNCE against the queue; while that is empty, against the other keys of the batch."""
        stored, temperature = self.queue.contents(), self.settings.temperature
        pairs = zip(embedded.queries.unbind(1), embedded.keys.unbind(1), strict=True)
        losses = [info_nce_with_stored(*pair, embedded.items, stored, temperature=temperature) for pair in pairs]
        return torch.stack(losses).mean()

    def remember(self, embedded: Embedded) -> None:
        """The keys go into the queue."""
        ids = embedded.items.repeat_interleave(embedded.keys.shape[1])
        self.queue.push(embedded.keys.flatten(0, 1), ids, torch.full_like(ids, -1))

    def follow(self, step: int, total_steps: int) -> None:
        """The slow copies keep `momentum` of their weights."""
        self.key_encoder.follow(self.encoder, self.settings.momentum)
        self.key_projector.follow(self.projector, self.settings.momentum)
