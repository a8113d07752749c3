"""Layers of linear maps and ReLU over the columns of a row: the encoder of SCARF (arXiv:2106.15147, sec. 4)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from nearfar.learn.encoders.table import FeatureVectors, TableEncoder
from nearfar.recipe.table import MlpEncoder


class TableMlp(TableEncoder):
    """A first layer over one-hot categories and scaled numbers, further ones, and a linear map past all of them.

    Args:
        widths: how many codes each feature has.
        settings: the recipe's encoder block.
    """

    def __init__(self, widths: Sequence[int], settings: MlpEncoder) -> None:
        super().__init__()
        self.dim = settings.dim
        self.first = FeatureVectors(widths, settings.width)
        layers: list[nn.Module] = []
        for _ in range(settings.layers - 2):
            layers += [nn.ReLU(), nn.Linear(settings.width, settings.width)]
        self.layers = nn.Sequential(*layers, nn.ReLU(), nn.Linear(settings.width, settings.dim))
        self.skip = FeatureVectors(widths, settings.dim) if settings.skip else None

    def forward(self, values: Tensor, codes: Tensor) -> Tensor:
        """Embed n rows (n, F); returns (n, dim)."""
        deep: Tensor = self.layers(self.first.summed(values, codes))
        return deep if self.skip is None else deep + self.skip.summed(values, codes)
