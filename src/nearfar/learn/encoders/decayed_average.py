"""The mean of what was acted on, each older action counting less: the simplest encoder of a history."""

from __future__ import annotations

import torch
from torch import Tensor

from nearfar.learn.encoders.sequence import HistoryBody


class DecayedMean(HistoryBody):
    """Weights of actions fall by half every `half_life` actions.

    Args:
        half_life: actions after which one counts half.
        length: most actions of a history.
    """

    by_age: Tensor

    def __init__(self, *, half_life: float, length: int) -> None:
        super().__init__()
        self.register_buffer("by_age", 0.5 ** (torch.arange(length) / half_life), persistent=False)

    def forward(self, inputs: Tensor, mask: Tensor, weights: Tensor) -> Tensor:
        """Look back from every position; see `HistoryBody`."""
        places = torch.arange(inputs.shape[1], device=inputs.device)
        since = places.unsqueeze(1) - places
        shares = self.by_age[since.clamp(0, len(self.by_age) - 1)] * (since >= 0)
        return _mean(shares * (mask * weights).unsqueeze(1), inputs)

    def last(self, inputs: Tensor, mask: Tensor, weights: Tensor) -> Tensor:
        """The mean over the whole history."""
        places = torch.arange(inputs.shape[1], device=inputs.device)
        shares = self.by_age[inputs.shape[1] - 1 - places]
        return _mean((shares * mask * weights).unsqueeze(1), inputs)[:, 0]


def _mean(shares: Tensor, vectors: Tensor) -> Tensor:
    """Means of vectors (n, L, d) by shares (n, m, L): (n, m, d); 0 where all shares are."""
    return shares @ vectors / shares.sum(dim=-1, keepdim=True).clamp(min=1e-12)
