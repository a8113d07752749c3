"""SupCon: Khosla et al., Supervised Contrastive Learning (arXiv:2004.11362).

The paper takes two views of each picture, as a batch may hold a label once. Where every label comes several times, as with the
pairing `identity`, one view does: the other samples are the positives, and a step costs half.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from nearfar.learn.encoders.heads import mlp
from nearfar.learn.encoders.view_encoder import ViewEncoder
from nearfar.learn.losses import Negatives, sup_con
from nearfar.learn.methods.image_method import ImageMethod
from nearfar.learn.methods.passes import full_views, projected
from nearfar.learn.views.batch import ViewBatch
from nearfar.recipe.methods import SupCon as Settings


class Embedded(NamedTuple):
    """V views of n pictures, one or two.

    Attributes:
        features: (n, V, dim) of the encoder.
        projections: (n, V, d) of the projector; the features where there is none.
        items: (n,) number of each picture.
        labels: (n,) -1 where unknown.
    """

    features: Tensor
    projections: Tensor
    items: Tensor
    labels: Tensor


class SupCon(ImageMethod):
    """All views of all pictures of a label find each other; a picture without a label is a label of its own, as in SimCLR."""

    def __init__(self, encoder: ViewEncoder, settings: Settings) -> None:
        super().__init__(encoder)
        self.temperature = settings.temperature
        widths = (encoder.dim, *settings.projector)
        self.projector = mlp(widths, norm="none") if settings.projector else nn.Identity()

    def embed(self, batch: ViewBatch) -> Embedded:
        """All views of full size through encoder and projector.

        Raises:
            ValueError: there are neither one nor two.
        """
        views = full_views(batch)
        if len(views) > 2:
            raise ValueError(
                f"expected one or two views of full size, got {[tuple(view.shape) for view in batch.views]}"
            )
        return Embedded(*projected(self.encoder, self.projector, views), batch.items, batch.labels)

    def loss(self, embedded: Embedded, further: Sequence[Negatives] = ()) -> Tensor:
        """Eq. 2, over all views of each picture."""
        labels = embedded.labels
        alone = labels.max().clamp(min=-1) + 1 + embedded.items
        labels = labels.where(labels >= 0, alone).repeat_interleave(embedded.projections.shape[1])
        return sup_con(embedded.projections.flatten(0, 1), labels, temperature=self.temperature)
