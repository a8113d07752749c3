"""SupCon: Khosla et al., Supervised Contrastive Learning (arXiv:2004.11362)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from nearfar.learn.encoders.heads import mlp
from nearfar.learn.encoders.image import ImageEncoder
from nearfar.learn.losses import Negatives, sup_con
from nearfar.learn.methods.image_method import ImageMethod
from nearfar.learn.methods.passes import projected, two_views
from nearfar.learn.views.batch import ViewBatch
from nearfar.recipe.methods import SupCon as Settings


class Embedded(NamedTuple):
    """Two views of n pictures.

    Attributes:
        features: (n, 2, dim) of the encoder.
        projections: (n, 2, d) of the projector.
        items: (n,) number of each picture.
        labels: (n,) -1 where unknown.
    """

    features: Tensor
    projections: Tensor
    items: Tensor
    labels: Tensor


class SupCon(ImageMethod):
    """All views of all pictures of a label find each other; a picture without a label is a label of its own, as in SimCLR."""

    def __init__(self, encoder: ImageEncoder, settings: Settings) -> None:
        super().__init__(encoder)
        self.temperature = settings.temperature
        self.projector = mlp((encoder.dim, *settings.projector), norm="none")

    def embed(self, batch: ViewBatch) -> Embedded:
        """Both views through encoder and projector."""
        return Embedded(*projected(self.encoder, self.projector, two_views(batch)), batch.items, batch.labels)

    def loss(self, embedded: Embedded, further: Sequence[Negatives] = ()) -> Tensor:
        """Eq. 2, over both views of each picture."""
        labels = embedded.labels
        alone = labels.max().clamp(min=-1) + 1 + embedded.items
        labels = labels.where(labels >= 0, alone).repeat_interleave(embedded.projections.shape[1])
        return sup_con(embedded.projections.flatten(0, 1), labels, temperature=self.temperature)
