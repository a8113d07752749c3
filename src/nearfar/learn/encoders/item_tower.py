"""Vectors of items: each has one of its own, or that of what is known of it, or both together."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nearfar.learn.data.actions import Content


class ItemTower(nn.Module):
    """A table of own vectors, and a linear map of contents that is added to it.

    An item that nobody has acted on has the vector of its content alone. So that this is one of the same space, some items of each
    step are taken for such.

    Attributes:
        items: how many.
        warm: of these the first so many have a vector of their own.
        dim: components.

    Args:
        items: how many.
        warm: items with actions in training; the others come behind them.
        dim: components.
        content: what is known of the items; None where nothing is.
    """

    tokens: Tensor
    offsets: Tensor
    numbers: Tensor
    given: Tensor

    def __init__(self, items: int, *, warm: int, dim: int, content: Content | None = None) -> None:
        super().__init__()
        self.items, self.warm, self.dim = items, warm, dim
        self.own = nn.Embedding(warm, dim)
        nn.init.normal_(self.own.weight, std=dim**-0.5)
        self.content = _ContentMap(content, dim) if content is not None else None
        if content is not None:
            for name, values in (
                ("tokens", content.tokens),
                ("offsets", content.offsets),
                ("numbers", content.numbers),
                ("given", content.vectors),
            ):
                self.register_buffer(name, torch.from_numpy(values.copy()), persistent=False)

    def forward(self, items: Tensor, by_content: Tensor | None = None) -> Tensor:
        """Vectors of items.

        Args:
            items: int64 (n,), numbers; none may be below 0.
            by_content: bool (items,), which of all items are known by their content alone for now.

        Returns:
            (n, dim).
        """
        known = items < self.warm
        if by_content is not None:
            known = known & ~by_content[items]
        vectors: Tensor = self.own(items.clamp(max=self.warm - 1)) * known.unsqueeze(-1)
        if self.content is not None:
            begin, end = self.offsets[items], self.offsets[items + 1]
            tokens, firsts = _ranges(self.tokens, begin, end)
            vectors = vectors + self.content(tokens, firsts, self.numbers[items], self.given[items])
        return vectors

    def of_content(self, content: Content) -> Tensor:
        """Vectors (n, dim) of n new items by their content, whose tokens must be of the vocabulary that was learned."""
        assert self.content is not None
        device = self.own.weight.device
        offsets, tokens, numbers, given = (
            torch.from_numpy(part.copy()).to(device)
            for part in (content.offsets, content.tokens, content.numbers, content.vectors)
        )
        vectors: Tensor = self.content(tokens, offsets[:-1], numbers, given)
        return vectors


class _ContentMap(nn.Module):
    """Mean of the vectors of tokens, and linear maps of numbers and of given vectors."""

    def __init__(self, content: Content, dim: int) -> None:
        super().__init__()
        self.tokens = nn.EmbeddingBag(max(1, len(content.vocabulary)), dim, mode="mean")
        self.numbers = nn.Linear(content.numbers.shape[1], dim, bias=False) if content.numbers.shape[1] else None
        self.given = nn.Linear(content.vectors.shape[1], dim, bias=False) if content.vectors.shape[1] else None
        for part in (self.tokens, self.numbers, self.given):
            if part is not None:
                nn.init.normal_(part.weight, std=0.02)

    def forward(self, tokens: Tensor, firsts: Tensor, numbers: Tensor, given: Tensor) -> Tensor:
        """Of n items (n, dim), whose tokens lie one after the other in `tokens` from `firsts` (n,) on."""
        vectors: Tensor = self.tokens(tokens, firsts)
        if self.numbers is not None:
            vectors = vectors + self.numbers(numbers)
        return vectors if self.given is None else vectors + self.given(given)


def _ranges(values: Tensor, begin: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
    """`values[begin[i]:end[i]]` for every i one after the other, and where each begins."""
    counts = end - begin
    firsts = counts.cumsum(0) - counts
    places = torch.repeat_interleave(begin - firsts, counts) + torch.arange(int(counts.sum()), device=values.device)
    return values[places], firsts
