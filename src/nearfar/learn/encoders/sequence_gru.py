"""A gated recurrent network over the actions: GRU4Rec, Hidasi et al. (arXiv:1511.06939)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nearfar.learn.encoders.sequence import HistoryBody


class RecurrentBody(HistoryBody):
    """Recurrent layers. What is padded before a history is moved behind it, so that the state begins with the first action.

    Args:
        dim: components.
        layers: recurrent layers.
        dropout: between layers.
    """

    def __init__(self, *, dim: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.layers: nn.Module = nn.GRU(dim, dim, layers, batch_first=True, dropout=dropout if layers > 1 else 0.0)

    def forward(self, inputs: Tensor, mask: Tensor, weights: Tensor) -> Tensor:
        """Look back from every position; see `HistoryBody`."""
        padded, states = self._states(inputs, mask)
        places = torch.arange(inputs.shape[1], device=inputs.device)
        return _taken(states, (places - padded).clamp(min=0))

    def last(self, inputs: Tensor, mask: Tensor, weights: Tensor) -> Tensor:
        """The state after the last action."""
        padded, states = self._states(inputs, mask)
        return _taken(states, (inputs.shape[1] - 1 - padded).clamp(min=0))[:, 0]

    def _states(self, inputs: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """How much was padded before each history, (n, 1), and the states (n, L, d) from its first action on."""
        length = inputs.shape[1]
        padded = length - mask.sum(dim=1, keepdim=True).long()
        places = torch.arange(length, device=inputs.device)
        begun = _taken(inputs, (places + padded).clamp(max=length - 1))
        states: Tensor = self.layers(begun)[0]
        return padded, states


def _taken(vectors: Tensor, places: Tensor) -> Tensor:
    """Vectors (n, L, d) at places (n, m): (n, m, d)."""
    return vectors.gather(1, places.unsqueeze(-1).expand(-1, -1, vectors.shape[2]))
