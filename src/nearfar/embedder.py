"""The one protocol that everything meets at: whatever turns items into vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Side = Literal["query", "document"]
"""Which tower (and prompt) an item goes through; the two sides of a symmetric encoder give the same vector."""

Item: TypeAlias = Any
"""One raw item: a string for an encoder of texts; a path, encoded bytes or an array (h, w) or (h, w, c) for one of pictures;
a path, encoded bytes, an array (t,) at the model's rate or a pair of an array and its rate for one of sound; a mapping of columns to
cells for one of rows."""


@runtime_checkable
class Embedder(Protocol):
    """Anything that embeds: a model in training, a bundle on the device, somebody else's model."""

    @property
    def dim(self) -> int:
        """Number of components of an embedding."""
        ...

    def embed(self, items: Sequence[Item], side: Side = "document") -> npt.NDArray[np.float32]:
        """Embed `items`.

        Args:
            items: the raw items, n of them; none is an empty array of shape (0, d).
            side: which tower and prompt to use.

        Returns:
            float32 array (n, d), rows of unit length where the model compares by cosine.
        """
        ...
