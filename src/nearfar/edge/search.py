"""The search index: a folder that answers queries, on a machine that needs nothing else."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self, get_args

import numpy as np
import numpy.typing as npt

from nearfar.bundle.bundle import Bundle
from nearfar.edge.dense import DenseSearch
from nearfar.edge.fusion import NEUTRAL, check_fusion, fuse
from nearfar.edge.snippet import snippet
from nearfar.edge.store.keyword import MAX_TERMS, KeywordSearch, Term, distinct_words
from nearfar.edge.store.reader import StoreReader
from nearfar.edge.store.schema import BUNDLE_FOLDER
from nearfar.errors import BundleError, DataError, StoreError

if TYPE_CHECKING:
    from nearfar.edge.build import BuildReport, Progress
    from nearfar.edge.encoder import Encoder
    from nearfar.sources.document import Document

Mode = Literal["hybrid", "dense", "keyword"]
CANDIDATES = 100
"""How many documents each side, embedding and keywords, hands to the fusion."""

Features = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Hit:
    """One document that was found.

    Attributes:
        id: of the document.
        title: of the document; may be empty.
        text: the part of its text that shows why it was found, on one line.
        location: where a person finds it.
        score: larger is better. Cosine in mode `dense`, BM25 in `keyword`, the fused score in `hybrid`; scores of
            different queries or modes do not compare, but for cosines.
        rank: 1 for the best.
    """

    id: str
    title: str
    text: str
    location: str
    score: float
    rank: int


class SearchIndex:
    """Answers queries over the documents of one index.

    Opens for reading only, follows what another process writes meanwhile, and may be used from several threads (one
    query at a time). The encoder is loaded by the first query that needs it.
    """

    def __init__(self, path: Path, *, bundle: Bundle, threads: int = 1) -> None:
        """Open the index in `path`; users call `SearchIndex.open`.

        Args:
            path: folder of the index.
            bundle: the bundle that it was built with.
            threads: of the encoder.
        """
        self.path = path
        self.bundle = bundle
        self.report: BuildReport | None = None
        """What building did, where this index comes from `build`."""
        self._encoder: Encoder | None = None
        self._threads = threads
        self._lock = threading.Lock()
        self._reader = StoreReader(path)
        if self._reader.bundle_digest != bundle.digest:
            self._reader.close()
            raise StoreError(
                f"{path}: the index was made with bundle {self._reader.bundle_digest[:16]}, but holds "
                f"{bundle.digest[:16]}; build it again with --rebuild"
            )
        self._fusion = bundle.manifest.fusion or NEUTRAL
        check_fusion(self._fusion)
        self._dense = DenseSearch(self._reader)
        self._keywords = KeywordSearch(self._reader.connection)

    @classmethod
    def open(cls, path: str | Path, *, threads: int = 1) -> Self:
        """Open an index for searching, also on a medium that cannot be written.

        Args:
            path: folder of the index.
            threads: processors that one query may use.

        Raises:
            StoreError: there is no index, it is damaged, or it does not fit the bundle beside it.
            BundleError: the bundle in it is damaged.
        """
        path = Path(path)
        StoreReader(path).close()  # says what is missing before the bundle does
        return cls(path, bundle=Bundle.open(path / BUNDLE_FOLDER), threads=threads)

    @classmethod
    def build(
        cls,
        bundle: Bundle | str | Path,
        documents: Iterable[Document],
        path: str | Path,
        *,
        rebuild: bool = False,
        dim: int | None = None,
        threads: int | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Make an index of documents, or bring one up to date.

        Afterwards the index holds exactly `documents`: those with a known id and the same text are kept as they are,
        those with another text are replaced, those that are no longer given are removed. Batches of 512 are stored
        one by one; when the process is killed or the disk is full, what was stored can be searched, and the same call
        goes on from there. Other processes may search meanwhile.

        Args:
            bundle: what embeds; a copy is kept in the index.
            documents: all documents that the index shall hold; read once.
            path: folder of the index; new, empty, or an index.
            rebuild: throw away the index that is there, which another bundle may have made.
            dim: keep only so many components, one of the bundle's `dims`.
            threads: all processors by default. One makes two builds equal to the last bit.
            progress: called with a stage (`documents`, `graph`) and the number of documents done.

        Returns:
            The open index; its `report` says what was done.

        Raises:
            StoreError: the index belongs to another bundle, another process is writing it, or the disk is full.
            BundleError: the bundle is damaged, or not for texts.
            DataError: there is no document that could be indexed.
        """
        import os

        from nearfar.edge.build import build_index
        from nearfar.edge.encoder import Encoder

        path = Path(path)
        bundle = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
        if bundle.manifest.frontend.kind != "text":
            raise BundleError(
                f"{bundle.path}: this bundle embeds pictures, and an index is of texts: give the bundle of a text encoder, or embed "
                "the pictures with nearfar.edge.Encoder and compare their vectors"
            )
        encoder = Encoder.open(bundle, threads=threads or os.cpu_count() or 1, dim=dim)
        report = build_index(path, bundle, encoder, documents, rebuild=rebuild, threads=threads, progress=progress)
        index = cls.open(path)
        index.report = report
        return index

    def __len__(self) -> int:
        """Number of documents."""
        with self._lock, self._reader.snapshot():
            return self._reader.count()

    @property
    def dim(self) -> int:
        """Number of components that the index keeps."""
        return self._reader.dim

    @property
    def default_mode(self) -> Mode:
        """`hybrid` where the bundle has learned how to join the scores, else `dense`."""
        return "hybrid" if self.bundle.manifest.fusion else "dense"

    def search(self, query: str, k: int = 10, mode: Mode | None = None) -> list[Hit]:
        """Find the documents that answer a query.

        Args:
            query: any text that is not blank; nothing in it is an operator.
            k: how many to return at most.
            mode: `dense` ranks by the cosine of embeddings; `keyword` by BM25 over the query's words, and finds only
                documents that hold one; `hybrid` joins the best of both by the bundle's learned weights, or by neutral
                ones. None takes `default_mode`.

        Returns:
            At most k hits, best first.

        Raises:
            DataError: the query is blank, k is below 1, or there is no such mode.
            StoreError: the index is damaged.
        """
        query = _checked(query)
        mode = mode or self.default_mode
        if mode not in get_args(Mode):
            raise DataError(f"there is no search mode {mode!r}; choose one of {', '.join(get_args(Mode))}")
        if k < 1:
            raise DataError(f"k is how many documents to return, and must be at least 1, not {k}")
        with self._lock:
            vector = None if mode == "keyword" else self._embed(query)
            with self._reader.snapshot():
                if vector is not None:
                    self._dense.refresh()
                if vector is not None and mode == "dense":
                    rows, cosines = self._dense.search(vector, k)
                    best = list(zip(rows.tolist(), cosines.tolist(), strict=True))
                    return self._hits(best, distinct_words(query)[:MAX_TERMS])
                terms = self._keywords.terms(query)
                if vector is None:
                    total = self._reader.count()
                    best = self._keywords.best(terms, total, min(k, total))
                else:
                    best = self._fused(vector, terms, k)
                return self._hits(best, [t.stem if t.word.startswith(t.stem) else t.word for t in terms])

    def candidates(self, query: str, depth: int = CANDIDATES) -> tuple[list[str], Features]:
        """What the fusion chooses from, for `fit_fusion` to learn from.

        Args:
            query: as in `search`.
            depth: how many documents each side gives.

        Returns:
            Ids of the c candidates and their features float32 (c, 3), columns as in `fusion.FEATURES`.
        """
        query = _checked(query)
        with self._lock:
            vector = self._embed(query)
            with self._reader.snapshot():
                self._dense.refresh()
                rows, features = self._joined(vector, self._keywords.terms(query), depth)
                ids = self._reader.ids_of(rows)
        return [ids[row] for row in rows], features

    def close(self) -> None:
        """Let go of the files."""
        self._keywords.close()
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _embed(self, query: str) -> npt.NDArray[np.float32]:
        if self._encoder is None:
            from nearfar.edge.encoder import Encoder

            self._encoder = Encoder.open(self.bundle, threads=self._threads, dim=self._reader.dim)
        vector: npt.NDArray[np.float32] = self._encoder.embed([query], side="query")[0]
        return vector

    def _fused(self, vector: npt.NDArray[np.float32], terms: Sequence[Term], k: int) -> list[tuple[int, float]]:
        rows, features = self._joined(vector, terms, max(k, CANDIDATES))
        scores = fuse(features, self._fusion)
        order = np.lexsort((np.array(rows), -scores))[:k]
        return [(rows[position], float(scores[position])) for position in order]

    def _joined(self, vector: npt.NDArray[np.float32], terms: Sequence[Term], depth: int) -> tuple[list[int], Features]:
        """The best `depth` rows of each side, ascending, with all features of each (c, 3)."""
        near, _ = self._dense.search(vector, depth)
        total = self._dense.total
        rows = np.union1d(near, np.array(self._keywords.candidates(terms, total), dtype=np.int64))
        bm25 = self._keywords.scores(terms, total, rows.tolist())
        strongest = np.lexsort((rows, -bm25))[:depth]
        kept = np.isin(rows, near)
        kept[strongest[bm25[strongest] > 0]] = True
        rows, bm25 = rows[kept], bm25[kept]
        features = np.zeros((len(rows), 3), dtype=np.float32)
        features[:, 0] = self._dense.cosines(vector, rows.tolist())
        features[:, 1] = bm25
        if bm25.any():
            features[:, 2] = bm25 / bm25.max()
        return rows.tolist(), features

    def _hits(self, best: Sequence[tuple[int, float]], shown: Sequence[str]) -> list[Hit]:
        """The documents of rows, with the part of their text that has most of the words `shown`."""
        documents = self._reader.documents_of([row for row, _ in best])
        stems = sorted(set(shown))
        hits = []
        for rank, (row, score) in enumerate(best, start=1):
            found = documents[row]
            text = snippet(found.text, stems)
            hits.append(Hit(found.id, found.title, text, found.location, score, rank))
        return hits


def _checked(query: str) -> str:
    if not isinstance(query, str):
        raise DataError(f"a query is a text, not {type(query).__name__}")
    query = query.encode("utf-8", "replace").decode().replace("\0", " ")
    if not query.strip():
        raise DataError("the query is empty; type some words to search for")
    return query
