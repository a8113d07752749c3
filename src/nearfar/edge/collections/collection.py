"""A source or an index as rows of vectors with what they stand for; both lie in files, so memory hardly grows with them."""

from __future__ import annotations

import hashlib
import json
import tempfile
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from nearfar.edge.collections.row_cells import row_text
from nearfar.embedder import Embedder, Item
from nearfar.errors import DataError
from nearfar.frontend.settings import TableSettings
from nearfar.index.quantise import dequantise
from nearfar.progress import Stages, silent
from nearfar.sources.document import Document, DocumentSource, ReadReport, SearchSource
from nearfar.sources.picture import Picture, PictureSource
from nearfar.sources.row_table import RowTable

if TYPE_CHECKING:
    from nearfar.edge.store.reader import StoredPassage, StoreReader

Rows: TypeAlias = npt.NDArray[np.float16] | npt.NDArray[np.float32]
"""Vectors (n, d), rows of unit length. Half precision moves a cosine by less than 0.001."""

BATCH = 512


@dataclass(frozen=True, slots=True)
class Entry:
    """What a row stands for.

    Attributes:
        id: of the document, picture or row; of a passage also its number, as `guide.md#2`.
        title: may be empty.
        location: where a person finds it; may be empty.
        text: of a text; of a row its cells, a line each; empty for a picture.
        label: what a person called it; empty where nobody did.
    """

    id: str
    title: str = ""
    location: str = ""
    text: str = ""
    label: str = ""

    @property
    def content(self) -> str:
        """Title and text as one string."""
        return _content(self.title, self.text)


@dataclass(slots=True)
class Collection:
    """Items with their vectors. Valid inside the `with` that made it.

    Attributes:
        vectors: float16 (n, d), rows of unit length, mapped from a file.
        digests: n digests of 16 bytes; equal where text (with title) or picture are equal in every byte.
        lengths: int64 (n,), characters of a text or of the cells of a row, or bytes of a picture.
        report: what was passed over.
    """

    vectors: npt.NDArray[np.float16]
    digests: list[bytes]
    lengths: npt.NDArray[np.int64]
    report: ReadReport
    _entries: IO[bytes] = field(repr=False)
    _starts: array[int] = field(repr=False)

    def __len__(self) -> int:
        return len(self.digests)

    def entry(self, row: int) -> Entry:
        """Read what a row stands for."""
        self._entries.seek(self._starts[row])
        return Entry(*json.loads(self._entries.readline()))

    def __iter__(self) -> Iterator[Entry]:
        """Read them all, in the order of the rows; as often as wanted."""
        for row in range(len(self)):
            yield self.entry(row)


@contextmanager
def collect_texts(
    source: DocumentSource | SearchSource, embedder: Embedder, *, passages: bool = False, stages: Stages = silent
) -> Iterator[Collection]:
    """Embed the texts of a source.

    Args:
        source: gives documents; their group is the label of an entry.
        embedder: embeds title and text together.
        passages: the passages of a document are rows of their own. Without it a document is one row, and its vector the
            direction of the mean of its passages', so that no part of a long one goes unseen.
        stages: told how far it is.

    Yields:
        The collection.

    Raises:
        DataError: the source holds nothing that can be used.
    """

    def items() -> Iterator[_Raw]:
        for document in source.documents():
            if not isinstance(document, Document):
                continue  # the source was not asked to leave out anything
            parts = _parts(document)
            if passages:
                for part in parts:
                    yield _Raw(part, [_content(part.title, part.text)], _encoded(part.title, part.text))
            else:
                whole = Entry(document.id, document.title, document.location, document.text, document.group)
                contents = [_content(document.title, part.text) for part in parts]
                yield _Raw(whole, contents, _encoded(document.title, document.text))

    with _collected(items(), embedder, stages) as (collection, _):
        # A reader makes its report anew when it begins.
        collection.report = source.report
        yield collection


