"""VICReg: Bardes et al., Variance-Invariance-Covariance Regularization (arXiv:2105.04906), algorithm 1."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from nearfar.learn.encoders.heads import mlp
from nearfar.learn.encoders.view_encoder import ViewEncoder
from nearfar.learn.losses import Negatives, vicreg
from nearfar.learn.methods.image_method import ImageMethod
from nearfar.learn.methods.passes import Projected, projected, two_views
from nearfar.learn.views.batch import ViewBatch
from nearfar.recipe.methods import VicReg as Settings


class VicReg(ImageMethod):
    """Views agree, each feature keeps its spread, and no feature repeats another."""

    def __init__(self, encoder: ViewEncoder, settings: Settings) -> None:
        super().__init__(encoder)
        self.settings = settings
        self.projector = mlp((encoder.dim, *settings.projector), last_bias=False)

    def embed(self, batch: ViewBatch) -> Projected:
        """Both views through encoder and projector."""
        return projected(self.encoder, self.projector, two_views(batch))

    def loss(self, embedded: Projected, further: Sequence[Negatives] = ()) -> Tensor:
        """Eq. 6."""
        return vicreg(
            *embedded.projections.unbind(1),
            invariance=self.settings.invariance,
            variance=self.settings.variance,
            covariance=self.settings.covariance,
        )
