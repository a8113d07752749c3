"""What every method over views of pictures is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from nearfar.learn.encoders.view_encoder import ViewEncoder
from nearfar.learn.losses import Negatives
from nearfar.learn.views.batch import ViewBatch


class ImageMethod(nn.Module, ABC):
    """An encoder with the heads, the memory and the loss that an algorithm trains it with.

    A step is: `follow` (momentum encoders), `embed`, `loss`, `remember` (queues and banks), and then the optimiser's.

    Args:
        encoder: what is trained, and what ships without the heads.
    """

    def __init__(self, encoder: ViewEncoder) -> None:
        super().__init__()
        self.encoder: Any = encoder  # of pictures or of recordings: whoever looks into it knows of which

    @abstractmethod
    def embed(self, batch: ViewBatch) -> Any:
        """Step one: everything that goes through an encoder, as a NamedTuple of tensors (n, ...), n pictures.

        Its first field, `features` (n, V, dim), is what the encoder makes of the views of full size, its second what the loss
        compares of them, (n, V, d) or (n, d): health is told by these two.
        """

    @abstractmethod
    def loss(self, embedded: Any, further: Sequence[Negatives] = ()) -> Tensor:
        """Step two: the loss, a scalar, of the whole batch (of all chunks and ranks)."""

    def remember(self, embedded: Any) -> None:
        """Store what later steps compare with; after the loss, once a step."""

    def follow(self, step: int, total_steps: int) -> None:
        """Move the momentum encoder; before `embed`, at every step but the first."""
