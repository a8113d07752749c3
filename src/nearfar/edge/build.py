"""Making an index, and bringing one up to date: embed what is new, drop what is gone, keep the rest."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from nearfar.edge.derive import renew_derived
from nearfar.edge.prepared import batches, described_alike, digest_of
from nearfar.edge.store.writer import KnownDocument, NewDocument, StoreWriter
from nearfar.embedder import Embedder
from nearfar.errors import BundleError, DataError
from nearfar.sources.cut import Cutting
from nearfar.sources.document import Document, Unchanged

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
        untaught: how many of those went through the bundle, though it has a teacher to embed documents.
        derived: kinds of the derived files that were made again.
    """

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    skipped: int = 0
    examples: list[str] = field(default_factory=list)
    passages: int = 0
    untaught: int = 0
    derived: list[str] = field(default_factory=list)

    def skip(self, document: Document, reason: str) -> None:
        """Count one document that is passed over."""
        self.skipped += 1
        if len(self.examples) < _EXAMPLES:
            self.examples.append(f"{document.location or document.id}: {reason}")


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
        cutting: how documents are cut that nobody has cut yet; remembered. By default as it was the last time.
        threads: of building a graph; all processors by default.
        progress: told after every batch.

    Raises:
        StoreError: the index could not be written; what was stored before is kept.
        DataError: there is no document that could be indexed.
    """
    report = BuildReport()
    done = 0
    if cutting is not None:
        writer.set_cutting(cutting)
    for batch in batches(documents, cutting or writer.cutting):
        store_batch(writer, embedder, batch, report)
        done += len(batch)
        if progress:
            progress("documents", done)
    if done == report.skipped:
        raise DataError(
            f"{writer.directory}: there is nothing to index: the source gave "
            + (f"{done} documents, none of which can be used ({report.examples[0]})" if done else "no document")
            + "; what the index holds is unchanged"
        )
    report.removed = writer.remove_unseen()
    if progress:
        progress("graph", done)
    settle(writer, report, threads=threads)
    return report


def begun(documents: Iterable[Document | Unchanged]) -> Iterator[Document | Unchanged]:
    """The same documents, the first of which has been read."""
    rest = iter(documents)
    first = list(itertools.islice(rest, 1))
    return itertools.chain(first, rest)


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
        digest = digest_of(document)
        if not document.content.strip() or not document.passages:
            report.skip(document, "it has no text")
        elif repeated and not replace_seen:
            report.skip(document, f"another document has the id {document.id!r}")
        elif before and before.digest == digest:
            fresh.pop(document.id, None)
            seen[document.id] = before.doc
            changed.pop(before.doc, None)
            if not described_alike(before, document):
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


def _check_vectors(vectors: npt.NDArray[np.float32], count: int, dim: int) -> None:
    if vectors.shape != (count, dim) or not math.isfinite(float(np.abs(vectors).sum())):
        raise BundleError(
            f"the encoder gave an array {vectors.shape} for {count} documents of {dim} dimensions, or numbers that are "
            "not finite; export the bundle again"
        )
