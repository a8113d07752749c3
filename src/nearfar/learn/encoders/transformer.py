"""A small transformer from scratch: learned positions, pre-norm blocks (Xiong et al., arXiv:2002.04745)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nearfar.learn.encoders.text import PaddedTextEncoder, pool
from nearfar.recipe.text import TransformerEncoder


class Block(nn.Module):
    """Self-attention and a feed-forward layer, each behind a layer norm and around a residual.

    Attributes:
        heads: of the attention.
        head_size: components of a head; it stays where heads are removed, so that `heads * head_size` may be below `dim`.
    """

    def __init__(self, dim: int, heads: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.head_size = heads, dim // heads
        self.attention_norm = nn.LayerNorm(dim)
        self.queries_keys_values = nn.Linear(dim, 3 * dim)
        self.mix = nn.Linear(dim, dim)
        self.feedforward = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, feedforward), nn.GELU(), nn.Linear(feedforward, dim)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor, attend: Tensor | None) -> Tensor:
        """`hidden` (n, L, d); `attend` (n, 1, 1, L) bool, the tokens that may be looked at."""
        n, length, _ = hidden.shape
        split = self.queries_keys_values(self.attention_norm(hidden)).view(n, length, 3, self.heads, self.head_size)
        query, key, value = split.permute(2, 0, 3, 1, 4).unbind(0)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=attend)
        joined = attended.transpose(1, 2).reshape(n, length, self.heads * self.head_size)
        hidden = hidden + self.dropout(self.mix(joined))
        fed: Tensor = self.dropout(self.feedforward(hidden))
        return hidden + fed


class TransformerTextEncoder(PaddedTextEncoder):
    """Token and position vectors, blocks, a final norm, pooling."""

    def __init__(self, settings: TransformerEncoder, *, vocab_size: int, pad_id: int, max_tokens: int) -> None:
        super().__init__()
        self.dim, self.pad_id, self.pooling, self.max_tokens = settings.dim, pad_id, settings.pooling, max_tokens
        self.tokens = nn.Embedding(vocab_size, settings.dim)
        self.positions = nn.Embedding(max_tokens, settings.dim)
        nn.init.normal_(self.tokens.weight, std=0.02)
        nn.init.normal_(self.positions.weight, std=0.02)
        self.dropout = nn.Dropout(settings.dropout)
        self.blocks = nn.ModuleList(
            Block(settings.dim, settings.heads, settings.feedforward, settings.dropout) for _ in range(settings.layers)
        )
        self.norm = nn.LayerNorm(settings.dim)

    def embed_padded(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Embed `ids` (n, L) int64 where `mask` (n, L) int64 is 1; returns (n, dim)."""
        hidden = self.dropout(self.tokens(ids) + self.positions(torch.arange(ids.shape[1], device=ids.device)))
        attend = mask.bool()[:, None, None, :]
        for block in self.blocks:
            hidden = block(hidden, attend)
        return pool(self.norm(hidden), mask, self.pooling)
