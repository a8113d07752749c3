"""What a server must be able to do to hold an index, and what is written there about the index as a whole."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from nearfar.connect.address import Address, QdrantAddress
from nearfar.connect.outgoing import Outgoing
from nearfar.edge.search import Mode
from nearfar.edge.where import Condition

Vector = npt.NDArray[np.float32]
FORMAT = 1


@dataclass(frozen=True, slots=True)
class About:
    """What a server knows about an index that was pushed to it.

    Attributes:
        bundle: digest of the bundle that embedded the passages.
        dim: components of a vector.
        passages: how many there were when the last push ended.
        words: how many words they had.
        keys: of the metadata, ascending.
        whole: whether the last push came to its end.
        nearfar: version of this layout.
    """

    bundle: str
    dim: int
    passages: int = 0
    words: int = 0
    keys: tuple[str, ...] = ()
    whole: bool = False
    nearfar: int = FORMAT

    def dump(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    @classmethod
    def parse(cls, kept: Any) -> About | None:
        """Read what `dump` wrote; None where it is something else."""
        if not isinstance(kept, Mapping) or not {"nearfar", "bundle", "dim"} <= set(kept):
            return None
        known = {name: kept[name] for name in cls.__dataclass_fields__ if name in kept}
        return cls(**known | {"keys": tuple(known.get("keys", ()))})


@dataclass(frozen=True, slots=True)
class Question:
    """What a server is asked.

    Attributes:
        query: the words.
        vector: of the query, float32 (d,); None in mode `keyword`.
        mode: by what passages are found.
        where: what their metadata must be like.
        about: the index that is asked.
    """

    query: str
    vector: Vector | None
    mode: Mode
    where: Condition | None
    about: About


@dataclass(frozen=True, slots=True)
class Scored:
    """Candidates of a query, in no order that matters.

    Attributes:
        keys: of c passages.
        dense: inner products with the query, float32 (c,); zeros where the mode does not use them.
        bm25: BM25, float32 (c,); zeros where the mode does not use it.
        full: whether there may be more candidates than were asked for.
    """

    keys: list[uuid.UUID]
    dense: Vector
    bm25: Vector
    full: bool


@dataclass(frozen=True, slots=True)
class Found:
    """A passage as a server gives it back; `fields` as in `Outgoing`."""

    fields: Mapping[str, Any]
    vector: Vector | None


class Server(Protocol):
    """One pushed index on a server: what `push` writes to and `ServerIndex` asks."""

    modes: tuple[Mode, ...]

    def about(self) -> About | None:
        """What is there; None where nothing is.

        Raises:
            StoreError: something is there that nearfar did not make.
        """
        ...

    def lock(self) -> None:
        """Keep other pushes to the same name away until `close`, where the server can.

        Raises:
            StoreError: another push is at work there.
        """
        ...

    def create(self, about: About) -> None:
        """Make it."""
        ...

    def drop(self) -> None:
        """Delete it with all its passages."""
        ...

    def describe(self, about: About) -> None:
        """Change what is known about it."""
        ...

    def digests(self, keys: Sequence[uuid.UUID]) -> dict[uuid.UUID, bytes]:
        """The digests of those passages that are there."""
        ...

    def upsert(self, passages: Sequence[Outgoing]) -> None:
        """Store passages, in place of those with the same keys."""
        ...

    def keys(self, block: int) -> Iterator[list[uuid.UUID]]:
        """All keys that are there, in blocks."""
        ...

    def remove(self, keys: Sequence[uuid.UUID]) -> None:
        """Delete passages."""
        ...

    def settle(self, progress: Callable[[], None]) -> tuple[int, int]:
        """Make what makes searching fast, after all passages are there; gives the number of passages and of words."""
        ...

    def scored(self, question: Question, depth: int) -> Scored:
        """The best `depth` passages (of each side, in mode `hybrid`)."""
        ...

    def passages(self, keys: Sequence[uuid.UUID], *, vectors: bool) -> dict[uuid.UUID, Found]:
        """Those passages of the keys that are there."""
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...


def connect(address: Address) -> Server:
    """Reach the server of an address.

    Raises:
        StoreError: it cannot be reached, or refuses.
        MissingExtraError: the packages for it are not installed.
    """
    if isinstance(address, QdrantAddress):
        from nearfar.connect.qdrant import Qdrant

        return Qdrant.connect(address)
    from nearfar.connect.pgvector import Postgres

    return Postgres.connect(address)
