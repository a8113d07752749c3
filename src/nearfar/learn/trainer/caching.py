"""Gradient caching: the gradient of a large batch in the memory of a small one (Gao et al., arXiv:2101.06983)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

Batch = TypeVar("Batch")
Embedded = TypeVar("Embedded", bound=tuple[Tensor, ...])
"""A NamedTuple of tensors, whose first dimension goes over items."""


class RandomState(NamedTuple):
    """Where the random generators stand: that of the CPU, and that of the device where there is another."""

    cpu: Tensor
    device: Tensor | None

    @classmethod
    def now(cls, device: torch.device) -> RandomState:
        """The current state."""
        return cls(
            torch.get_rng_state(),
            None if device.type == "cpu" else torch.get_device_module(device).get_rng_state(),
        )

    @contextmanager
    def replayed(self, device: torch.device) -> Iterator[None]:
        """Draw once more what was drawn from here; afterwards the generators stand where they stood."""
        before = RandomState.now(device)
        self._set(device)
        try:
            yield
        finally:
            before._set(device)

    def _set(self, device: torch.device) -> None:
        torch.set_rng_state(self.cpu)
        if self.device is not None:
            torch.get_device_module(device).set_rng_state(self.device)


@dataclass(frozen=True)
class Cached(Generic[Batch, Embedded]):
    """A batch that was embedded chunk by chunk without keeping anything for the way back.

    Attributes:
        embedded: of the whole batch; its float fields are leaves that take up the gradient of the loss.
        embed: what embedded it.
        chunks: the parts of the batch.
        states: the random state before each chunk, so that dropout repeats.
        device: where it was done.
    """

    embedded: Embedded
    embed: Callable[[Batch], Embedded]
    chunks: Sequence[Batch]
    states: Sequence[RandomState]
    device: torch.device

    def backward(self, forward_context: Callable[[], AbstractContextManager[Any]]) -> None:
        """Carry the gradient of the loss, which the leaves have by now, on to the parameters.

        Args:
            forward_context: that in which the batch was embedded (autocast).
        """
        taken = [0] * len(self.embedded)
        for chunk, state in zip(self.chunks, self.states, strict=True):
            with forward_context(), state.replayed(self.device):
                again = self.embed(chunk)
            outputs, gradients = [], []
            for place, (whole, part) in enumerate(zip(self.embedded, again, strict=True)):
                first, taken[place] = taken[place], taken[place] + len(part)
                if part.requires_grad and whole.grad is not None:
                    outputs.append(part)
                    gradients.append(whole.grad[first : taken[place]])
            if outputs:
                torch.autograd.backward(outputs, gradients)


@torch.no_grad()
def embed_by_chunks(
    embed: Callable[[Batch], Embedded], chunks: Sequence[Batch], device: torch.device
) -> Cached[Batch, Embedded]:
    """Embed the parts of a batch one after the other, and join them.

    Args:
        embed: a chunk to a NamedTuple of tensors with one row for each item. What it makes of an item must not depend on
            the other items of its chunk.
        chunks: at least one.
        device: where it is done.

    Returns:
        The embedded batch, and the way back: first `loss(cached.embedded).backward()`, then `cached.backward()`.
    """
    states, parts = [], []
    for chunk in chunks:
        states.append(RandomState.now(device))
        parts.append(embed(chunk))
    joined = [torch.cat(field) for field in zip(*parts, strict=True)]
    leaves = [field.requires_grad_(field.is_floating_point()) for field in joined]
    return Cached(type(parts[0])(*leaves), embed, chunks, states, device)


def batch_statistics(module: nn.Module) -> str | None:
    """The name of a layer whose output depends on what else goes through it, as `blocks.0.norm (BatchNorm1d)`; None if none does.

    A BatchNorm layer in eval mode with running statistics is no such layer.
    """
    for name, layer in module.named_modules():
        if isinstance(layer, _BatchNorm) and (layer.training or layer.running_mean is None):
            return f"{name} ({type(layer).__name__})"
    return None
