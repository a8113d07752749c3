"""Making an index, and bringing one up to date: embed what is new, drop what is gone, keep the rest."""

from __future__ import annotations

import hashlib
import itertools
import math
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from nearfar.bundle.bundle import Bundle
from nearfar.edge.graph import renew_graph
from nearfar.edge.store.failures import explained
from nearfar.edge.store.schema import BUNDLE_FOLDER, GRAPH_PATTERN, LOCK_FILE, STORE_FILE, store_path
from nearfar.edge.store.writer import StoreWriter, writer_lock
from nearfar.embedder import Embedder
from nearfar.errors import BundleError, DataError, StoreError
from nearfar.sources.document import Document

BATCH = 512
"""Documents embedded and stored in one transaction: what a killed run has to do again."""
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
        graph: whether the graph over the vectors was built again.
    """

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    skipped: int = 0
    examples: list[str] = field(default_factory=list)
    graph: bool = False

    def skip(self, document: Document, reason: str) -> None:
        """Count one document that is passed over."""
        self.skipped += 1
        if len(self.examples) < _EXAMPLES:
            self.examples.append(f"{document.location or document.id}: {reason}")

    @property
    def changed(self) -> int:
        """Documents added, updated or removed."""
        return self.added + self.updated + self.removed


def build_index(
    directory: Path,
    bundle: Bundle,
    embedder: Embedder,
    documents: Iterable[Document],
    *,
    rebuild: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
) -> BuildReport:
    """Make the index in `directory`, or bring it up to date; see `SearchIndex.build` for the promises.

    Args:
        directory: of the index.
        bundle: copied into the index.
        embedder: embeds the documents; its `dim` is what the index keeps.
        documents: all documents that the index shall hold; read once, 512 at a time.
        rebuild: start from nothing.
        threads: for the graph.
        progress: told after every batch.
    """
    _prepare_folder(directory)
    with writer_lock(directory):
        if rebuild:
            _remove_store(directory)
        if not store_path(directory).exists():
            # Before the store: whoever sees a store finds the bundle beside it.
            _keep_bundle(directory, bundle)
        writer = StoreWriter(directory, bundle_digest=bundle.digest, dim=embedder.dim)
        try:
            _keep_bundle(directory, bundle)
            return _update(writer, embedder, documents, threads=threads, progress=progress)
        finally:
            writer.close()


def _update(
    writer: StoreWriter,
    embedder: Embedder,
    documents: Iterable[Document],
    *,
    threads: int | None,
    progress: Progress | None,
) -> BuildReport:
    report = BuildReport()
    done = 0
    for batch in _batches(documents):
        _store_batch(writer, embedder, batch, report)
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
    # Also when nothing changed now: the run before may have been killed just before this step.
    writer.settle_keywords()
    if progress:
        progress("graph", done)
    report.graph = renew_graph(writer, threads=threads)
    return report


def _store_batch(writer: StoreWriter, embedder: Embedder, batch: list[Document], report: BuildReport) -> None:
    known = writer.known([document.id for document in batch])
    fresh: dict[str, tuple[Document, bytes]] = {}
    replaced: list[int] = []
    moved: list[tuple[str, int]] = []
    seen: dict[str, int] = {}
    for document in batch:
        before = known.get(document.id)
        if not document.content.strip():
            report.skip(document, "it has no text")
        elif document.id in fresh or document.id in seen or (before and before.seen):
            report.skip(document, f"another document has the id {document.id!r}")
        elif before and before.digest == _digest(document):
            seen[document.id] = before.rowid
            if before.location != document.location:
                moved.append((document.location, before.rowid))
        else:
            fresh[document.id] = (document, _digest(document))
            if before:
                replaced.append(before.rowid)
    vectors = np.empty((0, embedder.dim), dtype=np.float32)
    if fresh:
        vectors = embedder.embed([document.content for document, _ in fresh.values()], side="document")
        _check_vectors(vectors, len(fresh), embedder.dim)
    writer.write(list(fresh.values()), vectors, replaced=replaced, moved=moved, seen=list(seen.values()))
    report.added += len(fresh) - len(replaced)
    report.updated += len(replaced)
    report.unchanged += len(seen)


def _batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    iterator = iter(documents)
    while batch := [_clean(document) for document in itertools.islice(iterator, BATCH)]:
        yield batch


def _clean(document: Document) -> Document:
    """Replace lone surrogates, which a JSON file may hold and no database takes."""
    parts = {name: getattr(document, name) for name in ("id", "title", "text", "location")}
    broken = {name: text.encode("utf-8", "replace").decode() for name, text in parts.items() if not _is_unicode(text)}
    return replace(document, **broken) if broken else document


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _digest(document: Document) -> bytes:
    """Of what is embedded and searched; where the document lies is not part of it."""
    title = document.title.encode()
    return hashlib.sha256(len(title).to_bytes(8, "big") + title + document.text.encode()).digest()[:16]


def _check_vectors(vectors: np.ndarray[tuple[int, ...], np.dtype[np.float32]], count: int, dim: int) -> None:
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
    if names and not names & {STORE_FILE, LOCK_FILE}:
        raise StoreError(
            f"{directory}: the folder is not empty and is not a search index (it holds {min(names)}); "
            "choose a new or an empty folder"
        )


def _remove_store(directory: Path) -> None:
    """Delete everything but the lock and the bundle, which may be the very one to build with."""
    with explained(directory):
        # The store first: from then on the folder holds no index, whenever this is interrupted. SQLite discards a
        # journal that has no database.
        for name in (STORE_FILE, f"{STORE_FILE}-wal", f"{STORE_FILE}-shm"):
            (directory / name).unlink(missing_ok=True)
        for graph in directory.glob(GRAPH_PATTERN):
            graph.unlink()


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
