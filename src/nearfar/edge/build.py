"""Making an index, and bringing one up to date: embed what is new, drop what is gone, keep the rest."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nearfar.edge.derive import renew_derived
from nearfar.edge.prepared import batches, described_alike, digest_of, modality_of
from nearfar.edge.store.writer import KnownDocument, NewDocument, StoreWriter
from nearfar.edge.towers import TEXTS, Towers
from nearfar.embedder import Embedder, Item
from nearfar.errors import BundleError, DataError
from nearfar.frontend.item_error import ItemError
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
    embedder: Embedder | Towers,
    documents: Iterable[Document | Unchanged],
    *,
    cutting: Cutting | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> BuildReport:
    """Make the index hold exactly `documents`; see `SearchIndex.build`.

    Args:
        writer: of the index.
        embedder: gives the vectors, `writer.dim` components each; one that is no `Towers` is of texts.
        documents: all that the index shall hold, read once.
        cutting: how documents are cut that nobody has cut yet; remembered. By default as it was the last time.
        threads: of building a graph; all processors by default.
        progress: told after every batch.

    Raises:
        StoreError: the index could not be written; what was stored before is kept.
        DataError: there is no document that could be indexed.
    """
    report = BuildReport()
    towers = embedder if isinstance(embedder, Towers) else Towers.of_texts(embedder)
    done = 0
    if cutting is not None:
        writer.set_cutting(cutting)
    for batch in batches(documents, cutting or writer.cutting):
        store_batch(writer, towers, batch, report)
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
    towers: Towers,
    batch: list[Document | Unchanged],
    report: BuildReport,
    *,
    replace_seen: bool = False,
) -> None:
    """Store some documents in one transaction.

    Args:
        writer: of the index.
        towers: give the vectors.
        batch: documents that are cut, with different ids or not.
        report: is told what was done.
        replace_seen: a document with the id of an earlier one takes its place; otherwise it is skipped.

    Raises:
        DataError: a document names a tower that is not there, or that takes no such document.
    """
    known = writer.known([document.id for document in batch])
    fresh: dict[str, _Fresh] = {}
    changed: dict[int, Document] = {}
    seen: dict[str, int] = {}
    for document in batch:
        before = known.get(document.id)
        repeated = document.id in fresh or document.id in seen or bool(before and before.seen)
        if isinstance(document, Unchanged):
            if before is not None and not repeated:
                seen[document.id] = before.doc
            continue
        document = towers.placed(document)
        try:
            digest = digest_of(document)
        except DataError as error:
            report.skip(document, str(error))
            continue
        if (document.item is None and not document.content.strip()) or not document.passages:
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
            fresh[document.id] = _Fresh(document, digest, before)
    new = _embedded(writer, towers, list(fresh.values()), report)
    replaced_docs = [before.doc for one in new if (before := fresh[one.document.id].before)]
    writer.write(new, replaced=replaced_docs, changed=list(changed.items()), seen=list(seen.values()))
    report.added += len(new) - len(replaced_docs)
    report.updated += len(replaced_docs)
    report.unchanged += len(seen)


class _Fresh(NamedTuple):
    """A document to embed: cut, its digest, and what the store has under its id."""

    document: Document
    digest: bytes
    before: KnownDocument | None


class _Asked(NamedTuple):
    """What a tower is asked to embed: an item, and the numbers of its document and passage."""

    item: Item
    document: int
    passage: int


def _embedded(writer: StoreWriter, towers: Towers, fresh: list[_Fresh], report: BuildReport) -> list[NewDocument]:
    """Documents with the vectors of their passages, without those whose item cannot be used; these are skipped.

    Vectors of passages of texts that the former document had too are taken from it.
    """
    asked: defaultdict[str, list[_Asked]] = defaultdict(list)
    vectors = [np.empty((len(one.document.passages), towers.dim), dtype=np.float32) for one in fresh]
    for number, (document, _, before) in enumerate(fresh):
        tower = document.modality if towers.tagged else TEXTS
        if document.item is not None:
            asked[tower].append(_Asked(document.item, number, 0))
            continue
        # What was a picture may have had the same title and text, and a vector that says nothing of them.
        alike = before and (not towers.tagged or modality_of(before) == document.modality)
        former = writer.vectors_of(before.doc) if before and alike else {}
        for place, passage in enumerate(document.passages):
            heading, text = passage.heading or document.title, document.text[passage.begin : passage.end]
            vector = former.get((heading, text))
            if vector is not None:
                vectors[number][place] = vector
            else:
                asked[tower].append(_Asked(f"{heading}\n{text}" if heading else text, number, place))
    refused: set[int] = set()
    for tower, wanted in asked.items():
        for start in range(0, len(wanted), _EMBEDDED_AT_ONCE):
            part = wanted[start : start + _EMBEDDED_AT_ONCE]
            found = towers.embed_each(tower, [one.item for one in part])
            _check_vectors(found, len(part), towers.dim)
            for one, made in zip(part, found, strict=True):
                if isinstance(made, DataError):
                    refused.add(one.document)
                    report.skip(fresh[one.document].document, _reason(made))
                else:
                    vectors[one.document][one.passage] = made
                    report.passages += 1
    return [
        NewDocument(one.document, one.digest, rows, _thumbnail(one.document, towers))
        for number, (one, rows) in enumerate(zip(fresh, vectors, strict=True))
        if number not in refused
    ]


def _thumbnail(document: Document, towers: Towers) -> bytes:
    if document.item is None or towers.kinds[document.modality] != "image":
        return b""
    from nearfar.edge.items.thumbnails import thumbnail

    return thumbnail(document.item)


def _reason(error: DataError) -> str:
    """Why an item cannot be used, without its name, which the place says."""
    if isinstance(error, ItemError):
        return f"{error.reason} ({error.detail})" if error.detail else error.reason
    return str(error)


def _check_vectors(found: Sequence[npt.NDArray[np.float32] | DataError], count: int, dim: int) -> None:
    vectors = [vector for vector in found if not isinstance(vector, DataError)]
    sound = len(found) == count and all(vector.shape == (dim,) for vector in vectors)
    if not sound or (vectors and not math.isfinite(float(np.abs(np.stack(vectors)).sum()))):
        raise BundleError(
            f"the encoder gave vectors for {len(found)} of {count} documents that are not all of {dim} dimensions, or numbers that are not "
            "finite; export the bundle again"
        )
