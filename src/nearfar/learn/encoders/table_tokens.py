"""Columns as tokens of a transformer: FT-Transformer (Gorishniy et al., arXiv:2106.11959)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nearfar.learn.encoders.table import FeatureVectors, TableEncoder
from nearfar.learn.encoders.transformer import Block
from nearfar.recipe.table import FeatureTokensEncoder


class TableTokens(TableEncoder):
    """A token for each feature and one of its own (CLS), blocks of attention, a final norm of that one.

    Args:
        widths: how many codes each feature has.
        settings: the recipe's encoder block.
    """

    def __init__(self, widths: Sequence[int], settings: FeatureTokensEncoder) -> None:
        super().__init__()
        self.dim = settings.dim
        self.tokens = FeatureVectors(widths, settings.dim)
        self.token = nn.Parameter(torch.randn(1, 1, settings.dim) * 0.02)
        feedforward = settings.feedforward or 2 * settings.dim
        self.blocks = nn.ModuleList(
            Block(settings.dim, settings.heads, feedforward, settings.dropout) for _ in range(settings.layers)
        )
        self.norm = nn.LayerNorm(settings.dim)

    def forward(self, values: Tensor, codes: Tensor) -> Tensor:
        """Embed n rows (n, F); returns (n, dim)."""
        columns = self.tokens(values, codes)
        hidden = torch.cat([self.token.expand(columns.shape[0], 1, self.dim), columns], dim=1)
        for block in self.blocks:
            hidden = block(hidden, None)  # every column looks at every other
        last: Tensor = self.norm(hidden[:, 0])
        return last
