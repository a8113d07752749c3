"""SwAV: Caron et al., Unsupervised Learning of Visual Features by Contrasting Cluster Assignments (arXiv:2006.09882), algorithm 1."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from nearfar.learn.encoders.heads import Prototypes, mlp
from nearfar.learn.encoders.view_encoder import ViewEncoder
from nearfar.learn.losses import Negatives, sinkhorn, swapped_assignment
from nearfar.learn.methods.image_method import ImageMethod
from nearfar.learn.methods.passes import each, in_one_pass, two_views
from nearfar.learn.negatives import Queue
from nearfar.learn.views.batch import ViewBatch
from nearfar.recipe.methods import Swav as Settings


class Embedded(NamedTuple):
    """V views of n pictures, the two of full size first.

    Attributes:
        features: (n, 2, dim) of the encoder, of the views of full size.
        projections: (n, V, d) of the projector.
        items: (n,) number of each picture.
    """

    features: Tensor
    projections: Tensor
    items: Tensor


class Swav(ImageMethod):
    """Each view predicts to which prototypes the other views were assigned; those of full size are assigned, all predict."""

    def __init__(self, encoder: ViewEncoder, settings: Settings) -> None:
        super().__init__(encoder)
        self.settings, out = settings, settings.projector[-1]
        self.projector = mlp((encoder.dim, *settings.projector))
        self.prototypes = Prototypes(out, settings.prototypes)
        self.queues = nn.ModuleList(Queue(settings.queue, out) for _ in range(2 if settings.queue else 0))
        self.progress = 0.0

    def embed(self, batch: ViewBatch) -> Embedded:
        """Views of one size share a pass through the encoder, and all of them one through the projector."""
        two_views(batch)
        sizes = [tuple(views) for _, views in groupby(batch.views, key=lambda view: view.shape)]
        features = torch.cat([in_one_pass(self.encoder, views) for views in sizes], dim=1)
        return Embedded(features[:, :2], each(self.projector, features), batch.items)

    def loss(self, embedded: Embedded, further: Sequence[Negatives] = ()) -> Tensor:
        """Swapped prediction, eq. 6."""
        scores = each(self._scores, embedded.projections).unbind(1)
        with torch.no_grad():
            codes = [self._codes(scores[view], view) for view in range(2)]
        return swapped_assignment(scores, temperature=self.settings.temperature, codes=codes)

    def _scores(self, projections: Tensor) -> Tensor:
        """Cosines (k, prototypes); in the first steps the prototypes get no gradient of them."""
        frozen = self.progress < self.settings.freeze_prototypes
        weights = {name: p.detach() if frozen else p for name, p in self.prototypes.named_parameters()}
        scores: Tensor = functional_call(self.prototypes, weights, (projections,))
        return scores

    def _codes(self, scores: Tensor, view: int) -> Tensor:
        """The assignment of one view, together with what its queue holds once that is full."""
        epsilon, iterations = self.settings.epsilon, self.settings.sinkhorn_iterations
        if self.queues and len(self._queue(view)) == self.settings.queue:
            stored = self.prototypes(self._queue(view).contents().vectors.to(scores))
            scores = torch.cat([scores, stored])
            return sinkhorn(scores, epsilon=epsilon, iterations=iterations)[: -len(stored)]
        return sinkhorn(scores, epsilon=epsilon, iterations=iterations)

    def remember(self, embedded: Embedded) -> None:
        """Each of the two views has a queue of its own, which begins after `queue_start` of the steps."""
        if self.progress >= self.settings.queue_start:
            nobody = torch.full_like(embedded.items, -1)
            for view in range(len(self.queues)):
                self._queue(view).push(embedded.projections[:, view], embedded.items, nobody)

    def follow(self, step: int, total_steps: int) -> None:
        """How far the run is."""
        self.progress = step / total_steps

    def _queue(self, view: int) -> Queue:
        queue = self.queues[view]
        assert isinstance(queue, Queue)
        return queue
