"""Barlow Twins: Zbontar et al., Self-Supervised Learning via Redundancy Reduction (arXiv:2103.03230), algorithm 1."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from nearfar.learn.encoders.heads import mlp
from nearfar.learn.encoders.view_encoder import ViewEncoder
from nearfar.learn.losses import Negatives, barlow_twins
from nearfar.learn.methods.image_method import ImageMethod
from nearfar.learn.methods.passes import Projected, projected, two_views
from nearfar.learn.views.batch import ViewBatch
from nearfar.recipe.methods import BarlowTwins as Settings


class BarlowTwins(ImageMethod):
    """The correlation of the features of two views is the identity."""

    def __init__(self, encoder: ViewEncoder, settings: Settings) -> None:
        super().__init__(encoder)
        self.off_diagonal = settings.off_diagonal
        self.projector = mlp((encoder.dim, *settings.projector), last_bias=False)

    def embed(self, batch: ViewBatch) -> Projected:
        """Both views through encoder and projector."""
        return projected(self.encoder, self.projector, two_views(batch))

    def loss(self, embedded: Projected, further: Sequence[Negatives] = ()) -> Tensor:
        """Eq. 1."""
        return barlow_twins(*embedded.projections.unbind(1), off_diagonal=self.off_diagonal)