@contextmanager
def collect_pictures(source: PictureSource, embedder: Embedder, *, stages: Stages = silent) -> Iterator[Collection]:
    """Embed the pictures of a source; one that cannot be decoded is passed over and reported.

    Args:
        source: gives pictures, perhaps with labels.
        embedder: of pictures.
        stages: told how far it is.

    Yields:
        The collection.

    Raises:
        DataError: the source holds nothing that can be used.
    """

    def items() -> Iterator[_Raw]:
        for picture in source.pictures():
            entry = Entry(picture.id, "", picture.location or picture.id, "", picture.label)
            yield _Raw(entry, [picture.content], _bytes_of(picture))

    with _collected(items(), embedder, stages) as (collection, failed):
        for location, reason in failed:
            source.report.skip(location, "not a picture that can be read", detail=reason)
        collection.report = source.report
        yield collection


@contextmanager
def collect_rows(
    source: RowTable, settings: TableSettings, embedder: Embedder, *, stages: Stages = silent
) -> Iterator[Collection]:
    """Embed the rows of a table. Those that are equal in every column that the encoder looks at are exact copies.

    Args:
        source: gives rows, perhaps with labels.
        settings: what the columns are.
        embedder: of rows.
        stages: told how far it is.

    Yields:
        The collection.

    Raises:
        DataError: the source holds nothing that can be used, or has none of the columns.
    """

    def items() -> Iterator[_Raw]:
        for row in source.rows():
            text = row_text(row.cells, settings)
            yield _Raw(Entry(row.id, "", row.location, text, row.label), [row.cells], _encoded("", text))

    with _collected(items(), embedder, stages) as (collection, failed):
        for location, reason in failed:
            source.report.skip(location, "not a row that can be used", detail=reason)
        collection.report = source.report
        yield collection


@contextmanager
def collect_index(store: StoreReader, *, passages: bool = False, stages: Stages = silent) -> Iterator[Collection]:
    """The documents of an index with the vectors that it keeps; nothing is embedded.

    Args:
        store: a reader of the index.
        passages: as in `collect_texts`.
        stages: told how far it is.

    Yields:
        The collection.

    Raises:
        DataError: the index is empty.
    """
    with _Spool() as spool:
        tick = stages("reading vectors")
        for (id, number), same in groupby(_rows(store), key=lambda row: (row[0].id, row[0].number if passages else 0)):
            first, vector = next(same)
            vectors, text, end = [vector], first.text, first.end
            for row, vector in same:  # noqa: B031 - it is one iterator, begun above
                # Neighbours may overlap.
                text += row.text[max(end - row.begin, 0) :] if row.begin <= end else f"\n{row.text}"
                end = row.end
                vectors.append(vector)
            entry = Entry(f"{id}#{number}" if number else id, first.title, first.location, text)
            spool.add(entry, _encoded(first.title, text), np.mean(vectors, axis=0))
            tick(len(vectors))
        yield spool.collection(ReadReport())


def _rows(store: StoreReader) -> Iterator[tuple[StoredPassage, npt.NDArray[np.float32]]]:
    """The passages of an index with their vectors, in order."""
    last = 0
    while batch := store.passages_after(last, BATCH):
        last = batch[-1].row
        rows, codes, scales = store.codes_of([passage.row for passage in batch])
        vectors = dequantise(codes, scales)
        places = {int(row): place for place, row in enumerate(rows)}
        for passage in batch:
            if passage.row in places:  # it may have been removed between the two readings
                yield passage, vectors[places[passage.row]]


class _Raw(NamedTuple):
    """An item before it is embedded: what it is, its parts as an encoder takes them, and the bytes that tell copies."""

    entry: Entry
    parts: list[Item]
    content: bytes


