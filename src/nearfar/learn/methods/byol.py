"""BYOL: Grill et al., Bootstrap Your Own Latent (arXiv:2006.07733), algorithm 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from nearfar.learn.encoders.heads import mlp
from nearfar.learn.encoders.view_encoder import ViewEncoder
from nearfar.learn.losses import Negatives, byol
from nearfar.learn.methods.image_method import ImageMethod
from nearfar.learn.methods.passes import each, in_one_pass, projected, two_views
from nearfar.learn.negatives import MomentumEncoder, momentum_at
from nearfar.learn.views.batch import ViewBatch
from nearfar.recipe.methods import Byol as Settings


class Embedded(NamedTuple):
    """Two views of n pictures.

    Attributes:
        features: (n, 2, dim) of the encoder.
        predictions: (n, 2, d) of the predictor.
        targets: (n, 2, d) of the slow copies, in the same order of views; without gradient.
    """

    features: Tensor
    predictions: Tensor
    targets: Tensor


class Byol(ImageMethod):
    """Each view predicts what a slow copy of the encoder makes of the other."""

    def __init__(self, encoder: ViewEncoder, settings: Settings) -> None:
        super().__init__(encoder)
        self.momentum, out = settings.momentum, settings.projector[-1]
        self.projector = mlp((encoder.dim, *settings.projector))
        self.predictor = mlp((out, settings.predictor, out))
        self.target_encoder, self.target_projector = MomentumEncoder(encoder), MomentumEncoder(self.projector)

    def embed(self, batch: ViewBatch) -> Embedded:
        """Predictions by encoder, projector and predictor; targets by the slow copies of the first two."""
        views = two_views(batch)
        features, projections = projected(self.encoder, self.projector, views)
        targets = each(self.target_projector, in_one_pass(self.target_encoder, views))
        return Embedded(features, each(self.predictor, projections), targets)

    def loss(self, embedded: Embedded, further: Sequence[Negatives] = ()) -> Tensor:
        """Eq. 2, both ways."""
        (p1, p2), (t1, t2) = embedded.predictions.unbind(1), embedded.targets.unbind(1)
        return byol(p1, t2) + byol(p2, t1)

    def follow(self, step: int, total_steps: int) -> None:
        """The slow copies keep a share of their weights that grows from `momentum` to 1."""
        momentum = momentum_at(step, total_steps, self.momentum)
        self.target_encoder.follow(self.encoder, momentum)
        self.target_projector.follow(self.projector, momentum)
