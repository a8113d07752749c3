"""Making an index, and bringing one up to date: embed what is new, drop what is gone, keep the rest."""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nearfar.bundle.bundle import Bundle
from nearfar.edge.derive import renew_derived
from nearfar.edge.keys import Ask, Key, ask_at_terminal, create_key, key_if_any
from nearfar.edge.store.failures import explained
from nearfar.edge.store.reader import StoreReader
from nearfar.edge.store.schema import (
    BUNDLE_FOLDER,
    DERIVED_PATTERN,
    KEY_FILE,
    LOCK_FILE,
    STORE_FILE,
    store_path,
)
from nearfar.edge.store.writer import KnownDocument, NewDocument, StoreWriter, metadata_text, writer_lock
from nearfar.edge.where.condition import values_of
from nearfar.embedder import Embedder
from nearfar.errors import BundleError, DataError, StoreError
from nearfar.sources.cut import Cutting, cut
from nearfar.sources.document import Document, Metadata, Passage, Scalar, Unchanged

BATCH = 512
"""Passages embedded and stored in one transaction, and more where one document has more: what a killed run has to do again."""
_EMBEDDED_AT_ONCE = 2048
_EXAMPLES = 5

Progress = Callable[[str, int], None]
"""Called with a stage (`documents`, `graph`) and how many documents are done."""


@dataclass(slots=True)
class BuildReport:
    """What building did.

    Attributes:
        added: documents that were not there before.
        updated: documents whose text had changed.
        unchanged: documents that were there already; they were not embedded again.
        removed: documents that the source no longer has.
        skipped: documents that cannot be indexed.
        examples: the first few of those, with the reason.
        passages: that were embedded.
        derived: kinds of the derived files that were made again.
    """

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    skipped: int = 0
    examples: list[str] = field(default_factory=list)
    passages: int = 0
    derived: list[str] = field(default_factory=list)

    def skip(self, document: Document, reason: str) -> None:
        """Count one document that is passed over."""
        self.skipped += 1
        if len(self.examples) < _EXAMPLES:
            self.examples.append(f"{document.location or document.id}: {reason}")


@contextmanager
def opened_writer(
    directory: Path,
    bundle: Bundle,
    dim: int,
    *,
    rebuild: bool = False,
    encrypt: str | None = None,
    ask: Ask | Key | None = None,
    synced: bool = False,
) -> Iterator[StoreWriter]:
    """Be the writer of the index in `directory`, made where there is none.

    Args:
        directory: of the index; new, empty, or an index.
        bundle: what embeds; a copy is kept in the index.
        dim: components that the index keeps.
        rebuild: throw away the index that is there.
        encrypt: of a new index, where its key is kept, as `keys.create_key` takes it.
        ask: gives a passphrase.
        synced: each batch survives a power cut once it is stored; else the last ones may have to be made again.

    Raises:
        StoreError: another process writes it, or it belongs to another bundle, or it cannot be written.
    """
    _prepare_folder(directory)
    with writer_lock(directory):
        if rebuild:
            _remove_store(directory)
        new = not store_path(directory).exists()
        key = _key(directory, encrypt, ask, new=new)
        if new:
            # Before the store: whoever sees a store finds the bundle beside it.
            _keep_bundle(directory, bundle)
        writer = StoreWriter(directory, bundle_digest=bundle.digest, dim=dim, key=key, synced=synced)
        try:
            _keep_bundle(directory, bundle)
            yield writer
        finally:
            writer.close()


