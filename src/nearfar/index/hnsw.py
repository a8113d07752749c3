"""A navigable graph (HNSW) over 8-bit codes, by faiss.

Faiss is imported where it is used: whoever only scans a few thousand vectors never loads it.

Source: Malkov & Yashunin, "Efficient and robust approximate nearest neighbor search using Hierarchical Navigable Small
World graphs", 2018; Douze et al., "The Faiss library", 2024.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nearfar.errors import StoreError


class HnswIndex:
    """Approximate nearest neighbours by inner product; vectors have ids of the caller's choosing.

    Make one with `HnswIndex.build` or `HnswIndex.open`.
    """

    def __init__(self, graph: Any) -> None:
        """Wrap a faiss `IndexIDMap` over an `IndexHNSWSQ`."""
        self._graph = graph

    @classmethod
    def build(
        cls,
        blocks: Iterable[tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]],
        *,
        sample: npt.NDArray[np.float32],
        m: int = 16,
        ef_construction: int = 100,
        threads: int = 1,
    ) -> HnswIndex:
        """Build the graph block by block, so that all vectors need never be in memory as floats.

        Args:
            blocks: (ids int64 (b,), vectors float32 (b, d)), one after the other.
            sample: float32 (s, d), s >= 1; the range of each component is taken from it. A few thousand vectors drawn
                evenly are enough.
            m: neighbours a vector keeps on the upper layers; twice as many on the lowest.
            ef_construction: candidates considered while inserting.
            threads: 1 gives the same graph every time; more is faster, and the graph then depends on the order in
                which the threads happen to insert.
        """
        faiss = _faiss()
        inner = faiss.IndexHNSWSQ(sample.shape[1], faiss.ScalarQuantizer.QT_8bit, m, faiss.METRIC_INNER_PRODUCT)
        inner.hnsw.efConstruction = ef_construction
        # A tenth more than the sample's range at either end, for the vectors that are not in it.
        faiss.downcast_index(inner.storage).sq.rangestat_arg = 0.1
        inner.train(np.ascontiguousarray(sample, dtype=np.float32))
        graph = faiss.IndexIDMap(inner)
        with _faiss_threads(threads):
            for ids, vectors in blocks:
                graph.add_with_ids(np.ascontiguousarray(vectors, dtype=np.float32), np.asarray(ids, dtype=np.int64))
        return cls(graph)

    @classmethod
    def open(cls, path: Path, *, sha256: str) -> HnswIndex:
        """Open a saved graph, mapped into memory where faiss can.

        Faiss follows the links of a graph without checking them, so a damaged file could end the process. It is
        therefore handed a file only after its digest has been found right.

        Args:
            path: what `save` wrote.
            sha256: what `save` returned.

        Raises:
            StoreError: the file is missing, damaged, or not the one that was saved.
        """
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise StoreError(f"{path}: cannot read the graph of the index: {error.strerror or error}") from error
        if found != sha256:
            raise StoreError(
                f"{path}: the graph of the index is damaged or is another one (its SHA-256 is {found[:12]}…)"
            )
        faiss = _faiss()
        try:
            graph = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError as error:
            raise StoreError(f"{path}: faiss {faiss.__version__} cannot read the graph of the index") from error
        return cls(graph)

    def save(self, path: Path) -> str:
        """Write the graph so that after a power cut `path` is either what it was or complete.

        Returns:
            The file's SHA-256, which `open` asks for.

        Raises:
            OSError: it could not be written (no room, no permission); nothing is left behind.
        """
        faiss = _faiss()
        part = path.with_name(f".{path.name}.part")
        digest = hashlib.sha256()
        failures: list[OSError] = []
        try:
            with part.open("wb") as file:

                def write(data: bytes) -> None:
                    try:
                        file.write(data)
                    except OSError as error:
                        # Faiss would turn it into a RuntimeError without the error number.
                        failures.append(error)
                        raise
                    digest.update(data)

                try:
                    writer = faiss.BufferedIOWriter(faiss.PyCallbackIOWriter(write))
                    faiss.write_index(self._graph, writer)
                    del writer  # flushes
                except RuntimeError:
                    if failures:
                        raise failures[0] from None
                    raise
                if failures:
                    raise failures[0]
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
        return digest.hexdigest()

    def __len__(self) -> int:
        """Number of vectors."""
        return int(self._graph.ntotal)

    @property
    def dim(self) -> int:
        """Number of components of a vector."""
        return int(self._graph.d)

    def search(
        self,
        queries: npt.NDArray[np.float32],
        k: int,
        *,
        ef: int = 96,
        without: npt.NDArray[np.int64] | None = None,
        threads: int = 1,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """The k vectors with (nearly) the largest inner product with each query.

        Args:
            queries: float32 (q, d).
            k: neighbours a query.
            ef: candidates kept while walking the graph: more is slower and finds more. At least k is used.
            without: ids that must not be returned, for vectors deleted since the graph was built.
            threads: used when there are many queries.

        Returns:
            Scores float32 (q, k), best first, and ids int64 (q, k). Where fewer than k were found the id is -1.
        """
        faiss = _faiss()
        settings = faiss.SearchParametersHNSW(efSearch=max(ef, k))
        if without is not None and len(without):
            hidden = faiss.IDSelectorBatch(np.ascontiguousarray(without, dtype=np.int64))
            settings = faiss.SearchParametersHNSW(efSearch=max(ef, k), sel=faiss.IDSelectorNot(hidden))
        with _faiss_threads(threads):
            scores, ids = self._graph.search(np.ascontiguousarray(queries, dtype=np.float32), k, params=settings)
        return scores, ids


def _faiss() -> Any:
    """Faiss, loaded when first needed; the types it ships do not know half of its names."""
    return import_module("faiss")


@contextmanager
def _faiss_threads(count: int) -> Iterator[None]:
    """Limit faiss to `count` threads for a moment: the setting is the process's, and others may want another."""
    faiss = _faiss()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut, where the system lets a folder be synced."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows cannot open a folder
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
