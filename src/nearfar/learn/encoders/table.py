"""What every encoder of rows is, and what turns features into vectors."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class TableEncoder(nn.Module, ABC):
    """An encoder of rows. Vectors are not yet of unit length: losses and export normalise them.

    Attributes:
        dim: components of an embedding.
    """

    dim: int

    @abstractmethod
    def forward(self, values: Tensor, codes: Tensor) -> Tensor:
        """Embed n rows.

        Args:
            values: float32 (n, F), scaled numbers; 0 where there is none, and for categories.
            codes: int64 (n, F), which category, or whether a number is there.

        Returns:
            (n, dim).
        """


class FeatureVectors(nn.Module):
    """A vector for each feature of a row: that of its code, and its value times a direction of the feature.

    Args:
        widths: F numbers, how many codes each feature has.
        dim: components of a vector.
    """

    first: Tensor

    def __init__(self, widths: Sequence[int], dim: int) -> None:
        super().__init__()
        starts = torch.tensor([0, *widths[:-1]], dtype=torch.int64).cumsum(0)
        self.register_buffer("first", starts, persistent=False)
        self.of_code = nn.Embedding(sum(widths), dim)
        self.of_value = nn.Parameter(torch.empty(len(widths), dim))
        bound = 1 / math.sqrt(len(widths))  # so that their sum has about the variance of its parts
        nn.init.normal_(self.of_code.weight, std=bound)
        nn.init.normal_(self.of_value, std=bound)

    def forward(self, values: Tensor, codes: Tensor) -> Tensor:
        """One vector for each of F features, (n, F, dim)."""
        vectors: Tensor = self.of_code(codes + self.first) + values.unsqueeze(-1) * self.of_value
        return vectors

    def summed(self, values: Tensor, codes: Tensor) -> Tensor:
        """Their sum (n, dim): a linear map of values and of codes, one number for each."""
        total: Tensor = self.of_code(codes + self.first).sum(dim=1) + values @ self.of_value
        return total