def build_index(
    writer: StoreWriter,
    embedder: Embedder,
    documents: Iterable[Document | Unchanged],
    *,
    cutting: Cutting | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> BuildReport:
    """Make the index hold exactly `documents`; see `SearchIndex.build`.

    Args:
        writer: of the index.
        embedder: gives the vectors, `writer.dim` components each.
        documents: all that the index shall hold, read once.
        cutting: how documents are cut that nobody has cut yet.
        threads: of building a graph; all processors by default.
        progress: told after every batch.

    Raises:
        StoreError: the index could not be written; what was stored before is kept.
        DataError: there is no document that could be indexed.
    """
    report = BuildReport()
    done = 0
    for batch in batches(documents, cutting or Cutting()):
        store_batch(writer, embedder, batch, report)
        done += len(batch)
        if progress:
            progress("documents", done)
    if done == report.skipped:
        raise DataError(
            f"{writer.directory}: there is nothing to index: the source gave "
            + (f"{done} documents, none of which can be used ({report.examples[0]})" if done else "no document")
            + "; what the index held before is unchanged"
        )
    report.removed = writer.remove_unseen()
    if progress:
        progress("graph", done)
    settle(writer, report, threads=threads)
    return report


def settle(writer: StoreWriter, report: BuildReport, *, threads: int | None = None) -> None:
    """Bring the keyword index and the derived files up to date.

    Also when nothing changed now: the run before may have been killed just before this step.
    """
    writer.settle_keywords()
    report.derived = list(renew_derived(writer, threads=threads))


def store_batch(
    writer: StoreWriter,
    embedder: Embedder,
    batch: list[Document | Unchanged],
    report: BuildReport,
    *,
    replace_seen: bool = False,
) -> None:
    """Store some documents in one transaction.

    Args:
        writer: of the index.
        embedder: gives the vectors.
        batch: documents that are cut, with different ids or not.
        report: is told what was done.
        replace_seen: a document with the id of an earlier one takes its place; otherwise it is skipped.
    """
    known = writer.known([document.id for document in batch])
    fresh: dict[str, tuple[Document, bytes, KnownDocument | None]] = {}
    changed: dict[int, Document] = {}
    seen: dict[str, int] = {}
    for document in batch:
        before = known.get(document.id)
        repeated = document.id in fresh or document.id in seen or bool(before and before.seen)
        if isinstance(document, Unchanged):
            if before is not None and not repeated:
                seen[document.id] = before.doc
            continue
        digest = _digest(document)
        if not document.content.strip() or not document.passages:
            report.skip(document, "it has no text")
        elif repeated and not replace_seen:
            report.skip(document, f"another document has the id {document.id!r}")
        elif before and before.digest == digest:
            fresh.pop(document.id, None)
            seen[document.id] = before.doc
            changed.pop(before.doc, None)
            if not _described_alike(before, document):
                changed[before.doc] = document
        else:
            if (replaced := seen.pop(document.id, None)) is not None:
                changed.pop(replaced, None)
            fresh[document.id] = (document, digest, before)
    new = _embedded(writer, embedder, list(fresh.values()), report)
    replaced_docs = [before.doc for _, _, before in fresh.values() if before]
    writer.write(new, replaced=replaced_docs, changed=list(changed.items()), seen=list(seen.values()))
    report.added += len(fresh) - len(replaced_docs)
    report.updated += len(replaced_docs)
    report.unchanged += len(seen)


def _embedded(
    writer: StoreWriter,
    embedder: Embedder,
    fresh: list[tuple[Document, bytes, KnownDocument | None]],
    report: BuildReport,
) -> list[NewDocument]:
    """With the vectors of their passages; those that the former document had too are taken from it."""
    places: list[tuple[int, int]] = []
    contents: list[str] = []
    vectors = [np.empty((len(document.passages), embedder.dim), dtype=np.float32) for document, _, _ in fresh]
    for number, (document, _, before) in enumerate(fresh):
        former = writer.vectors_of(before.doc) if before else {}
        for place, passage in enumerate(document.passages):
            heading, text = passage.heading or document.title, document.text[passage.begin : passage.end]
            vector = former.get((heading, text))
            if vector is not None:
                vectors[number][place] = vector
            else:
                places.append((number, place))
                contents.append(f"{heading}\n{text}" if heading else text)
    for start in range(0, len(contents), _EMBEDDED_AT_ONCE):
        part = contents[start : start + _EMBEDDED_AT_ONCE]
        found = embedder.embed(part, side="document")
        _check_vectors(found, len(part), embedder.dim)
        for (number, place), vector in zip(places[start : start + _EMBEDDED_AT_ONCE], found, strict=True):
            vectors[number][place] = vector
    report.passages += len(contents)
    return [NewDocument(document, digest, rows) for (document, digest, _), rows in zip(fresh, vectors, strict=True)]


def batches(documents: Iterable[Document | Unchanged], cutting: Cutting) -> Iterator[list[Document | Unchanged]]:
    """Documents as the store takes them, cut, in batches of about `BATCH` passages."""
    batch: list[Document | Unchanged] = []
    size = 0
    for document in documents:
        batch.append(prepared(document, cutting))
        size += 1 if isinstance(document, Unchanged) else max(1, len(document.passages))
        if size >= BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def prepared(document: Document | Unchanged, cutting: Cutting) -> Document | Unchanged:
    """A document as the store takes it: cut, with an id, and without what no database takes."""
    if isinstance(document, Unchanged):
        return Unchanged(_storable(document.id))
    parts = {name: getattr(document, name) for name in ("id", "title", "text", "location", "stamp")}
    sound = {name: _storable(text) for name, text in parts.items()}
    passages = tuple(_storable_passage(passage) for passage in document.passages)
    if sound != parts or passages != document.passages:
        # What takes the place of a character is as long as it was, so passages stay where they are.
        document = replace(document, passages=passages, **sound)  # type: ignore[arg-type]
    if document.metadata:
        document = replace(document, metadata=_plain(document))
    if not document.passages:
        document = cut(document, cutting)
        if not document.passages and document.title.strip():
            document = replace(document, passages=(Passage(0, 0),))  # found by its title
    if not document.id:
        document = replace(document, id=content_id(document))
    return document


def content_id(document: Document) -> str:
    """The id of a document that has none of its own: the digest of its title and text."""
    return f"sha256:{hashlib.sha256(document.content.encode()).hexdigest()}"


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
        several = given if isinstance(given, tuple | list) else (given,)
        if not all(isinstance(value, str | int | float) for value in several):
            raise DataError(
                f"{document.id}: the metadata {key!r} is {given!r}; give texts, numbers, true or false, or a tuple of them"
            )
        if values := values_of(document.metadata, key):
            metadata[_storable(key)] = values if isinstance(given, tuple | list) else values[0]
    return metadata


def _described_alike(before: KnownDocument, document: Document) -> bool:
    return (before.location, before.stamp, before.metadata) == (
        document.location,
        document.stamp,
        metadata_text(document.metadata),
    )


def _digest(document: Document) -> bytes:
    """Of what is embedded and searched, and how it is cut; where the document lies is not part of it."""
    digest = hashlib.sha256()
    for text in (document.title, document.text):
        encoded = text.encode()
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    for passage in document.passages:
        digest.update(f"{passage.begin} {passage.end} {passage.page} {passage.heading}\n".encode())
    return digest.digest()[:16]


def stored_dim(directory: Path, key: Key | None = None) -> int:
    """Components of the vectors of the index in `directory`."""
    reader = StoreReader(directory, key=key)
    reader.close()
    return reader.dim


@contextmanager
def known_stamps(
    directory: Path, *, rebuild: bool = False, ask: Ask | Key | None = None
) -> Iterator[Callable[[str, str], bool] | None]:
    """What a source may ask whether the index in `directory` knows a document with this stamp; None without an index."""
    if rebuild or not store_path(directory).exists():
        yield None
        return
    reader = StoreReader(directory, key=key_if_any(directory, ask=ask))
    try:
        yield lambda id, stamp: bool(stamp) and reader.stamp_of(id) == stamp
    finally:
        reader.close()


def _key(directory: Path, encrypt: str | None, ask: Ask | Key | None, *, new: bool) -> Key | None:
    """The key of an encrypted index, made where a new one shall be encrypted."""
    if new and encrypt is not None:
        # Also where an older key is known to nobody any more: with the store it went for good.
        (directory / KEY_FILE).unlink(missing_ok=True)
    key = key_if_any(directory, ask=ask)
    if key is not None or encrypt is None:
        return key
    if not new:
        raise StoreError(
            f"{directory}: the index is not encrypted, and cannot become so in place; use another folder (-o), or "
            "--rebuild to replace it"
        )
    return create_key(directory, encrypt, ask=ask if ask is not None and not isinstance(ask, Key) else ask_at_terminal)


def _check_vectors(vectors: npt.NDArray[np.float32], count: int, dim: int) -> None:
    if vectors.shape != (count, dim) or not math.isfinite(float(np.abs(vectors).sum())):
        raise BundleError(
            f"the encoder gave an array {vectors.shape} for {count} documents of {dim} dimensions, or numbers that are "
            "not finite; export the bundle again"
        )


def _prepare_folder(directory: Path) -> None:
    """Make the folder; refuse one that holds something else, so that nothing of the user's is mixed with an index."""
    if directory.exists() and not directory.is_dir():
        raise StoreError(f"{directory}: an index is a folder, and this is a file; choose another name")
    with explained(directory):
        directory.mkdir(parents=True, exist_ok=True)
        names = {path.name for path in directory.iterdir()}
    if names and not names & {STORE_FILE, LOCK_FILE, KEY_FILE}:
        raise StoreError(
            f"{directory}: the folder is not empty and is not a search index (it holds {min(names)}); "
            "choose a new or an empty folder"
        )


def _remove_store(directory: Path) -> None:
    """Delete everything but the lock, the key, and the bundle, which may be the very one to build with."""
    with explained(directory):
        # The store first: from then on the folder holds no index, whenever this is interrupted. SQLite discards a
        # journal that has no database.
        for name in (STORE_FILE, f"{STORE_FILE}-wal", f"{STORE_FILE}-shm"):
            (directory / name).unlink(missing_ok=True)
        for pattern in (DERIVED_PATTERN, f".{DERIVED_PATTERN}.part"):
            for file in directory.glob(pattern):
                file.unlink()


def _keep_bundle(directory: Path, bundle: Bundle) -> None:
    """Copy the bundle into the index, unless a sound copy is there."""
    target, part = directory / BUNDLE_FOLDER, directory / f".{BUNDLE_FOLDER}.part"
    try:
        if Bundle.open(target).digest == bundle.digest:
            return
    except BundleError:
        pass
    with explained(directory):
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        try:
            for file in sorted(bundle.path.iterdir()):
                shutil.copyfile(file, part / file.name)
        except OSError:
            shutil.rmtree(part, ignore_errors=True)
            raise
        if target.exists():
            shutil.rmtree(target)
        part.rename(target)
