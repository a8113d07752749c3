"""Wu et al., Unsupervised Feature Learning via Non-Parametric Instance Discrimination (arXiv:1805.01978), section 3.

Where the paper approximates the softmax over the corpus by noise contrast, this takes it over a sample, as MoCo does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nearfar.learn.encoders.heads import mlp
from nearfar.learn.encoders.image import ImageEncoder
from nearfar.learn.losses import Negatives, byol
from nearfar.learn.methods.image_method import ImageMethod
from nearfar.learn.methods.passes import full_views, projected
from nearfar.learn.methods.stored import info_nce_with_stored
from nearfar.learn.negatives import MemoryBank, Remembered
from nearfar.learn.views.batch import ViewBatch
from nearfar.recipe.methods import InstanceDiscrimination as Settings


class Embedded(NamedTuple):
    """V views of n pictures, V at least 1.

    Attributes:
        features: (n, V, dim) of the encoder.
        projections: (n, V, d) of the projector.
        items: (n,) number of each picture, which is that of its slot.
    """

    features: Tensor
    projections: Tensor
    items: Tensor


class InstanceDiscrimination(ImageMethod):
    """Each picture finds its own slot in a memory bank of the corpus.

    Args:
        encoder: what is trained.
        settings: the recipe's method block.
        items: how many pictures there are.
    """

    def __init__(self, encoder: ImageEncoder, settings: Settings, *, items: int) -> None:
        super().__init__(encoder)
        self.settings, self.step = settings, 0
        self.projector = mlp((encoder.dim, *settings.projector))
        self.bank = MemoryBank(items, settings.projector[-1], momentum=settings.momentum)

    def embed(self, batch: ViewBatch) -> Embedded:
        """All views of full size through encoder and projector."""
        return Embedded(*projected(self.encoder, self.projector, full_views(batch)), batch.items)

    def loss(self, embedded: Embedded, further: Sequence[Negatives] = ()) -> Tensor:
        """Each view looks for its picture's slot among the sample, eq. 2; with the squared distance to the slot, eq. 5.

        Before the first visit the slot is the mean of the picture's own views, where the paper has a random vector.
        """
        views, items = embedded.projections.shape[1], embedded.items
        visited = self.bank.seen[items]
        own = F.normalize(embedded.projections.detach(), dim=2).mean(dim=1)
        slots = torch.where(visited.unsqueeze(1), self.bank.vectors[items].to(own), own).repeat_interleave(views, 0)
        queries = embedded.projections.flatten(0, 1)
        loss = info_nce_with_stored(
            queries, slots, items.repeat_interleave(views), self._sample(), temperature=self.settings.temperature
        )
        visited = visited.repeat_interleave(views)
        if self.settings.proximal and bool(visited.any()):
            loss = loss + self.settings.proximal * byol(queries[visited], slots[visited])
        return loss

    def remember(self, embedded: Embedded) -> None:
        """Slots move towards the mean of the views."""
        ids = embedded.items.repeat_interleave(embedded.projections.shape[1])
        self.bank.update(embedded.projections.flatten(0, 1), ids, torch.full_like(ids, -1))

    def follow(self, step: int, total_steps: int) -> None:
        """The sample of a step is drawn by its number."""
        self.step = step

    def _sample(self) -> Remembered:
        if self.settings.sample is None:
            return self.bank.contents()
        return self.bank.sample(self.settings.sample, torch.Generator().manual_seed(self.step))
