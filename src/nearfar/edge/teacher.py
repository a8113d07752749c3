"""Documents embedded by the teacher of a bundle, while an index is built where the teacher is at hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nearfar.bundle.bundle import Bundle
from nearfar.edge.encoder import Encoder
from nearfar.edge.store.writer import StoreWriter
from nearfar.embedder import Embedder, Item, Side
from nearfar.errors import BundleError, StoreError


class BySide:
    """Queries through one embedder, documents through another; both give vectors of one space."""

    def __init__(self, query: Embedder, document: Embedder) -> None:
        """Join the two.

        Raises:
            ValueError: they do not give as many components.
        """
        if query.dim != document.dim:
            raise ValueError(f"queries have {query.dim} dimensions, documents {document.dim}")
        self._towers: dict[Side, Embedder] = {"query": query, "document": document}

    @property
    def dim(self) -> int:
        """Components of an embedding."""
        return self._towers["query"].dim

    def embed(self, items: Sequence[Item], side: Side = "document") -> npt.NDArray[np.float32]:
        """Embed items by what is there for their side: float32 (n, dim)."""
        return self._towers[side].embed(items, side)


def check_teacher(bundle: Bundle, teacher: Embedder, dim: int) -> None:
    """Refuse to index with vectors that the bundle's queries would not find.

    Raises:
        BundleError: the bundle was not trained for this teacher, or only so many components are to be kept.
    """
    wanted = bundle.manifest.teacher
    if wanted is None:
        raise BundleError(
            f"{bundle.path}: was not trained for documents that a teacher embeds: leave the teacher out, or train with "
            "recipes/query-encoder.yaml"
        )
    if isinstance(teacher, Encoder) and teacher.bundle.digest != wanted.digest:
        raise BundleError(
            f"{bundle.path}: was trained for the vectors of {wanted.name} ({wanted.digest[:16]}), not for those of "
            f"{teacher.bundle.path} ({teacher.bundle.digest[:16]}): give that teacher: the bundle that the recipe names, or "
            "teacher/ in the run where it was imported"
        )
    if teacher.dim != dim:
        raise BundleError(f"{bundle.path}: the teacher gives {teacher.dim} dimensions, so the index cannot keep {dim}")


def remember_teacher(writer: StoreWriter, bundle: Bundle) -> None:
    """Note in a new index that a teacher embeds its documents; refuse one whose documents the bundle itself has embedded.

    Raises:
        StoreError: such an index.
    """
    assert bundle.manifest.teacher is not None
    if writer.teacher is not None:
        return
    if writer.count():
        raise StoreError(
            f"{writer.directory}: its documents were embedded by the bundle, not by the teacher: build it anew (--rebuild), "
            "or leave the teacher out"
        )
    writer.set_teacher(bundle.manifest.teacher.digest)
