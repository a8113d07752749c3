"""What CLIP and SigLIP share: two kinds of things, each with its tower, in one space."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from nearfar.learn.losses import Match, Negatives


class TwoSides(NamedTuple):
    """n pictures, each with its text.

    Attributes:
        images: whatever the image tower takes.
        texts: whatever the text tower takes.
        image_ids: (n,) int64, equal for equal pictures, -1 for none: pairs that share one are no negatives of each other.
        text_ids: (n,) int64, likewise for texts; two pictures of one caption both fit it.
    """

    images: Any
    texts: Any
    image_ids: Tensor
    text_ids: Tensor


class Embedded(NamedTuple):
    """n pictures and n texts in one space.

    Attributes:
        images: (n, d).
        texts: (n, d), row i belongs to row i of the images.
        image_ids: (n,).
        text_ids: (n,).
    """

    images: Tensor
    texts: Tensor
    image_ids: Tensor
    text_ids: Tensor

    @property
    def ignored(self) -> tuple[Match, Match]:
        """The pairs of an image and a text that are no negatives, though not given as positive."""
        return Match(self.image_ids, self.image_ids), Match(self.text_ids, self.text_ids)


class TwoTowers(nn.Module, ABC):
    """An image tower and a text tower, each with a linear map into one space.

    Args:
        image_tower: gives (n, image_dim).
        text_tower: gives (n, text_dim).
        image_dim: components of what the image tower gives.
        text_dim: components of what the text tower gives.
        projection: components of the common space.
    """

    def __init__(
        self, image_tower: nn.Module, text_tower: nn.Module, *, image_dim: int, text_dim: int, projection: int
    ) -> None:
        super().__init__()
        self.image_tower, self.text_tower = image_tower, text_tower
        self.image_projection = nn.Linear(image_dim, projection, bias=False)
        self.text_projection = nn.Linear(text_dim, projection, bias=False)

    def embed(self, batch: TwoSides) -> Embedded:
        """Step one: each side through its tower and into the common space."""
        return Embedded(
            self.image_projection(self.image_tower(batch.images)),
            self.text_projection(self.text_tower(batch.texts)),
            batch.image_ids,
            batch.text_ids,
        )

    @abstractmethod
    def loss(self, embedded: Embedded, further: Sequence[Negatives] = ()) -> Tensor:
        """Step two: the loss, a scalar, of the whole batch."""

    def remember(self, embedded: Embedded) -> None:
        """Nothing."""

    @abstractmethod
    def follow(self, step: int, total_steps: int) -> None:
        """Bring a learned temperature back into its bounds; before `embed`, at every step but the first."""
