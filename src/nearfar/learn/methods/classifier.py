"""A linear layer on the encoder, trained by labels: fine-tuning, and linear evaluation where the encoder is frozen."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nearfar.errors import RunError
from nearfar.learn.encoders.view_encoder import ViewEncoder
from nearfar.learn.losses import Negatives
from nearfar.learn.methods.image_method import ImageMethod
from nearfar.learn.views.batch import ViewBatch
from nearfar.recipe.methods import Classifier as Settings


class Embedded(NamedTuple):
    """The first view of n pictures.

    Attributes:
        features: (n, 1, dim) of the encoder.
        logits: (n, classes).
        labels: (n,) -1 where unknown.
    """

    features: Tensor
    logits: Tensor
    labels: Tensor


class Classifier(ImageMethod):
    """Cross entropy of the labels.

    Args:
        encoder: what is trained, or frozen.
        settings: the recipe's method block.
        classes: how many labels there are.

    Attributes:
        encoder_rate: share of the learning rate that the parameters of `encoder` have.
    """

    def __init__(self, encoder: ViewEncoder, settings: Settings, *, classes: int) -> None:
        super().__init__(encoder)
        self.frozen, self.label_smoothing = settings.frozen, settings.label_smoothing
        self.encoder_rate = settings.encoder_rate
        self.head = nn.Linear(encoder.dim, classes)
        if self.frozen:
            encoder.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """As every module; but a frozen encoder stays as it is, the statistics of its norms included."""
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self

    def embed(self, batch: ViewBatch) -> Embedded:
        """The first view through encoder and linear layer."""
        with torch.no_grad() if self.frozen else nullcontext():
            features = self.encoder(batch.views[0])
        return Embedded(features.unsqueeze(1), self.head(features), batch.labels)

    def loss(self, embedded: Embedded, further: Sequence[Negatives] = ()) -> Tensor:
        """Mean over the pictures that have a label.

        Raises:
            RunError: none has.
        """
        if not bool((embedded.labels >= 0).any()):
            raise RunError(
                f"none of the {len(embedded.labels)} pictures of a batch has a label: leave pictures without one out, or "
                "raise train.batch_size"
            )
        return F.cross_entropy(
            embedded.logits.float(), embedded.labels, ignore_index=-1, label_smoothing=self.label_smoothing
        )