class _Spool:
    """Entries and vectors on their way to files."""

    def __init__(self) -> None:
        self._digests: list[bytes] = []
        self._lengths = array("q")
        self._starts = array("q")
        self._dim = 0

    def __enter__(self) -> _Spool:
        self._folder = tempfile.TemporaryDirectory(prefix="nearfar-")
        self._path = Path(self._folder.name)
        self._entries = (self._path / "entries.jsonl").open("w+b")
        self._vectors = (self._path / "vectors.f16").open("wb")
        return self

    def __exit__(self, *error: object) -> None:
        self._entries.close()
        self._vectors.close()
        self._folder.cleanup()

    def add(self, entry: Entry, content: bytes, vector: npt.NDArray[np.float32]) -> None:
        self._starts.append(self._entries.tell())
        fields = [entry.id, entry.title, entry.location, entry.text, entry.label]
        self._entries.write(json.dumps(fields).encode() + b"\n")
        self._digests.append(hashlib.blake2b(content, digest_size=16).digest())
        self._lengths.append(len(content))
        length = max(float(np.linalg.norm(vector)), 1e-12)
        self._vectors.write((vector / length).astype(np.float16).tobytes())
        self._dim = len(vector)

    def collection(self, report: ReadReport) -> Collection:
        if not self._digests:
            first = f" The first: {'; '.join(report.examples)}" if report.examples else ""
            raise DataError(f"there is nothing to look at: no text, picture or row that can be used.{first}")
        self._vectors.flush()
        self._entries.flush()
        vectors = np.memmap(
            self._path / "vectors.f16", dtype=np.float16, mode="r", shape=(len(self._digests), self._dim)
        )
        lengths = np.array(self._lengths, dtype=np.int64)
        return Collection(vectors, self._digests, lengths, report, self._entries, self._starts)


@contextmanager
def _collected(
    items: Iterator[_Raw], embedder: Embedder, stages: Stages
) -> Iterator[tuple[Collection, list[tuple[str, str]]]]:
    """Embed in batches; also yields place and reason of what could not be."""
    failed: list[tuple[str, str]] = []
    with _Spool() as spool:
        tick = stages("embedding")
        for batch in _batches(items):
            for raw, vector in _embedded(batch, embedder, failed):
                spool.add(raw.entry, raw.content, vector)
            tick(len(batch))
        report = ReadReport(examples=[f"{place}: {reason}" for place, reason in failed[:5]])
        yield spool.collection(report), failed


def _batches(items: Iterator[_Raw]) -> Iterator[list[_Raw]]:
    """Items with at least `BATCH` parts together."""
    batch: list[_Raw] = []
    parts = 0
    for raw in items:
        batch.append(raw)
        parts += len(raw.parts)
        if parts >= BATCH:
            yield batch
            batch, parts = [], 0
    if batch:
        yield batch


def _embedded(
    batch: list[_Raw], embedder: Embedder, failed: list[tuple[str, str]]
) -> Iterator[tuple[_Raw, npt.NDArray[np.float32]]]:
    """The vectors of a batch; where it fails, one by one, so that one bad picture costs no other."""
    try:
        vectors = embedder.embed([part for raw in batch for part in raw.parts])
    except DataError as error:
        if len(batch) > 1:
            for one in batch:
                yield from _embedded([one], embedder, failed)
        else:
            failed.append((batch[0].entry.location or batch[0].entry.id, str(error)))
        return
    start = 0
    for raw in batch:
        yield raw, vectors[start : start + len(raw.parts)].mean(axis=0)
        start += len(raw.parts)


def _parts(document: Document) -> list[Entry]:
    """The passages of a document; all of it where nobody has cut it."""
    if not document.passages:
        return [Entry(document.id, document.title, document.location, document.text, document.group)]
    return [
        Entry(
            f"{document.id}#{number}",
            passage.heading or document.title,
            passage.location or document.location,
            document.text[passage.begin : passage.end],
            document.group,
        )
        for number, passage in enumerate(document.passages, start=1)
    ]


def _content(title: str, text: str) -> str:
    return f"{title}\n{text}" if title else text


def _encoded(title: str, text: str) -> bytes:
    return _content(title, text).encode("utf-8", "surrogatepass")


def _bytes_of(picture: Picture) -> bytes:
    content = picture.content
    if isinstance(content, Path):
        try:
            return content.read_bytes()
        except OSError:
            return b""  # embedding it says why
    return content if isinstance(content, bytes) else content.tobytes()
