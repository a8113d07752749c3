"""NNCLR: Dwibedi et al., With a Little Help from My Friends (arXiv:2104.14548), eq. 4 and the pseudocode of appendix A."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nearfar.learn.encoders.heads import mlp
from nearfar.learn.encoders.view_encoder import ViewEncoder
from nearfar.learn.losses import Negatives, info_nce
from nearfar.learn.methods.image_method import ImageMethod
from nearfar.learn.methods.passes import each, projected, two_views
from nearfar.learn.negatives import Queue
from nearfar.learn.views.batch import ViewBatch
from nearfar.recipe.methods import Nnclr as Settings

_AT_ONCE = 2**24
"""Cosines that are held at a time while neighbours are looked for."""


class Embedded(NamedTuple):
    """Two views of n pictures.

    Attributes:
        features: (n, 2, dim) of the encoder.
        projections: (n, 2, d) of the projector; neighbours are looked for by these, without gradient.
        predictions: (n, 2, d) of the predictor.
        items: (n,) number of each picture.
    """

    features: Tensor
    projections: Tensor
    predictions: Tensor
    items: Tensor


class Nnclr(ImageMethod):
    """The nearest neighbour of one view, among past pictures, finds the other view in the batch."""

    def __init__(self, encoder: ViewEncoder, settings: Settings) -> None:
        super().__init__(encoder)
        self.temperature, out = settings.temperature, settings.projector[-1]
        self.projector = mlp((encoder.dim, *settings.projector), last_norm=True)
        self.predictor = mlp((out, settings.predictor, out))
        self.queue = Queue(settings.queue, out)

    def embed(self, batch: ViewBatch) -> Embedded:
        """Both views through encoder, projector and predictor."""
        features, projections = projected(self.encoder, self.projector, two_views(batch))
        return Embedded(features, projections, each(self.predictor, projections), batch.items)

    def loss(self, embedded: Embedded, further: Sequence[Negatives] = ()) -> Tensor:
        """Mean of L(NN(z1), p2) and L(NN(z2), p1), with the predictions of the batch as candidates."""
        (z1, z2), (p1, p2) = embedded.projections.unbind(1), embedded.predictions.unbind(1)
        places = torch.arange(len(p1), device=p1.device)
        pairs = ((self.neighbours(z1, embedded.items), p2), (self.neighbours(z2, embedded.items), p1))
        losses = [info_nce(nearest, p, places, temperature=self.temperature) for nearest, p in pairs]
        return torch.stack(losses).mean()

    @torch.no_grad()
    def neighbours(self, projections: Tensor, items: Tensor) -> Tensor:
        """The stored vector of another picture that is nearest to each of (n, d); itself while nothing is stored."""
        stored = self.queue.contents()
        if not len(stored.ids):
            return projections.detach()
        nearest = []
        parts = max(1, len(projections) * len(stored.ids) // _AT_ONCE)
        for rows, own in zip(projections.tensor_split(parts), items.tensor_split(parts), strict=True):
            # Rows need no unit length to find their nearest. A queue longer than the corpus has the picture itself in it.
            scores = rows.to(stored.vectors) @ stored.vectors.T
            nearest.append(scores.masked_fill_(own.unsqueeze(1) == stored.ids, -torch.inf).argmax(dim=1))
        return stored.vectors[torch.cat(nearest)]

    def remember(self, embedded: Embedded) -> None:
        """The projections of the first view go into the queue."""
        self.queue.push(embedded.projections[:, 0], embedded.items, torch.full_like(embedded.items, -1))
