"""Qdrant: one collection of passages with their vectors, and everything else in the payload."""

from __future__ import annotations

import json
import os
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from nearfar.connect.address import QdrantAddress
from nearfar.connect.outgoing import Outgoing
from nearfar.connect.server import About, Found, Question, Scored
from nearfar.edge.search import Mode
from nearfar.errors import MissingExtraError, NearfarError, StoreError

if TYPE_CHECKING:
    from qdrant_client import QdrantClient
    from qdrant_client.models import PointStruct

_EXACT = 20_000
"""Passages that a condition may leave for all their vectors to be compared; where it leaves more, the graph is walked."""
_REQUEST = 8_000_000
"""Bytes of a request, about; a server takes 32 MB where it is not told otherwise."""
_NUMBER = 22
"""Bytes of a component in JSON, at most."""
_LOCAL = ("http://localhost", "http://127.", "http://[::1]")


class Qdrant:
    """One collection on one server; see `Server`.

    It holds embeddings only, so keywords are not searched there. Pushes to one collection must not run side by side:
    Qdrant has no locks.
    """

    modes: tuple[Mode, ...] = ("dense",)

    def __init__(self, client: QdrantClient, collection: str, name: str) -> None:
        """Use a client; users call `connect`.

        Args:
            client: any of Qdrant's.
            collection: which one.
            name: of the place, in messages.
        """
        self._client = client
        self._collection = collection
        self._name = name

    @classmethod
    def connect(cls, address: QdrantAddress) -> Qdrant:
        """Reach the server, with the key in QDRANT_API_KEY where there is one.

        Raises:
            StoreError: it cannot be reached, or the key would go over the network in the clear.
            MissingExtraError: qdrant-client is not installed.
        """
        try:
            from qdrant_client import QdrantClient
        except ImportError as error:
            raise MissingExtraError("qdrant", "an index on Qdrant") from error
        key = os.environ.get("QDRANT_API_KEY") or None
        if key and address.url.startswith("http://") and not address.url.startswith(_LOCAL):
            raise StoreError(
                f"{address}: the key in QDRANT_API_KEY would be sent unencrypted; write qdrant+https://, or unset the key"
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a key that goes to this machine itself
            client = QdrantClient(url=address.url, api_key=key, timeout=60, check_compatibility=False)
        return cls(client, address.collection, str(address))

    def about(self) -> About | None:
        """See `Server`."""
        with self._explained():
            if not self._client.collection_exists(self._collection):
                return None
            about = About.parse(self._client.get_collection(self._collection).config.metadata)
        if about is None:
            raise StoreError(
                f"{self._name}: the collection is there and nearfar did not make it, or the server is older than Qdrant 1.16 "
                "and keeps no metadata of a collection; choose another name, or upgrade the server"
            )
        return about

    def lock(self) -> None:
        """See `Server`; Qdrant has nothing for it."""

    def create(self, about: About) -> None:
        """See `Server`."""
        from qdrant_client import models

        # Not COSINE, which would make vectors unit length that the bundle leaves as they are.
        vectors = models.VectorParams(size=about.dim, distance=models.Distance.DOT)
        with self._explained():
            self._client.create_collection(self._collection, vectors_config=vectors, metadata=about.dump())
            kept = self.about()
        if kept is None:
            raise StoreError(f"{self._name}: the collection was made and has gone again; run the same command again")

    def drop(self) -> None:
        """See `Server`."""
        with self._explained():
            self._client.delete_collection(self._collection)

    def describe(self, about: About) -> None:
        """See `Server`."""
        with self._explained():
            self._client.update_collection(self._collection, metadata=about.dump())

    def digests(self, keys: Sequence[uuid.UUID]) -> dict[uuid.UUID, bytes]:
        """See `Server`."""
        with self._explained():
            found = self._client.retrieve(self._collection, _names(keys), with_payload=["digest"])
        return {_key(point.id): bytes.fromhex((point.payload or {}).get("digest", "")) for point in found}

    def upsert(self, passages: Sequence[Outgoing]) -> None:
        """See `Server`."""
        from qdrant_client import models

        points = [
            models.PointStruct(
                id=str(passage.key),
                vector=passage.vector.tolist(),
                payload={**passage.fields, "digest": passage.digest.hex()},
            )
            for passage in passages
        ]
        with self._explained():
            for some in _requests(points, passages):
                self._client.upsert(self._collection, some, wait=True)

    def keys(self, block: int) -> Iterator[list[uuid.UUID]]:
        """See `Server`."""
        last: Any = None
        while True:
            with self._explained():
                found, last = self._client.scroll(
                    self._collection, limit=block, offset=last, with_payload=False, with_vectors=False
                )
            yield [_key(point.id) for point in found]
            if last is None:
                return

    def remove(self, keys: Sequence[uuid.UUID]) -> None:
        """See `Server`."""
        from qdrant_client import models

        with self._explained():
            self._client.delete(self._collection, models.PointIdsList(points=_names(keys)), wait=True)

    def settle(self, progress: Callable[[], None]) -> tuple[int, int]:
        """See `Server`; Qdrant builds its graph on its own, and no words are kept."""
        progress()
        with self._explained():
            return self._client.count(self._collection, exact=True).count, 0

    def scored(self, question: Question, depth: int) -> Scored:
        """See `Server`."""
        from qdrant_client import models

        from nearfar.connect.qdrant_where import where_filter

        assert question.vector is not None  # the only mode there is
        narrowed = where_filter(question.where) if question.where else None
        with self._explained():
            exact = False
            if narrowed is not None:
                exact = self._client.count(self._collection, count_filter=narrowed, exact=True).count <= _EXACT
            found = self._client.query_points(
                self._collection,
                query=question.vector.tolist(),
                query_filter=narrowed,
                limit=depth,
                with_payload=False,
                search_params=models.SearchParams(exact=exact, hnsw_ef=max(128, 2 * depth)),
            ).points
        scores = np.array([point.score for point in found], dtype=np.float32)
        return Scored([_key(point.id) for point in found], scores, np.zeros_like(scores), len(found) >= depth)

    def passages(self, keys: Sequence[uuid.UUID], *, vectors: bool) -> dict[uuid.UUID, Found]:
        """See `Server`."""
        with self._explained():
            found = self._client.retrieve(self._collection, _names(keys), with_payload=True, with_vectors=vectors)
        return {
            _key(point.id): Found(point.payload or {}, np.array(point.vector, dtype=np.float32) if vectors else None)
            for point in found
        }

    def close(self) -> None:
        """See `Server`."""
        self._client.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn the client's errors into one for the user."""
        from qdrant_client.http.exceptions import ApiException, ResponseHandlingException

        try:
            yield
        except NearfarError:
            raise
        except ResponseHandlingException as error:
            raise StoreError(
                f"{self._name}: the server does not answer ({_said(error)}); check host and port, and run the same command again"
            ) from error
        except ApiException as error:
            raise StoreError(
                f"{self._name}: the server refuses ({_said(error)}); where it wants a key, set QDRANT_API_KEY"
            ) from error
        except ValueError as error:
            raise StoreError(f"{self._name}: the server refuses ({_said(error)})") from error


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _requests(points: Sequence[PointStruct], passages: Sequence[Outgoing]) -> Iterator[list[PointStruct]]:
    """Cut points into requests that the server takes."""
    request: list[PointStruct] = []
    size = 0
    for point, passage in zip(points, passages, strict=True):
        length = _NUMBER * len(passage.vector) + len(json.dumps(passage.fields))
        if request and size + length > _REQUEST:
            yield request
            request, size = [], 0
        request.append(point)
        size += length
    yield request


def _names(keys: Sequence[uuid.UUID]) -> list[Any]:
    return [str(key) for key in keys]


def _key(name: object) -> uuid.UUID:
    return uuid.UUID(str(name))
