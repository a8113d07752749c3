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
from nearfar.learn.encoders.view_encoder import ViewEncoder
from nearfar.learn.losses import Match, Negatives, byol, info_nce
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

    def __init__(self, encoder: ViewEncoder, settings: Settings, *, items: int) -> None:
        super().__init__(encoder)
        self.settings, self.step = settings, 0
        self.projector = mlp((encoder.dim, *settings.projector))
        self.bank = MemoryBank(items, settings.projector[-1], momentum=settings.momentum)

    def embed(self, batch: ViewBatch) -> Embedded:
        """All views of full size through encoder and projector."""
        return Embedded(*projected(self.encoder, self.projector, full_views(batch)), batch.items)

    def loss(self, embedded: Embedded, further: Sequence[Negatives] = ()) -> Tensor:
        """Each view looks for its picture's slot among the sample, eq. 2; with the squared distance to the slot, eq. 5.

        On its first visit a picture has no slot, where the paper has a random vector. Its views then look for their mean among
        those of the batch. Among slots of past steps they would find it by its age alone: features would drift, and learn nothing.
        """
        visited = self.bank.seen[embedded.items]
        loss = embedded.projections.new_zeros((), dtype=torch.float32)
        for which, one in ((~visited, self._among_the_batch), (visited, self._among_slots)):
            if bool(which.any()):
                loss = loss + which.float().mean() * one(embedded.projections[which], embedded.items[which])
        return loss

    def _among_the_batch(self, projections: Tensor, items: Tensor) -> Tensor:
        """Views (n, V, d) of pictures without a slot look for the mean of the views of their picture."""
        means = F.normalize(projections.detach(), dim=2).mean(dim=1)
        places = torch.arange(len(items), device=items.device)
        losses = [
            info_nce(view, means, places, temperature=self.settings.temperature, ignored=(Match(items, items),))
            for view in projections.unbind(1)
        ]
        return torch.stack(losses).mean()

    def _among_slots(self, projections: Tensor, items: Tensor) -> Tensor:
        """Views (n, V, d) of pictures with a slot look for it among the sample."""
        items = items.repeat_interleave(projections.shape[1])
        queries, slots = projections.flatten(0, 1), self.bank.vectors[items].to(projections)
        loss = info_nce_with_stored(queries, slots, items, self._sample(), temperature=self.settings.temperature)
        return loss + self.settings.proximal * byol(queries, slots) if self.settings.proximal else loss

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
