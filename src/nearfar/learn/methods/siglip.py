"""SigLIP: Zhai et al., Sigmoid Loss for Language Image Pre-Training (arXiv:2303.15343), algorithm 1."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nearfar.learn.losses import Negatives, siglip
from nearfar.learn.methods.two_towers import Embedded, TwoTowers

_COLDEST, _HOTTEST = 0.005, 1.0


class SigLip(TwoTowers):
    """Whether a picture and a text belong together is asked of every pair of the batch by itself.

    Args:
        image_tower: gives (n, image_dim).
        text_tower: gives (n, text_dim).
        image_dim: components of what the image tower gives.
        text_dim: components of what the text tower gives.
        projection: components of the common space.
        temperature: divides the cosines; the value at the first step, from where it learns between 0.005 and 1.
        bias: added to each logit; the value at the first step. About the logarithm of the share of pairs that are positive.
    """

    def __init__(
        self,
        image_tower: nn.Module,
        text_tower: nn.Module,
        *,
        image_dim: int,
        text_dim: int,
        projection: int = 128,
        temperature: float = 0.1,
        bias: float = -10.0,
    ) -> None:
        super().__init__(image_tower, text_tower, image_dim=image_dim, text_dim=text_dim, projection=projection)
        if not _COLDEST <= temperature <= _HOTTEST:
            raise ValueError(f"temperature is {temperature}, and must be from {_COLDEST} to {_HOTTEST}")
        self.log_temperature = nn.Parameter(torch.tensor(math.log(temperature)))
        self.bias = nn.Parameter(torch.tensor(bias))

    def loss(self, embedded: Embedded, further: Sequence[Negatives] = ()) -> Tensor:
        """The pairwise sigmoid loss over the batch."""
        return siglip(
            embedded.images,
            embedded.texts,
            torch.arange(len(embedded.images), device=embedded.images.device),
            temperature=self.log_temperature.exp(),
            bias=self.bias,
            ignored=embedded.ignored,
        )

    @torch.no_grad()
    def follow(self, step: int, total_steps: int) -> None:
        """Bring the temperature back into its bounds."""
        self.log_temperature.clamp_(math.log(_COLDEST), math.log(_HOTTEST))
