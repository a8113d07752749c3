"""Documents as the store takes them: cut, with an id and a digest, in batches, without what no database takes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace

from nearfar.edge.items.content import item_bytes, item_digest
from nearfar.edge.store.writer import KnownDocument, metadata_text
from nearfar.edge.where.condition import values_of
from nearfar.errors import DataError
from nearfar.sources.cut import Cutting, cut
from nearfar.sources.document import MODALITY, Document, Metadata, Passage, Scalar, Unchanged

BATCH = 512
"""Passages embedded and stored in one transaction, and more where one document has more: what a killed run has to do again."""
_ONE_BYTES = 2**18
"""An item that is in memory counts as so many passages as it has such pieces."""


def batches(documents: Iterable[Document | Unchanged], cutting: Cutting) -> Iterator[list[Document | Unchanged]]:
    """Documents as the store takes them, cut, in batches of about `BATCH` passages."""
    batch: list[Document | Unchanged] = []
    size = 0
    for document in documents:
        batch.append(ready := prepared(document, cutting))
        size += (
            1 if isinstance(ready, Unchanged) else max(1, len(ready.passages)) + item_bytes(ready.item) // _ONE_BYTES
        )
        if size >= BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def prepared(document: Document | Unchanged, cutting: Cutting) -> Document | Unchanged:
    """A document as the store takes it: cut, with an id, and without what no database takes.

    Raises:
        DataError: it is no document, or has a part of another type.
    """
    if not isinstance(document, Document | Unchanged):
        raise DataError(
            f"an index takes nearfar.Document, not {type(document).__name__}: make one with an id and a text"
        )
    if isinstance(document, Unchanged):
        return Unchanged(_storable(document.id))
    parts = {name: getattr(document, name) for name in ("id", "title", "text", "location", "stamp", "modality")}
    for name, part in parts.items():
        if not isinstance(part, str):
            raise DataError(f"{document.id!r}: the {name} of a document is a text, not {type(part).__name__}")
    sound = {name: _storable(text) for name, text in parts.items()}
    passages = tuple(_storable_passage(passage) for passage in document.passages)
    if sound != parts or passages != document.passages:
        # What takes the place of a character is as long as it was, so passages stay where they are.
        document = replace(document, passages=passages, **sound)  # type: ignore[arg-type]
    if document.metadata:
        document = replace(document, metadata=_plain(document))
    if document.item is not None:
        # It has one vector; what its text says goes with it whole.
        document = replace(document, passages=(Passage(0, len(document.text)),))
    if not document.passages:
        document = cut(document, cutting)
        if not document.passages and document.title.strip():
            document = replace(document, passages=(Passage(0, 0),))  # found by its title
    if not document.id:
        document = replace(document, id=content_id(document))
    return document


def content_id(document: Document) -> str:
    """The id of a document that has none of its own: the digest of its title and text, and of its item where it has one."""
    digest = hashlib.sha256(document.content.encode())
    if document.item is not None:
        digest.update(item_digest(document.item))
    return f"sha256:{digest.hexdigest()}"


def _storable(text: str) -> str:
    """Text without lone surrogates and NUL, which a JSON file may hold; no database takes the one, and few the other."""
    text = text.replace("\0", "\ufffd")
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _storable_passage(passage: Passage) -> Passage:
    heading, location = _storable(passage.heading), _storable(passage.location)
    if (heading, location) == (passage.heading, passage.location):
        return passage
    return replace(passage, heading=heading, location=location)


def _plain(document: Document) -> Metadata:
    """Metadata as the store keeps it; a key without a value is left out."""
    metadata: dict[str, Scalar | tuple[Scalar, ...]] = {}
    for key, given in document.metadata.items():
        if not isinstance(key, str):
            raise DataError(f"{document.id}: the names of metadata are texts, and {key!r} is none")
        several = given if isinstance(given, tuple | list) else (given,)
        if not all(isinstance(value, str | int | float) for value in several):
            raise DataError(
                f"{document.id}: the metadata {key!r} is {given!r}; give texts, numbers, true or false, or a tuple of them"
            )
        if values := values_of(document.metadata, key):
            metadata[_storable(key)] = values if isinstance(given, tuple | list) else values[0]
    return metadata


def described_alike(before: KnownDocument, document: Document) -> bool:
    """Whether location, stamp and metadata of a document are those that the store has."""
    return (before.location, before.stamp, before.metadata) == (
        document.location,
        document.stamp,
        metadata_text(document.metadata),
    )


def modality_of(before: KnownDocument) -> str:
    """The tower that embedded a stored document; empty where its metadata name none."""
    return str(json.loads(before.metadata).get(MODALITY, ""))


def digest_of(document: Document) -> bytes:
    """Of what is embedded and searched, by which tower, and how it is cut; where the document lies is not part of it.

    Raises:
        DataError: its item is a file that cannot be read.
    """
    digest = hashlib.sha256()
    for text in (document.title, document.text):
        encoded = text.encode()
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    if document.modality:
        digest.update(f"tower {document.modality}\n".encode())
    if document.item is not None:
        digest.update(item_digest(document.item))
    for passage in document.passages:
        digest.update(f"{passage.begin} {passage.end} {passage.page} {passage.heading}\n".encode())
    return digest.digest()[:16]
