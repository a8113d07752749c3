"""What every text encoder is: `Tokens` to vectors while training, padded ids to vectors when exported."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from nearfar.learn.data.batches import Tokens


class TextEncoder(nn.Module, ABC):
    """An encoder of token ids. Vectors are not yet of unit length: losses and export normalise the prefix they use."""

    dim: int

    @abstractmethod
    def forward(self, tokens: Tokens) -> Tensor:
        """Embed n texts; returns (n, dim)."""


class PaddedTextEncoder(TextEncoder):
    """An encoder that works on rectangles: ids (n, L) with a mask."""

    pad_id: int
    max_tokens: int
    """The longest text that it has positions for."""

    @abstractmethod
    def embed_padded(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Embed `ids` (n, L) int64 where `mask` (n, L) int64 is 1; returns (n, dim). This is the graph that ships."""

    def forward(self, tokens: Tokens) -> Tensor:
        """Embed n texts; returns (n, dim)."""
        return self.embed_padded(*pad(tokens, self.pad_id))


def pad(tokens: Tokens, pad_id: int) -> tuple[Tensor, Tensor]:
    """The rectangle of `tokens`: ids (n, L) filled up with `pad_id`, mask (n, L) int64."""
    lengths = tokens.lengths
    width = int(lengths.max()) if len(lengths) else 1
    mask = torch.arange(width, device=lengths.device) < lengths.unsqueeze(1)
    ids = torch.full(mask.shape, pad_id, dtype=torch.int64, device=lengths.device)
    ids[mask] = tokens.ids
    return ids, mask.long()


def pool(hidden: Tensor, mask: Tensor, how: str) -> Tensor:
    """One vector per text from token vectors (n, L, d): the mean over its tokens, or its first token."""
    if how == "cls":
        return hidden[:, 0]
    weight = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1.0)
