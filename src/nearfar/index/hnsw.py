"""A navigable graph (HNSW) over 8-bit codes, by faiss.

Faiss is imported where it is used: whoever only scans never loads it.

Source: Malkov & Yashunin, "Efficient and robust approximate nearest neighbor search using Hierarchical Navigable Small
World graphs", 2018; Douze et al., "The Faiss library", 2024.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from nearfar.errors import StoreError
from nearfar.index.faiss_threads import faiss, faiss_threads

Rows = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.float32]

_READING = threading.Lock()


class HnswIndex:
    """Approximate nearest neighbours by inner product; vectors have ids of the caller's choosing.

    Make one with `HnswIndex.build`, `HnswIndex.open` or `HnswIndex.read`.
    """

    def __init__(self, graph: Any, content: npt.NDArray[np.uint8] | None = None) -> None:
        """Wrap a faiss `IndexIDMap` over an `IndexHNSWSQ`, and keep the memory that it looks into."""
        self._graph = graph
        self._content = content
        self._made: dict[int, Any] = {}

    @classmethod
    def build(
        cls,
        blocks: Iterable[tuple[Rows, Vectors]],
        *,
        sample: Vectors,
        m: int | None = None,
        ef_construction: int = 100,
        threads: int = 1,
    ) -> HnswIndex:
        """Build the graph block by block, so that all vectors need never be in memory as floats.

        Args:
            blocks: (ids int64 (b,), vectors float32 (b, d)), one after the other.
            sample: float32 (s, d), s >= 1; the range of each component is taken from it. A few thousand vectors drawn
                evenly are enough.
            m: neighbours a vector keeps on the upper layers; twice as many on the lowest. `links_for` by default.
            ef_construction: candidates considered while inserting.
            threads: 1 gives the same graph every time; more is faster, and the graph then depends on the order in
                which the threads happen to insert.
        """
        library = faiss()
        dim, quantiser = sample.shape[1], library.ScalarQuantizer.QT_8bit
        inner = library.IndexHNSWSQ(dim, quantiser, m or links_for(dim), library.METRIC_INNER_PRODUCT)
        inner.hnsw.efConstruction = ef_construction
        # A tenth more than the sample's range at either end, for the vectors that are not in it.
        library.downcast_index(inner.storage).sq.rangestat_arg = 0.1
        inner.train(np.ascontiguousarray(sample, dtype=np.float32))
        graph = cls(library.IndexIDMap(inner))
        graph.add(blocks, threads=threads)
        return graph

    @classmethod
    def open(cls, path: Path, *, writable: bool = False) -> HnswIndex:
        """Open a saved graph.

        Args:
            path: what `save` wrote.
            writable: read it into memory, so that `add` works, in place of mapping it.

        Raises:
            StoreError: the file is missing, or no graph that can be walked safely.
        """
        library = faiss()
        try:
            # Faiss writes to the log of the process what it cannot open; Python's words are better.
            path.open("rb").close()
            with _nothing_larger_than(path.stat().st_size):
                graph = library.read_index(str(path), 0 if writable else library.IO_FLAG_MMAP_IFC)
        except (OSError, RuntimeError, MemoryError) as error:
            raise StoreError(f"{path}: faiss {library.__version__} cannot read the graph of the index") from error
        return cls(_checked(graph, str(path)))

    @classmethod
    def read(cls, content: npt.NDArray[np.uint8], name: str) -> HnswIndex:
        """Open the content of a file, uint8 (bytes,), which stays in memory.

        Raises:
            StoreError: it is no graph that can be walked safely.
        """
        library = faiss()
        try:
            with _nothing_larger_than(len(content)):
                graph = library.read_index(library.ZeroCopyIOReader(library.swig_ptr(content), len(content)))
        except (RuntimeError, MemoryError) as error:
            raise StoreError(f"{name}: faiss {library.__version__} cannot read the graph of the index") from error
        return cls(_checked(graph, name), content)

    def add(self, blocks: Iterable[tuple[Rows, Vectors]], *, threads: int = 1) -> None:
        """Link more vectors into the graph; see `build`. One that was opened must be writable."""
        with faiss_threads(threads):
            for ids, vectors in blocks:
                self._graph.add_with_ids(
                    np.ascontiguousarray(vectors, dtype=np.float32), np.asarray(ids, dtype=np.int64)
                )

    def save(self, file: BinaryIO) -> None:
        """Write the graph to a file, from beginning to end.

        Raises:
            OSError: it could not be written.
        """
        library = faiss()
        failures: list[Exception] = []

        def write(data: bytes) -> None:
            # Nothing may be raised through faiss: it flushes in a destructor, where an error ends the process or is lost.
            if not failures:
                try:
                    file.write(data)
                except Exception as error:
                    failures.append(error)

        writer = library.BufferedIOWriter(library.PyCallbackIOWriter(write))
        library.write_index(self._graph, writer)
        del writer  # flushes
        if failures:
            raise failures[0]

    def __len__(self) -> int:
        """Number of vectors."""
        return int(self._graph.ntotal)

    @property
    def dim(self) -> int:
        """Number of components of a vector."""
        return int(self._graph.d)

    def search(
        self,
        queries: Vectors,
        k: int,
        *,
        ef: int = 96,
        allowed: Rows | None = None,
        without: Rows | None = None,
        threads: int = 1,
    ) -> tuple[Vectors, Rows]:
        """The k vectors with (nearly) the largest inner product with each query.

        Args:
            queries: float32 (q, d).
            k: neighbours a query.
            ef: candidates kept while walking the graph: more is slower and finds more. At least k is used.
            allowed: ids that may be returned; all by default. The graph is walked through the others all the same, so
                few of them need a large `ef`.
            without: ids that must not be returned, for vectors deleted since the graph was built.
            threads: used when there are many queries.

        Returns:
            Scores float32 (q, k), best first, and ids int64 (q, k). Where fewer than k were found the id is -1.
        """
        count = max(ef, k)
        settings = self._selecting(count, allowed, without) or self._settings(count)
        with faiss_threads(threads):
            scores, ids = self._graph.search(np.ascontiguousarray(queries, dtype=np.float32), k, params=settings)
        return scores, ids

    def _settings(self, ef: int) -> Any:
        """Of a search that may return everything; made once, as making it takes as long as a tenth of a search."""
        if ef not in self._made:
            self._made[ef] = faiss().SearchParametersHNSW(efSearch=ef)
        return self._made[ef]

    def _selecting(self, ef: int, allowed: Rows | None, without: Rows | None) -> Any:
        """Of a search that may return only some; None where it may return everything."""
        library = faiss()
        if allowed is not None:
            shown = allowed if without is None else np.setdiff1d(allowed, without, assume_unique=True)
            mask = np.zeros(int(shown.max(initial=0)) + 1, dtype=np.bool_)
            mask[shown] = True
            # Given the array, faiss takes its size in bytes; of a size in bits it would read what lies behind.
            selected = library.IDSelectorBitmap(np.packbits(mask, bitorder="little"))
            return library.SearchParametersHNSW(efSearch=ef, sel=selected)
        if without is not None and len(without):
            hidden = library.IDSelectorBatch(np.ascontiguousarray(without, dtype=np.int64))
            return library.SearchParametersHNSW(efSearch=ef, sel=library.IDSelectorNot(hidden))
        return None


def links_for(dim: int) -> int:
    """Neighbours that suit vectors of `dim` components: links (two times four bytes each) take about a third of the codes."""
    return min(16, max(10, dim // 24))


@contextmanager
def _nothing_larger_than(size: int) -> Iterator[None]:
    """Let faiss read no table of more bytes: of a damaged file it would take as much memory as the file asks for.

    The setting is the process's, so one file is read at a time.
    """
    library = faiss()
    with _READING:
        before = library.get_deserialization_vector_byte_limit()
        library.set_deserialization_vector_byte_limit(size)
        try:
            yield
        finally:
            library.set_deserialization_vector_byte_limit(before)


def _checked(graph: Any, name: str) -> Any:
    """Refuse a graph whose links or places lead out of it: faiss follows them without a look, which could end the process.

    Codes are not checked. A damaged one costs a candidate, never a wrong score, where the caller scores by other codes.

    Raises:
        StoreError: it is not what `HnswIndex.build` makes, or its tables do not fit together.
    """
    library = faiss()
    damaged = StoreError(f"{name}: the graph of the index is damaged")
    inner = library.downcast_index(graph.index) if isinstance(graph, library.IndexIDMap) else None
    if not isinstance(inner, library.IndexHNSWSQ):
        raise damaged
    storage, hnsw, count = library.downcast_index(inner.storage), inner.hnsw, int(graph.ntotal)
    offsets = _viewed(hnsw.offsets)
    levels = _viewed(hnsw.levels)
    links = _viewed(hnsw.neighbors)
    links_to = _viewed(hnsw.cum_nneighbor_per_level)
    quantiser = storage.sq
    if quantiser.code_size != storage.d or quantiser.trained.size() != 2 * storage.d:
        raise damaged
    parts = (graph, inner, storage)
    if any(part.metric_type != library.METRIC_INNER_PRODUCT or not part.is_trained for part in parts):
        raise damaged
    same = len({count, int(inner.ntotal), int(storage.ntotal), len(levels), int(graph.id_map.size())}) == 1
    if not same or len({int(graph.d), int(inner.d), int(storage.d)}) > 1 or storage.codes.size() != count * storage.d:
        raise damaged
    if not count:
        return graph
    ends = np.cumsum(links_to[np.clip(levels, 0, len(links_to) - 1)], dtype=np.int64)
    fits = (
        links_to[0] == 0
        and (np.diff(links_to) > 0).all()
        and levels.min() >= 1
        and levels.max() < len(links_to)
        and len(offsets) == count + 1
        and offsets[0] == 0
        and np.array_equal(offsets[1:], ends.astype(np.uint64))
        and len(links) == ends[-1]
        and links.min() >= -1
        and links.max() < count
        and 0 <= hnsw.entry_point < count
        and hnsw.max_level == levels[hnsw.entry_point] - 1
    )
    if not fits or not _upper_links_fit(levels, offsets.astype(np.int64), links, links_to.astype(np.int64)):
        raise damaged
    return graph


def _upper_links_fit(levels: Rows, offsets: Rows, links: Rows, links_to: Rows) -> bool:
    """Whether every link of an upper layer leads to a vector that is on that layer too.

    On the way down faiss reads the links that the target has on the same layer; one that has none there would be read
    beyond its end.
    """
    for layer in range(1, int(levels.max())):
        there = np.flatnonzero(levels > layer)
        places = offsets[there, None] + np.arange(links_to[layer], links_to[layer + 1])
        targets = links[places]
        if (levels[targets[targets >= 0]] <= layer).any():
            return False
    return True


def _viewed(vector: Any) -> npt.NDArray[Any]:
    """A vector of faiss as an array over the same memory."""
    if not vector.size():
        return np.empty(0, dtype=np.int64)
    viewed: npt.NDArray[Any] = faiss().rev_swig_ptr(vector.data(), vector.size())
    return viewed
