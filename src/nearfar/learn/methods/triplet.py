"""Triplets: Schroff et al., FaceNet (arXiv:1503.03832); Hermans et al., In Defense of the Triplet Loss (arXiv:1703.07737).

The default are semi-hard negatives, as FaceNet has them: batch hard draws an untrained encoder together, as all of its vectors are
near each other and the nearest negative is then nearer than the furthest positive whatever is done, save by making all of them equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from nearfar.learn.encoders.view_encoder import ViewEncoder
from nearfar.learn.losses import Negatives, triplet_by_label
from nearfar.learn.methods.image_method import ImageMethod
from nearfar.learn.views.batch import ViewBatch
from nearfar.recipe.identity import TripletIdentity as Settings


class Embedded(NamedTuple):
    """The first view of n samples.

    Attributes:
        features: (n, 1, dim) of the encoder.
        embeddings: (n, dim), the same; what the loss compares.
        items: (n,) number of each sample.
        labels: (n,) -1 where unknown.
    """

    features: Tensor
    embeddings: Tensor
    items: Tensor
    labels: Tensor


class TripletIdentity(ImageMethod):
    """Samples of an identity must be nearer to each other than to those of others; among unit vectors, as they ship.

    Args:
        encoder: what is trained.
        settings: the recipe's method block.
    """

    def __init__(self, encoder: ViewEncoder, settings: Settings) -> None:
        super().__init__(encoder)
        self.margin, self.mine = settings.margin, settings.mine

    def embed(self, batch: ViewBatch) -> Embedded:
        """The first view through the encoder."""
        features = self.encoder(batch.views[0])
        return Embedded(features.unsqueeze(1), features, batch.items, batch.labels)

    def loss(self, embedded: Embedded, further: Sequence[Negatives] = ()) -> Tensor:
        """The hinge of FaceNet, eq. 2, or the soft margin of Hermans et al., section 2; a sample without a label is one of its own."""
        labels = embedded.labels
        alone = labels.max().clamp(min=-1) + 1 + embedded.items
        units = F.normalize(embedded.embeddings, dim=-1)
        return triplet_by_label(
            units,
            labels.where(labels >= 0, alone),
            margin=self.margin or 0.0,
            mine=self.mine,
            soft=self.margin is None,
        )
