"""Encoders of histories: vectors of past items in, the vector of a user out, in the space of the items."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nearfar.learn.encoders.table import FeatureVectors

HIDDEN = -1e9
"""Added to what attention must not look at: finite, so that a row before the first action, which sees nothing, is no NaN."""


class HistoryBody(nn.Module, ABC):
    """What looks back over a history: position i sees the actions up to i, and nothing before the first one."""

    @abstractmethod
    def forward(self, inputs: Tensor, mask: Tensor, weights: Tensor) -> Tensor:
        """Look back from every position.

        Args:
            inputs: (n, L, d), one vector for each action.
            mask: float32 (n, L), 1 for an action, 0 before the first one.
            weights: float32 (n, L), of the actions.

        Returns:
            (n, L, d); of no meaning where `mask` is 0.
        """

    def last(self, inputs: Tensor, mask: Tensor, weights: Tensor) -> Tensor:
        """Look back from the last position alone; (n, d)."""
        return self.forward(inputs, mask, weights)[:, -1]


class SequenceEncoder(nn.Module):
    """A history, and what is known of the moment besides, to one vector.

    Attributes:
        dim: components of the vectors of items and of users.

    Args:
        body: looks back over the actions.
        dim: components.
        gaps: how many numbers a gap in time may have.
        dropout: of what goes into the body, in training.
        context: how many codes each feature of the context has; empty without one.
    """

    def __init__(
        self,
        body: HistoryBody,
        *,
        dim: int,
        gaps: int,
        dropout: float,
        context: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.body, self.dim = body, dim
        self.norm_in = nn.LayerNorm(dim)
        self.gaps = nn.Embedding(gaps, dim)
        self.weight = nn.Parameter(torch.zeros(dim))
        self.dropout = nn.Dropout(dropout)
        self.start = nn.Parameter(torch.zeros(dim))
        self.context = _Context(context, dim) if context else None
        self.norm_out = nn.LayerNorm(dim)
        self.out = nn.Linear(dim, dim)
        nn.init.zeros_(self.gaps.weight)
        # What an item is followed by is mostly near it: the map begins there.
        nn.init.eye_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(
        self,
        vectors: Tensor,
        gaps: Tensor,
        weights: Tensor,
        mask: Tensor,
        values: Tensor | None = None,
        codes: Tensor | None = None,
    ) -> Tensor:
        """The vector of a user after the last action.

        Args:
            vectors: float32 (n, L, d), of the items, oldest first; zero rows before a shorter history.
            gaps: int64 (n, L), as `EventsSettings` has them.
            weights: float32 (n, L), of the actions.
            mask: float32 (n, L), 1 for an action; a history may have none.
            values: float32 (n, F), numbers of the context of the moment, where there is one.
            codes: int64 (n, F), its categories.

        Returns:
            (n, d).
        """
        seen = self.body.last(self._inputs(vectors, gaps, weights), mask, weights)
        some = mask.amax(dim=1, keepdim=True) > 0
        return self._joined(torch.where(some, seen, self.start), values, codes)

    def everywhere(
        self,
        vectors: Tensor,
        gaps: Tensor,
        weights: Tensor,
        mask: Tensor,
        values: Tensor | None = None,
        codes: Tensor | None = None,
    ) -> Tensor:
        """The vector of a user before the first action, and after each; all positions of a history are trained at once.

        Args:
            vectors: float32 (n, L, d), as in `forward`.
            gaps: int64 (n, L).
            weights: float32 (n, L).
            mask: float32 (n, L).
            values: float32 (n, L + 1, F), numbers of the context of each moment.
            codes: int64 (n, L + 1, F), its categories.

        Returns:
            (n, L + 1, d); place 0 knows nothing of the history, place i + 1 what there was up to action i: still nothing where all
            that was padding.
        """
        seen = self.body(self._inputs(vectors, gaps, weights), mask, weights)
        some = mask.cummax(dim=1).values.unsqueeze(-1) > 0
        start = self.start.expand(len(seen), 1, -1)
        return self._joined(torch.cat([start, torch.where(some, seen, start)], dim=1), values, codes)

    def _inputs(self, vectors: Tensor, gaps: Tensor, weights: Tensor) -> Tensor:
        known = self.norm_in(vectors) + self.gaps(gaps) + weights.log1p().unsqueeze(-1) * self.weight
        dropped: Tensor = self.dropout(known)
        return dropped

    def _joined(self, seen: Tensor, values: Tensor | None, codes: Tensor | None) -> Tensor:
        if self.context is not None:
            assert values is not None
            assert codes is not None
            seen = self.context(seen, values, codes)
        vectors: Tensor = self.out(self.norm_out(seen))
        return vectors


class _Context(nn.Module):
    """The moment beside the history: a layer over both, added to the history."""

    def __init__(self, widths: Sequence[int], dim: int) -> None:
        super().__init__()
        self.features = FeatureVectors(widths, 2 * dim)
        self.history = nn.Linear(dim, 2 * dim)
        self.back = nn.Linear(2 * dim, dim)

    def forward(self, seen: Tensor, values: Tensor, codes: Tensor) -> Tensor:
        """Join `seen` (..., d) with features (..., F)."""
        count = values.shape[-1]
        features = self.features.summed(values.reshape(-1, count), codes.reshape(-1, count))
        features = features.view(*seen.shape[:-1], features.shape[-1])
        joined: Tensor = seen + self.back(nn.functional.gelu(self.history(seen) + features))
        return joined
