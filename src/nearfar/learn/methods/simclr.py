"""SimCLR: Chen et al., A Simple Framework for Contrastive Learning of Visual Representations (arXiv:2002.05709), algorithm 1."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from nearfar.learn.encoders.heads import mlp
from nearfar.learn.encoders.view_encoder import ViewEncoder
from nearfar.learn.losses import Negatives, nt_xent
from nearfar.learn.methods.image_method import ImageMethod
from nearfar.learn.methods.passes import Projected, projected, two_views
from nearfar.learn.views.batch import ViewBatch
from nearfar.recipe.methods import SimClr as Settings


class SimClr(ImageMethod):
    """Two views of a picture find each other among all other views of the batch."""

    def __init__(self, encoder: ViewEncoder, settings: Settings) -> None:
        super().__init__(encoder)
        self.temperature = settings.temperature
        self.projector = mlp((encoder.dim, *settings.projector))

    def embed(self, batch: ViewBatch) -> Projected:
        """Both views through encoder and projector."""
        return projected(self.encoder, self.projector, two_views(batch))

    def loss(self, embedded: Projected, further: Sequence[Negatives] = ()) -> Tensor:
        """NT-Xent, eq. 1."""
        return nt_xent(*embedded.projections.unbind(1), temperature=self.temperature)
