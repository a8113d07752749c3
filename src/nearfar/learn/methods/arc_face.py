"""ArcFace: Deng et al., Additive Angular Margin Loss for Deep Face Recognition (arXiv:1801.07698)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nearfar.errors import RunError
from nearfar.learn.encoders.view_encoder import ViewEncoder
from nearfar.learn.losses import Negatives, arcface
from nearfar.learn.methods.image_method import ImageMethod
from nearfar.learn.views.batch import ViewBatch
from nearfar.recipe.identity import ArcFace as Settings


class Embedded(NamedTuple):
    """The first view of n samples.

    Attributes:
        features: (n, 1, dim) of the encoder.
        embeddings: (n, dim), the same; what the loss compares.
        labels: (n,) number of the identity.
    """

    features: Tensor
    embeddings: Tensor
    labels: Tensor


class ArcFace(ImageMethod):
    """Each identity is a direction; a sample must be nearer to its own than to any other by an angle.

    The features themselves are compared, without a head: what is trained is what ships.

    Args:
        encoder: what is trained.
        settings: the recipe's method block.
        classes: how many identities are trained on, numbered from 0.
    """

    def __init__(self, encoder: ViewEncoder, settings: Settings, *, classes: int) -> None:
        super().__init__(encoder)
        self.margin, self.scale = settings.margin, settings.scale
        self.directions = nn.Parameter(F.normalize(torch.randn(classes, encoder.dim), dim=1))

    def embed(self, batch: ViewBatch) -> Embedded:
        """The first view through the encoder."""
        features = self.encoder(batch.views[0])
        return Embedded(features.unsqueeze(1), features, batch.labels)

    def loss(self, embedded: Embedded, further: Sequence[Negatives] = ()) -> Tensor:
        """Eq. 3, over the samples that have a label.

        Raises:
            RunError: none has.
        """
        known = embedded.labels >= 0
        if not bool(known.any()):
            raise RunError(
                f"none of the {len(known)} samples of a batch has a label: leave those without one out, or raise train.batch_size"
            )
        own, labels = embedded.embeddings[known], embedded.labels[known]
        return arcface(own, labels, self.directions, margin=self.margin, scale=self.scale)
