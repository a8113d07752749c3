"""CLIP: Radford et al., Learning Transferable Visual Models From Natural Language Supervision (arXiv:2103.00020), figure 3."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nearfar.learn.losses import Negatives, info_nce
from nearfar.learn.methods.two_towers import Embedded, TwoTowers

_COLDEST, _HOTTEST = 0.01, 1.0  # the paper keeps its scale under 100


class Clip(TwoTowers):
    """Each picture finds its text among those of the batch, and each text its picture.

    Args:
        image_tower: gives (n, image_dim).
        text_tower: gives (n, text_dim).
        image_dim: components of what the image tower gives.
        text_dim: components of what the text tower gives.
        projection: components of the common space.
        temperature: divides the cosines; the value at the first step. From 0.01 to 1.
        learned: whether it is trained along, within those bounds.
    """

    def __init__(
        self,
        image_tower: nn.Module,
        text_tower: nn.Module,
        *,
        image_dim: int,
        text_dim: int,
        projection: int = 128,
        temperature: float = 0.07,
        learned: bool = True,
    ) -> None:
        super().__init__(image_tower, text_tower, image_dim=image_dim, text_dim=text_dim, projection=projection)
        if not _COLDEST <= temperature <= _HOTTEST:
            raise ValueError(f"temperature is {temperature}, and must be from {_COLDEST} to {_HOTTEST}")
        self.log_temperature = nn.Parameter(torch.tensor(math.log(temperature)), requires_grad=learned)

    def loss(self, embedded: Embedded, further: Sequence[Negatives] = ()) -> Tensor:
        """Symmetric InfoNCE; `further` are texts that are negatives of the pictures besides."""
        return info_nce(
            embedded.images,
            embedded.texts,
            torch.arange(len(embedded.images), device=embedded.images.device),
            temperature=self.log_temperature.exp(),
            ignored=embedded.ignored,
            negatives=further,
            symmetric=True,
        )

    @torch.no_grad()
    def follow(self, step: int, total_steps: int) -> None:
        """Bring the temperature back into its bounds."""
        self.log_temperature.clamp_(math.log(_COLDEST), math.log(_HOTTEST))
