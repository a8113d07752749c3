"""How much the parts of a transformer matter: heads of attention and units of feed-forward layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

Batch = TypeVar("Batch")


@dataclass(frozen=True)
class Units:
    """Parts of a layer that work side by side: each reads the layer's input, and a linear map adds up what they say.

    Attributes:
        readers: linear maps into the units. The rows of each are one or more stretches (query, key and value; gate and input)
            of `count` units of `size` rows.
        writer: the linear map out of them; its columns are `count` units of `size` columns.
        size: components of a unit: 1 in a feed-forward layer.
        attention: whether they are heads of attention; then the last stretch of the last reader holds the values.
    """

    readers: tuple[nn.Linear, ...]
    writer: nn.Linear
    size: int = 1
    attention: bool = False

    @property
    def count(self) -> int:
        """How many there are."""
        return self.writer.in_features // self.size

    def rows(self, reader: nn.Linear) -> Tensor:
        """The weights of a reader with its bias, (stretches, count, size, inputs or inputs + 1)."""
        weight: Tensor = reader.weight
        if reader.bias is not None:
            weight = torch.cat([weight, reader.bias[:, None]], dim=1)
        return weight.view(-1, self.count, self.size, weight.shape[1])


@torch.no_grad()
def by_magnitude(units: Units) -> Tensor:
    """The norm of what leads into each unit times the norm of what leads out of it.

    A unit that adds nothing whatever comes in scores 0. Queries and keys do not count: they only say where values come from.

    Returns:
        (count,) float32.
    """
    stretches = torch.cat([units.rows(reader).flatten(2).norm(dim=2) for reader in units.readers])
    inward = stretches[-1] if units.attention else stretches.prod(dim=0)
    outward = units.writer.weight.view(-1, units.count, units.size).norm(dim=(0, 2))
    scores: Tensor = inward * outward
    return scores


def by_gradient(parts: Sequence[Units], loss: Callable[[Batch], Tensor], batches: Iterable[Batch]) -> list[Tensor]:
    """How much the loss changes when a unit is faded out, to first order.

    Each unit's output is multiplied by a gate that is 1; the score is the mean of the gradient's absolute value at that gate,
    item by item (Michel et al., arXiv:1905.10650, eq. 2; the Taylor criterion of Molchanov et al., arXiv:1906.10771, with a
    gate, sec. 3). No gradient of a parameter is touched, and frozen parameters may be scored too.

    Args:
        parts: units of one encoder.
        loss: a scalar of a batch, by way of that encoder.
        batches: what the loss takes.

    Returns:
        For each of `parts` (count,) float32.

    Raises:
        ValueError: no batches, or a loss that does not depend on the units.
    """
    scores = [torch.zeros(units.count, device=units.writer.weight.device) for units in parts]
    gates: list[tuple[int, Tensor]] = []

    def gated(place: int, said: Tensor) -> Tensor:
        units = parts[place]
        gate = torch.ones(len(said), 1, units.count, 1, device=said.device, requires_grad=True)
        gates.append((place, gate))
        return (said.reshape(len(said), -1, units.count, units.size) * gate).reshape(said.shape)

    handles = [
        units.writer.register_forward_pre_hook(lambda _, inputs, place=place: gated(place, inputs[0]))
        for place, units in enumerate(parts)
    ]
    items = [0] * len(parts)
    try:
        for batch in batches:
            gates.clear()
            with torch.enable_grad():
                value = loss(batch)
                if not gates or not value.requires_grad:
                    continue
                slopes = torch.autograd.grad(value, [gate for _, gate in gates], allow_unused=True)
            for (place, _), slope in zip(gates, slopes, strict=True):
                if slope is not None:
                    scores[place] += slope.abs().sum(dim=(0, 1, 3))
                    items[place] += len(slope)
    finally:
        for handle in handles:
            handle.remove()
    if not all(items):
        raise ValueError("expected batches and a loss that depends on the encoder, so that its parts can be scored")
    return [score / seen for score, seen in zip(scores, items, strict=True)]
