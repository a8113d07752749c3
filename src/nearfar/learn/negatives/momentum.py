"""A slow copy of an encoder, so that vectors of many steps are of nearly the same model."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn


class MomentumEncoder(nn.Module):
    """A copy whose weights follow those of the original: k <- m k + (1 - m) q. It never has a gradient.

    The copy is in the state dict. The original is not held, so it is there only once.

    Args:
        original: any module; copied as it is now.

    Source:
        He et al., Momentum Contrast for Unsupervised Visual Representation Learning (arXiv:1911.05722), eq. 2.
    """

    def __init__(self, original: nn.Module) -> None:
        super().__init__()
        self.copy = copy.deepcopy(original).requires_grad_(False)

    @torch.no_grad()
    def follow(self, original: nn.Module, momentum: float) -> None:
        """Move towards the original; its buffers (running statistics of BatchNorm, say) are taken over as they are.

        Args:
            original: what was copied, trained since.
            momentum: m, in [0, 1]; with 0 the weights become those of the original, with 1 they stay.

        Raises:
            ValueError: the momentum is out of range, or the original has other weights than the copy.
        """
        if not 0 <= momentum <= 1:
            raise ValueError(f"momentum is {momentum}, and must be in [0, 1]")
        ours, theirs = dict(self.copy.named_parameters()), dict(original.named_parameters())
        buffers, new = dict(self.copy.named_buffers()), dict(original.named_buffers())
        if ours.keys() != theirs.keys() or buffers.keys() != new.keys():
            other = sorted((ours.keys() ^ theirs.keys()) | (buffers.keys() ^ new.keys()))
            raise ValueError(f"the original is not what was copied: only one of them has {', '.join(other)}")
        for name, weights in ours.items():
            weights.mul_(momentum).add_(theirs[name], alpha=1 - momentum)
        for name, buffer in buffers.items():
            buffer.copy_(new[name])

    @torch.no_grad()
    def forward(self, *inputs: Any) -> Tensor:
        """What the copy makes of the inputs."""
        made: Tensor = self.copy(*inputs)
        return made


def momentum_at(step: int, total_steps: int, base: float) -> float:
    """Momentum that grows from `base` at the first step to 1 at the end, along a half cosine.

    Args:
        step: from 0.
        total_steps: of the whole run; from there on it stays 1.
        base: in [0, 1].

    Source:
        Grill et al., Bootstrap Your Own Latent (arXiv:2006.07733), section 3.3 (implementation details).
    """
    progress = min(1.0, step / total_steps)
    return 1 - (1 - base) * (math.cos(math.pi * progress) + 1) / 2
