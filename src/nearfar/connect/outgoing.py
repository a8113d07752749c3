"""What goes to a server: passages with their vectors, under keys that stay the same from push to push."""

from __future__ import annotations

import hashlib
import json
import math
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from nearfar.edge.where.condition import plain_value, values_of
from nearfar.errors import DataError
from nearfar.sources.document import Metadata, Scalar

if TYPE_CHECKING:
    from nearfar.edge.store.codes import Codes
    from nearfar.edge.store.reader import StoredPassage

_NAMESPACE = uuid.UUID("8d5e37a6-5b0d-5f0e-9a3c-0b5f8c1d9e42")
# Part of every digest: a later nearfar that sends something else sends every passage again.
_FORMAT = 1


class Passages(Protocol):
    """What a push reads from an index; `StoreReader` is one."""

    dim: int
    bundle_digest: str

    def passages_after(self, row: int, limit: int) -> Sequence[StoredPassage]:
        """The next passages after a row, in order of their rows."""
        ...

    def codes_of(self, rows: Sequence[int]) -> Codes:
        """The vectors of those rows."""
        ...


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One passage as a server keeps it.

    Attributes:
        key: made of the document's id and the passage's number.
        digest: of everything else; a passage whose digest the server has is not sent.
        fields: `id, number, title, heading, text, location, page, begin, end, metadata`.
        vector: float32 (d,).
    """

    key: uuid.UUID
    digest: bytes
    fields: Mapping[str, Any]
    vector: npt.NDArray[np.float32]


def outgoing(passages: Passages, block: int) -> Iterator[list[Outgoing]]:
    """All passages of an index, in blocks.

    Args:
        passages: an index, inside one snapshot of it.
        block: how many at a time.

    Raises:
        DataError: metadata that no server can hold.
    """
    row = 0
    while stored := passages.passages_after(row, block):
        row = stored[-1].row
        codes = passages.codes_of([passage.row for passage in stored])
        vectors = dict(zip(codes.rows.tolist(), codes.vectors(), strict=True))
        yield [_outgoing(passage, vectors[passage.row]) for passage in stored]


def passage_key(document: str, number: int) -> uuid.UUID:
    """The key of a passage: the same wherever and whenever it is pushed."""
    return uuid.uuid5(_NAMESPACE, f"{number} {document}")


def json_metadata(metadata: Metadata, document: str) -> dict[str, Any]:
    """Metadata as JSON holds it, with the values that the index compares.

    Raises:
        DataError: an infinite number, which JSON cannot say.
    """
    plain = {}
    for key, given in metadata.items():
        values = [_json_value(value, key, document) for value in values_of(metadata, key)]
        if values:
            plain[str(plain_value(key))] = values if isinstance(given, tuple) else values[0]
    return plain


def metadata_of(stored: Mapping[str, Any]) -> dict[str, Scalar | tuple[Scalar, ...]]:
    """Undo `json_metadata`."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in stored.items()}


def _outgoing(passage: StoredPassage, vector: npt.NDArray[np.float32]) -> Outgoing:
    fields = {
        "id": passage.id,
        "number": passage.number,
        "title": passage.title,
        "heading": passage.heading,
        "text": passage.text,
        "location": passage.location,
        "page": passage.page,
        "begin": passage.begin,
        "end": passage.end,
    }
    # PostgreSQL has no NUL in its texts.
    fields = {name: value.replace("\0", " ") if isinstance(value, str) else value for name, value in fields.items()}
    fields["metadata"] = json_metadata(passage.metadata, passage.id)
    digest = hashlib.sha256(json.dumps([_FORMAT, fields], sort_keys=True).encode() + b"\0" + vector.tobytes())
    return Outgoing(passage_key(passage.id, passage.number), digest.digest()[:16], fields, vector)


def _json_value(value: Scalar, key: str, document: str) -> Scalar:
    if not isinstance(value, float):
        return value
    if math.isinf(value):
        raise DataError(
            f"document {document}: {key} is infinite, which no server can hold; give it a number or leave it out"
        )
    # Whole numbers keep all their digits as an int; a float of many digits is written shortened.
    return int(value) if value.is_integer() else value
