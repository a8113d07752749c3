"""Encoders that take what a tower gives one by one: values, and beside them what is there of them, or codes."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from nearfar.learn.towers.tower import Inputs


class Unpacked(nn.Module):
    """An encoder of windows or rows as an `Embeds`.

    Args:
        encoder: takes as many tensors as the items of its tower give.
    """

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder, self.dim = encoder, int(encoder.dim)

    def forward(self, inputs: Inputs) -> Tensor:
        """Embed n items; see `Embeds`."""
        vectors: Tensor = self.encoder(*inputs)
        return vectors
