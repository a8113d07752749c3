"""SimSiam: Chen and He, Exploring Simple Siamese Representation Learning (arXiv:2011.10566), algorithm 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from nearfar.learn.encoders.heads import mlp
from nearfar.learn.encoders.view_encoder import ViewEncoder
from nearfar.learn.losses import Negatives, simsiam
from nearfar.learn.methods.image_method import ImageMethod
from nearfar.learn.methods.passes import each, projected, two_views
from nearfar.learn.views.batch import ViewBatch
from nearfar.recipe.methods import SimSiam as Settings


class Embedded(NamedTuple):
    """Two views of n pictures.

    Attributes:
        features: (n, 2, dim) of the encoder.
        projections: (n, 2, d) of the projector; the loss stops their gradient.
        predictions: (n, 2, d) of the predictor.
    """

    features: Tensor
    projections: Tensor
    predictions: Tensor


class SimSiam(ImageMethod):
    """Each view predicts the other, whose gradient is stopped."""

    def __init__(self, encoder: ViewEncoder, settings: Settings) -> None:
        super().__init__(encoder)
        out = settings.projector[-1]
        self.projector = mlp((encoder.dim, *settings.projector), last_norm=True)
        self.predictor = mlp((out, settings.predictor, out))

    def embed(self, batch: ViewBatch) -> Embedded:
        """Both views through encoder, projector and predictor."""
        features, projections = projected(self.encoder, self.projector, two_views(batch))
        return Embedded(features, projections, each(self.predictor, projections))

    def loss(self, embedded: Embedded, further: Sequence[Negatives] = ()) -> Tensor:
        """Eq. 4."""
        return simsiam(*embedded.predictions.unbind(1), *embedded.projections.unbind(1))
