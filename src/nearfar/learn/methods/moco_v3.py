"""MoCo v3: Chen et al., An Empirical Study of Training Self-Supervised Vision Transformers (arXiv:2104.02057), algorithm 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nearfar.learn.encoders.heads import mlp
from nearfar.learn.encoders.view_encoder import ViewEncoder
from nearfar.learn.losses import Negatives, info_nce
from nearfar.learn.methods.image_method import ImageMethod
from nearfar.learn.methods.passes import each, in_one_pass, projected, two_views
from nearfar.learn.negatives import MomentumEncoder, momentum_at
from nearfar.learn.views.batch import ViewBatch
from nearfar.recipe.methods import MocoV3 as Settings


class Embedded(NamedTuple):
    """Two views of n pictures.

    Attributes:
        features: (n, 2, dim) of the encoder.
        queries: (n, 2, d) of the predictor.
        keys: (n, 2, d) of the slow copies, by the same order of views; without gradient.
    """

    features: Tensor
    queries: Tensor
    keys: Tensor


class MocoV3(ImageMethod):
    """A prediction from each view finds the other view, embedded by a slow copy, among those of the batch."""

    def __init__(self, encoder: ViewEncoder, settings: Settings) -> None:
        super().__init__(encoder)
        self.settings, out = settings, settings.projector[-1]
        self.projector = mlp((encoder.dim, *settings.projector), last_norm=True)
        self.predictor = mlp((out, settings.predictor, out), last_norm=True)
        self.key_encoder, self.key_projector = MomentumEncoder(encoder), MomentumEncoder(self.projector)

    def embed(self, batch: ViewBatch) -> Embedded:
        """Queries by encoder, projector and predictor; keys by the slow copies of the first two."""
        views = two_views(batch)
        features, projections = projected(self.encoder, self.projector, views)
        keys = each(self.key_projector, in_one_pass(self.key_encoder, views))
        return Embedded(features, each(self.predictor, projections), keys)

    def loss(self, embedded: Embedded, further: Sequence[Negatives] = ()) -> Tensor:
        """ctr(q1, k2) + ctr(q2, k1), each 2 tau InfoNCE: the scale keeps gradients alike when the temperature is changed."""
        (q1, q2), (k1, k2) = embedded.queries.unbind(1), embedded.keys.detach().unbind(1)
        places, temperature = torch.arange(len(q1), device=q1.device), self.settings.temperature
        first, second = (info_nce(q, k, places, temperature=temperature) for q, k in ((q1, k2), (q2, k1)))
        return 2 * temperature * (first + second)

    def follow(self, step: int, total_steps: int) -> None:
        """The slow copies keep a share of their weights that grows from `momentum` to 1."""
        momentum = momentum_at(step, total_steps, self.settings.momentum)
        self.key_encoder.follow(self.encoder, momentum)
        self.key_projector.follow(self.projector, momentum)
