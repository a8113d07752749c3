"""Self-attention of each action to those before it: SASRec, Kang and McAuley (arXiv:1808.09781).

Blocks are pre-norm, and in place of positions each head has a learned bias by how many actions ago, as in T5 and ALiBi
(arXiv:1910.10683, arXiv:2108.12409): the same history gives the same vector however much is padded before it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nearfar.learn.encoders.sequence import HIDDEN, HistoryBody


class CausalTransformer(HistoryBody):
    """Blocks of attention.

    Args:
        dim: components.
        layers: blocks.
        heads: of each block.
        length: most actions of a history.
        dropout: of attention and of what is added to the residual.
    """

    def __init__(self, *, dim: int, layers: int, heads: int, length: int, dropout: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_Block(dim, heads, length, dropout) for _ in range(layers))

    def forward(self, inputs: Tensor, mask: Tensor, weights: Tensor) -> Tensor:
        """Look back from every position; see `HistoryBody`."""
        hidden, visible = inputs, _visible(mask)
        for block in self.blocks:
            hidden = block(hidden, visible)
        return hidden

    def last(self, inputs: Tensor, mask: Tensor, weights: Tensor) -> Tensor:
        """The last block looks back from the last position only: half of the work of two."""
        hidden, visible = inputs, _visible(mask)
        for block in self.blocks[:-1]:
            hidden = block(hidden, visible)
        final: Tensor = self.blocks[-1](hidden, visible, last=True)
        return final[:, 0]


class _Block(nn.Module):
    """Attention and a feed-forward layer, each behind a layer norm and around a residual."""

    def __init__(self, dim: int, heads: int, length: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.length = heads, length
        self.attention_norm = nn.LayerNorm(dim)
        self.queries = nn.Linear(dim, dim)
        self.keys_values = nn.Linear(dim, 2 * dim)
        self.mix = nn.Linear(dim, dim)
        # Heads begin by looking at the last few actions, each at about three times as many as the one before it.
        slopes = 0.5 / 3.0 ** torch.arange(heads)
        self.by_age = nn.Parameter(-slopes[:, None] * torch.arange(length))
        self.feedforward = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, 2 * dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * dim, dim)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor, visible: Tensor, last: bool = False) -> Tensor:
        """`hidden` (n, L, d), `visible` (n, 1, 1, L) 0 for an action; (n, L, d), or (n, 1, d) of the last position."""
        n, length, dim = hidden.shape
        normed = self.attention_norm(hidden)
        asked, kept = (normed[:, -1:], hidden[:, -1:]) if last else (normed, hidden)
        query = self._by_head(self.queries(asked))
        key, value = (self._by_head(part) for part in self.keys_values(normed).chunk(2, dim=-1))
        bias = self._bias(length, last) + visible
        scores = query @ key.mT / (dim // self.heads) ** 0.5 + bias
        attended = self.dropout(scores.softmax(dim=-1)) @ value
        joined = attended.transpose(1, 2).reshape(n, -1, dim)
        kept = kept + self.dropout(self.mix(joined))
        fed: Tensor = kept + self.dropout(self.feedforward(kept))
        return fed

    def _by_head(self, vectors: Tensor) -> Tensor:
        heads: Tensor = torch.unflatten(vectors, -1, (self.heads, -1))
        return heads.transpose(1, 2)

    def _bias(self, length: int, last: bool) -> Tensor:
        """What is added to the scores of each head by age; (1, heads, L or 1, L)."""
        places = torch.arange(length, device=self.by_age.device)
        since = length - 1 - places if last else places.unsqueeze(1) - places
        since = since.unsqueeze(0) if last else since
        bias = self.by_age[:, since.clamp(0, self.length - 1)]
        return bias.masked_fill(since < 0, HIDDEN).unsqueeze(0)


def _visible(mask: Tensor) -> Tensor:
    """0 for an action and `HIDDEN` for what is none: (n, 1, 1, L)."""
    return (1 - mask)[:, None, None, :] * HIDDEN
