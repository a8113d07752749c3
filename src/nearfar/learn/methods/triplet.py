"""Triplets, batch hard: Hermans et al., In Defense of the Triplet Loss for Person Re-Identification (arXiv:1703.07737)."""

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
    """The furthest sample of the same identity must be nearer than the nearest of another; among unit vectors, as they ship."""

    def __init__(self, encoder: ViewEncoder, settings: Settings) -> None:
        super().__init__(encoder)
        self.margin = settings.margin

    def embed(self, batch: ViewBatch) -> Embedded:
        """The first view through the encoder."""
        features = self.encoder(batch.views[0])
        return Embedded(features.unsqueeze(1), features, batch.items, batch.labels)

    def loss(self, embedded: Embedded, further: Sequence[Negatives] = ()) -> Tensor:
        """Eq. 5, or with the soft margin of section 3.2; a sample without a label is one of its own."""
        labels = embedded.labels
        alone = labels.max().clamp(min=-1) + 1 + embedded.items
        units = F.normalize(embedded.embeddings, dim=-1)
        return triplet_by_label(
            units,
            labels.where(labels >= 0, alone),
            margin=self.margin or 0.0,
            mine="hard",
            soft=self.margin is None,
        )
