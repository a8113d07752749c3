"""Engines that find nearest vectors, ours and others', behind one interface: build in a folder, open, ask."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from nearfar.edge.dense import DenseSearch, Effort
from nearfar.edge.derive import renew_derived
from nearfar.edge.store.reader import StoreReader
from nearfar.edge.store.writer import NewDocument, StoreWriter
from nearfar.index.derived_file import derived_file
from nearfar.index.hnsw import HnswIndex
from nearfar.sources.document import Document, Passage

Vectors = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]
K = 10
_BLOCK = 4096


@dataclass(frozen=True)
class Engine:
    """One engine over one set of vectors.

    Attributes:
        folder: where its files are.
        vectors: the file of the vectors (.npy), for those that keep none of their own.
    """

    folder: Path
    vectors: Path
    efforts: ClassVar[Sequence[Any]] = (None,)
    """What `ask` takes to trade time for recall, from little to much."""

    def build(self, threads: int) -> None:
        """Make the files."""
        raise NotImplementedError

    def bytes(self) -> int:
        """On the disk, of everything that is needed to find and score vectors."""
        return sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file())

    def open(self) -> Callable[[Vectors, Any], Ids]:
        """Open the files; what is returned answers a query (d,) with the ids of the ten nearest vectors, at an effort."""
        raise NotImplementedError

    def blocks(self) -> Iterator[tuple[Ids, Vectors]]:
        """The vectors with their ids, from 0."""
        vectors = np.load(self.vectors, mmap_mode="r")
        for start in range(0, len(vectors), _BLOCK):
            part = np.array(vectors[start : start + _BLOCK])
            yield np.arange(start, start + len(part), dtype=np.int64), part


class Graph(Engine):
    """`nearfar.index.HnswIndex` alone."""

    efforts: ClassVar[Sequence[Any]] = (10, 12, 14, 16, 20, 24, 30, 40, 60, 80, 120, 200, 300)

    def build(self, threads: int) -> None:
        sample = np.array(np.load(self.vectors, mmap_mode="r")[:10_000])
        graph = HnswIndex.build(self.blocks(), sample=sample, threads=threads)
        with derived_file(self.folder / "vectors.graph") as file:
            graph.save(file)

    def open(self) -> Callable[[Vectors, Any], Ids]:
        graph = HnswIndex.open(self.folder / "vectors.graph")
        return lambda query, effort: graph.search(query[None], K, ef=effort)[1][0]


@dataclass(frozen=True)
class Store(Engine):
    """A store of nearfar and its dense search: candidates by the derived file, scores by the codes in SQLite."""

    engine: str = "scan"

    def build(self, threads: int) -> None:
        dim = np.load(self.vectors, mmap_mode="r").shape[1]
        writer = StoreWriter(self.folder, bundle_digest="0" * 64, dim=dim)
        writer.set_engine(self.engine)
        for ids, part in self.blocks():
            documents = [Document(str(number), ".", passages=(Passage(0, 1),)) for number in ids.tolist()]
            writer.write([NewDocument(document, b"", row[None]) for document, row in zip(documents, part, strict=True)])
        renew_derived(writer, threads=threads)
        writer.close()

    def bytes(self) -> int:
        reader = StoreReader(self.folder)
        # As SQLite counts them; where it was built without, the codes and 12 bytes a row around them.
        try:
            stored = reader.connection.execute("SELECT sum(pgsize) FROM dbstat WHERE name = 'vectors'").fetchone()[0]
        except Exception:
            stored = reader.passages() * (reader.dim + 4 + 12)
        reader.close()
        derived = [*self.folder.glob("derived-*.signs"), *self.folder.glob("derived-*.graph")]
        return int(stored) + sum(file.stat().st_size for file in derived)

    def open(self) -> Callable[[Vectors, Any], Ids]:
        reader = StoreReader(self.folder)
        searches: dict[Any, DenseSearch] = {}

        def ask(query: Vectors, effort: Any) -> Ids:
            if effort not in searches:
                searches[effort] = DenseSearch(reader, effort=effort)
            with reader.snapshot():
                searches[effort].refresh()
                return searches[effort].search(query, K)[0] - 1  # rows count from 1

        return ask


class Scan(Store):
    """A store that scans signs."""

    efforts: ClassVar[Sequence[Any]] = tuple(
        Effort(considered=considered, rescored=rescored)
        for considered, rescored in ((50, 20), (80, 25), (100, 30), (200, 40), (200, 60), (400, 100), (800, 200))
    )


@dataclass(frozen=True)
class StoredGraph(Store):
    """A store that walks a graph."""

    engine: str = "hnsw"
    efforts: ClassVar[Sequence[Any]] = tuple(Effort(ef=ef) for ef in (12, 16, 20, 30, 40, 60, 96, 150, 250))


class Hnswlib(Engine):
    """Hnswlib, float32, M = 16, ef_construction = 200: its defaults, and those of its own examples."""

    efforts: ClassVar[Sequence[Any]] = (10, 12, 14, 16, 20, 24, 30, 40, 60, 80, 120, 200)

    def build(self, threads: int) -> None:
        vectors = np.load(self.vectors, mmap_mode="r")
        graph = import_module("hnswlib").Index(space="ip", dim=vectors.shape[1])
        graph.init_index(max_elements=len(vectors), ef_construction=200, M=16)
        graph.set_num_threads(threads)
        for ids, part in self.blocks():
            graph.add_items(part, ids)
        graph.save_index(str(self.folder / "vectors.bin"))

    def open(self) -> Callable[[Vectors, Any], Ids]:
        graph = import_module("hnswlib").Index(space="ip", dim=np.load(self.vectors, mmap_mode="r").shape[1])
        graph.load_index(str(self.folder / "vectors.bin"))
        graph.set_num_threads(1)

        def ask(query: Vectors, effort: Any) -> Ids:
            graph.set_ef(effort)
            found: Ids = graph.knn_query(query, k=K)[0][0].astype(np.int64)
            return found

        return ask


class Faiss(Engine):
    """Faiss's HNSW with 8-bit codes as faiss makes it, M = 16."""

    efforts: ClassVar[Sequence[Any]] = Graph.efforts

    def build(self, threads: int) -> None:
        faiss = import_module("faiss")
        vectors = np.load(self.vectors, mmap_mode="r")
        graph = faiss.IndexHNSWSQ(vectors.shape[1], faiss.ScalarQuantizer.QT_8bit, 16, faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction = 100
        faiss.omp_set_num_threads(threads)
        graph.train(np.array(vectors[:10_000]))
        for _, part in self.blocks():
            graph.add(part)
        faiss.write_index(graph, str(self.folder / "vectors.faiss"))

    def open(self) -> Callable[[Vectors, Any], Ids]:
        faiss = import_module("faiss")
        graph = faiss.read_index(str(self.folder / "vectors.faiss"), faiss.IO_FLAG_MMAP_IFC)
        faiss.omp_set_num_threads(1)

        def ask(query: Vectors, effort: Any) -> Ids:
            graph.hnsw.efSearch = effort
            found: Ids = graph.search(query[None], K)[1][0]
            return found

        return ask


class SqliteVec(Engine):
    """The extension sqlite-vec, int8 vectors, which compares all of them."""

    def build(self, threads: int) -> None:
        connection = self._connect()
        dim = np.load(self.vectors, mmap_mode="r").shape[1]
        connection.execute(f"CREATE VIRTUAL TABLE vectors USING vec0(embedding int8[{dim}] distance_metric=cosine)")
        with connection:
            for ids, part in self.blocks():
                largest = np.abs(part).max(axis=1, keepdims=True)
                codes = np.rint(part * (127 / largest)).astype(np.int8)
                connection.executemany(
                    "INSERT INTO vectors (rowid, embedding) VALUES (?, vec_int8(?))",
                    ((int(row) + 1, code.tobytes()) for row, code in zip(ids, codes, strict=True)),
                )
        connection.close()

    def open(self) -> Callable[[Vectors, Any], Ids]:
        connection = self._connect()
        sql = "SELECT rowid FROM vectors WHERE embedding MATCH vec_int8(?) AND k = ? ORDER BY distance"

        def ask(query: Vectors, effort: Any) -> Ids:
            code = np.rint(query * (127 / np.abs(query).max())).astype(np.int8)
            rows = connection.execute(sql, (code.tobytes(), K)).fetchall()
            return np.array([row for (row,) in rows], dtype=np.int64) - 1

        return ask

    def _connect(self) -> Any:
        # Python's own sqlite3 is often built without extensions; the one of SQLCipher, here without a key, takes them.
        connection = import_module("sqlcipher3.dbapi2").connect(str(self.folder / "vectors.sqlite"))
        connection.enable_load_extension(True)
        import_module("sqlite_vec").load(connection)
        return connection


class Numpy(Engine):
    """A product with all vectors in float32."""

    def build(self, threads: int) -> None:
        np.save(self.folder / "vectors.npy", np.load(self.vectors, mmap_mode="r"))

    def open(self) -> Callable[[Vectors, Any], Ids]:
        vectors = np.load(self.folder / "vectors.npy")

        def ask(query: Vectors, effort: Any) -> Ids:
            scores = vectors @ query
            best = np.argpartition(-scores, K)[:K]
            found: Ids = best[np.argsort(-scores[best])]
            return found

        return ask


ENGINES: dict[str, type[Engine]] = {
    "hnsw": Graph,
    "scan": Scan,
    "stored_hnsw": StoredGraph,
    "hnswlib": Hnswlib,
    "faiss": Faiss,
    "sqlite_vec": SqliteVec,
    "numpy": Numpy,
}
SLOW = frozenset({"sqlite_vec", "numpy"})
"""Engines that compare all vectors; asked fewer queries."""
_PACKAGES = {"hnswlib": ("hnswlib",), "sqlite_vec": ("sqlite_vec", "sqlcipher3")}


def installed() -> list[str]:
    """The engines whose packages are there."""
    return [name for name in ENGINES if all(find_spec(package) for package in _PACKAGES.get(name, ()))]
