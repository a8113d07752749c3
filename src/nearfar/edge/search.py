"""The search index: a folder that answers queries, on a machine that needs nothing else."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np
import numpy.typing as npt

from nearfar.bundle.bundle import Bundle
from nearfar.edge.answer import RERANK_DEPTH, Answer, Rerankers, Wanted, answers, as_hits, checked_query
from nearfar.edge.distinct import Distinct
from nearfar.edge.fusion import NEUTRAL, check_fusion, fuse
from nearfar.edge.hit import Hit
from nearfar.edge.store.keyword import Term, distinct_words
from nearfar.edge.store.reader import StoredPassage, StoreReader
from nearfar.edge.store.schema import BUNDLE_FOLDER
from nearfar.edge.view import StoreView
from nearfar.errors import BundleError, DataError, StoreError

if TYPE_CHECKING:
    from nearfar.edge.build import BuildReport, Progress
    from nearfar.edge.derive import Engine
    from nearfar.edge.edit import IndexEditor
    from nearfar.edge.encoder import Encoder
    from nearfar.edge.keys import Ask, Key
    from nearfar.edge.rag.retrieve import Retrieved
    from nearfar.edge.reranker import Reranker
    from nearfar.embedder import Embedder
    from nearfar.sources.cut import Cutting
    from nearfar.sources.document import Document, Unchanged

Mode = Literal["hybrid", "dense", "keyword"]
_SHOWN = 8
CANDIDATES = 100
"""How many passages each side, embedding and keywords, hands to the fusion."""

Features = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
Ranked = list[tuple[int, float]]


@dataclass(frozen=True, slots=True)
class _Question:
    """One query, ready to be ranked: its text, its embedding, its words, and the mode."""

    text: str
    mode: Mode
    vector: npt.NDArray[np.float32] | None
    terms: Sequence[Term]


class SearchIndex:
    """Answers queries over the documents of one index.

    Opens for reading only, follows what another process writes meanwhile, and may be used from several threads (one
    query at a time). The encoder is loaded by the first query that needs it.
    """

    def __init__(self, path: Path, *, bundle: Bundle, threads: int = 1, ask: Ask | Key | None = None) -> None:
        """Open the index in `path`; users call `SearchIndex.open`.

        Args:
            path: folder of the index.
            bundle: the bundle that it was built with.
            threads: of the encoder.
            ask: gives the passphrase of an encrypted index.
        """
        self.path = path
        self.bundle = bundle
        self.report: BuildReport | None = None
        """What building did, where this index comes from `build`."""
        self._encoder: Encoder | None = None
        self._rerankers = Rerankers(threads)
        self._threads = threads
        self._lock = threading.Lock()
        self._fusion = bundle.manifest.fusion or NEUTRAL
        check_fusion(self._fusion)
        self._store = StoreView(path, ask=ask)
        if self._store.reader.bundle_digest != bundle.digest:
            self._store.close()
            raise StoreError(
                f"{path}: the index was made with bundle {self._store.reader.bundle_digest[:16]}, but holds "
                f"{bundle.digest[:16]}; build it again with --rebuild"
            )

    @classmethod
    def open(cls, path: str | Path, *, threads: int = 1, ask: Ask | Key | None = None) -> Self:
        """Open an index for searching, also on a medium that cannot be written.

        Args:
            path: folder of the index.
            threads: processors that one query may use.
            ask: gives the passphrase of an encrypted index, by default the terminal or NEARFAR_PASSPHRASE; or the key,
                where it is unlocked.

        Raises:
            StoreError: there is no index, it is damaged, or it does not fit the bundle beside it.
            BundleError: the bundle in it is damaged.
            KeyUnavailableError: it is encrypted, and its key cannot be had.
        """
        path = Path(path)
        StoreReader.check(path)  # says what is missing before the bundle does
        return cls(path, bundle=Bundle.open(path / BUNDLE_FOLDER), threads=threads, ask=ask)

    @classmethod
    def build(
        cls,
        bundle: Bundle | str | Path,
        documents: Iterable[Document | Unchanged],
        path: str | Path,
        *,
        rebuild: bool = False,
        dim: int | None = None,
        cutting: Cutting | None = None,
        engine: Engine | None = None,
        encrypt: str | None = None,
        ask: Ask | Key | None = None,
        teacher: Embedder | None = None,
        threads: int | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Make an index of documents, or bring one up to date.

        Afterwards the index holds exactly `documents`: those with a known id and the same text are kept as they are,
        those with another text are replaced, those that are no longer given are removed. Batches of about 512 passages
        are stored one by one; when the process is killed or the disk is full, what was stored can be searched, and the
        same call goes on from there. Other processes may search meanwhile. `edit` changes single documents.

        Args:
            bundle: what embeds; a copy is kept in the index.
            documents: all documents that the index shall hold; read once. One without an id has its content for one.
            path: folder of the index; new, empty, or an index.
            rebuild: throw away the index that is there, which another bundle may have made.
            dim: keep only so many components, one of the bundle's `dims`.
            cutting: how documents are cut that nobody has cut yet.
            engine: what finds vectors: `scan`, `hnsw`, or by their number `auto`; None keeps what the index has.
            encrypt: of a new index, or with `rebuild`, where its key is kept, as docs/encryption.md names the places; None does not encrypt.
            ask: gives a passphrase, by default the terminal or NEARFAR_PASSPHRASE; or the key, where it is unlocked.
            teacher: embeds the documents in place of the bundle, which must have been trained for it; what is added later
                without it goes through the bundle.
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

        from nearfar.edge.build import begun, build_index
        from nearfar.edge.derive import check_engine
        from nearfar.edge.folder import opened_writer
        from nearfar.edge.teacher import check_teacher, remember_teacher

        path = Path(path)
        bundle = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
        encoder = text_encoder(bundle, threads=threads or os.cpu_count() or 1, dim=dim)
        if engine is not None:
            check_engine(engine)
        if rebuild:
            documents = begun(documents)  # nothing is removed for a source that cannot be read
        if teacher is not None:
            check_teacher(bundle, teacher, encoder.dim)
        with opened_writer(path, bundle, encoder.dim, rebuild=rebuild, encrypt=encrypt, ask=ask) as writer:
            if engine is not None:
                writer.set_engine(engine)
            if teacher is not None:
                remember_teacher(writer, bundle)
            report = build_index(
                writer, teacher or encoder, documents, cutting=cutting, threads=threads, progress=progress
            )
            key = writer.key
        if bundle.manifest.teacher is not None and teacher is None:
            report.untaught = report.passages
        index = cls.open(path, ask=key)
        index.report = report
        return index

    @classmethod
    def edit(cls, path: str | Path, *, ask: Ask | Key | None = None, threads: int | None = None) -> IndexEditor:
        """Add, replace and remove single documents of an index; see `IndexEditor`.

        Raises:
            StoreError: there is no index, it is damaged, or another process is writing it.
        """
        from nearfar.edge.edit import IndexEditor

        return IndexEditor(Path(path), ask=ask, threads=threads)

    def __len__(self) -> int:
        """Number of documents."""
        with self._lock, self._store.current():
            return self._store.reader.documents()

    @property
    def passages(self) -> int:
        """Number of passages: what is found."""
        with self._lock, self._store.current():
            return self._store.reader.passages()

    @property
    def dim(self) -> int:
        """Number of components that the index keeps."""
        return self._store.reader.dim

    @property
    def engine(self) -> str:
        """What finds vectors now: `exact`, `scan` or `hnsw`."""
        with self._lock, self._store.current():
            return self._store.dense.engine

    @property
    def default_mode(self) -> Mode:
        """`hybrid` where the bundle has learned how to join the scores, else `dense`."""
        return "hybrid" if self.bundle.manifest.fusion else "dense"

    def search(
        self,
        query: str,
        k: int = 10,
        mode: Mode | None = None,
        *,
        where: str | None = None,
        min_score: float | None = None,
        diversity: float | None = None,
        distinct: Distinct = "text",
        rerank: Reranker | str | Path | None = None,
        rerank_depth: int = RERANK_DEPTH,
    ) -> list[Hit]:
        """Find the passages that answer a query.

        Args:
            query: any text that is not blank; nothing in it is an operator.
            k: how many to return at most.
            mode: `dense` ranks by the cosine of embeddings; `keyword` by BM25 over the query's words, and finds only
                passages that hold one; `hybrid` joins the best of both by the bundle's learned weights, or by neutral
                ones. None takes `default_mode`.
            where: a condition on metadata such as `year >= 2020 and lang = 'en'`; see docs/rag.md. Exact: every hit
                satisfies it, and as many are found as there are, up to k.
            min_score: leave out what scores less, in the score that the hits have.
            diversity: from 0 to 1, how much hits should differ from each other; see `diversity.mmr`.
            distinct: `text` leaves out copies and overlaps of better hits, `document` all but the best hit of a
                document, `none` nothing.
            rerank: a cross-encoder, or the bundle of one, that reads the best passages and orders them anew.
            rerank_depth: how many it reads; only they are returned.

        Returns:
            At most k hits, best first; in the order chosen, where `diversity` is given.

        Raises:
            DataError: the query is blank, k is below 1, an argument makes no sense, or no document has the key of a
                condition.
            StoreError: the index is damaged.
        """
        wanted = Wanted(k, where, min_score, diversity, distinct, rerank_depth)
        return self._search([query], mode, rerank, wanted)[0]

    def search_many(
        self,
        queries: Sequence[str],
        k: int = 10,
        mode: Mode | None = None,
        *,
        where: str | None = None,
        min_score: float | None = None,
        diversity: float | None = None,
        distinct: Distinct = "text",
        rerank: Reranker | str | Path | None = None,
        rerank_depth: int = RERANK_DEPTH,
    ) -> list[list[Hit]]:
        """Find the passages that answer each of several queries, in the same state of the index; see `search`.

        The queries are embedded together, which is faster than one by one.
        """
        wanted = Wanted(k, where, min_score, diversity, distinct, rerank_depth)
        return self._search(queries, mode, rerank, wanted)

    def retrieve(self, question: str, budget_tokens: int, **options: Any) -> Retrieved:
        """The passages that answer a question, as sources for a language model; see `nearfar.edge.rag.retrieve.retrieve`."""
        from nearfar.edge.rag.retrieve import retrieve

        return retrieve(self, question, budget_tokens, **options)

    def passages_of(self, id: str, first: int, last: int) -> list[StoredPassage]:
        """The passages of a document from one number to another, both included, in order; none where there are none."""
        with self._lock, self._store.current():
            return self._store.reader.passages_of(id, first, last)

    def candidates(self, query: str, depth: int = CANDIDATES) -> tuple[list[str], Features]:
        """What the fusion chooses from, for `fit_fusion` to learn from.

        Args:
            query: as in `search`.
            depth: how many passages each side gives.

        Returns:
            Ids of the documents of the c candidates and their features float32 (c, 3), columns as in `fusion.FEATURES`.
        """
        query = checked_query(query)
        with self._lock:
            vector = self._embed([query])[0]
            with self._store.current():
                rows, features = self._joined(vector, self._store.keywords.terms(query), depth, None)
                ids = self._store.reader.ids_of(rows)
        return [ids[row] for row in rows], features

    def close(self) -> None:
        """Let go of the files."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _search(
        self, queries: Sequence[str], mode: Mode | None, rerank: Reranker | str | Path | None, wanted: Wanted
    ) -> list[list[Hit]]:
        texts = [checked_query(query) for query in queries]
        mode = mode or self.default_mode
        if mode not in get_args(Mode):
            raise DataError(f"there is no search mode {mode!r}; choose one of {', '.join(get_args(Mode))}")
        reranker = self._rerankers.get(rerank)
        with self._lock:
            self._store.follow_rebuild()  # before the bundle is read, which may have been replaced
            vectors = None if mode == "keyword" or not texts else self._embed(texts)
            with self._store.current():
                allowed = self._store.allowed(wanted.where) if wanted.where else None
                found = []
                for number, text in enumerate(texts):
                    terms = self._store.keywords.terms(text) if mode != "dense" else ()
                    question = _Question(text, mode, None if vectors is None else vectors[number], terms)
                    ranking = partial(self._ranking, question, allowed)
                    best = answers(text, ranking, wanted, reranker, self._vectors)
                    found.append(as_hits(best, _shown(question)))
                return found

    def _vectors(self, passages: Sequence[StoredPassage]) -> npt.NDArray[np.float32]:
        return self._store.reader.codes_of([passage.row for passage in passages]).vectors()

    def _ranking(self, question: _Question, allowed: Rows | None, pool: int) -> Iterator[Answer]:
        """The passages of a question, best first, read when they are asked for; more are looked for when those run out."""
        given: set[int] = set()
        while True:
            ranked = self._ranked(question, pool, allowed)
            # A deeper look can find something better than what is out already; it comes after that, and none comes twice.
            fresh = [found for found in ranked if found[0] not in given]
            step = max(10, pool // 4)
            for start in range(0, len(fresh), step):
                part = fresh[start : start + step]
                passages = self._store.reader.passages_in([row for row, _ in part])
                # A damaged file of postings can name rows that are not there.
                yield from ((passages[row], score) for row, score in part if row in passages)
            if len(ranked) < pool:
                return
            given.update(row for row, _ in fresh)
            pool *= 4

    def _ranked(self, question: _Question, k: int, allowed: Rows | None) -> Ranked:
        store = self._store
        if question.vector is None:
            total = store.reader.passages()
            return store.keywords.best(question.terms, total, min(k, total), allowed)
        if question.mode == "dense":
            rows, cosines = store.dense.search(question.vector, k, allowed)
            return list(zip(rows.tolist(), cosines.tolist(), strict=True))
        joined, features = self._joined(question.vector, question.terms, max(k, CANDIDATES), allowed)
        scores = fuse(features, self._fusion)
        order = np.lexsort((np.array(joined), -scores))[:k]
        return [(joined[position], float(scores[position])) for position in order]

    def _joined(
        self, vector: npt.NDArray[np.float32], terms: Sequence[Term], depth: int, allowed: Rows | None
    ) -> tuple[list[int], Features]:
        """The best `depth` rows of each side, ascending, with all features of each (c, 3)."""
        dense, keywords = self._store.dense, self._store.keywords
        near = dense.candidates(vector, depth, allowed)
        worded = keywords.candidates(terms, dense.total, depth, allowed)
        codes = dense.codes_of(np.union1d(near, np.array(worded, dtype=np.int64)))
        rows = codes.rows
        features = np.zeros((len(rows), 3), dtype=np.float32)
        features[:, 0] = codes.scores(vector)
        features[:, 1] = keywords.scores(terms, dense.total, rows.tolist())
        if features[:, 1].any():
            features[:, 2] = features[:, 1] / features[:, 1].max()
        return rows.tolist(), features

    def _embed(self, queries: Sequence[str]) -> npt.NDArray[np.float32]:
        if self._encoder is None:
            from nearfar.edge.encoder import Encoder

            self._encoder = Encoder.open(self.bundle, threads=self._threads, dim=self._store.reader.dim)
        return self._encoder.embed(queries, side="query")


def text_encoder(bundle: Bundle, *, threads: int, dim: int | None) -> Encoder:
    """The encoder of a bundle that embeds texts.

    Raises:
        BundleError: it embeds something else, or has no such `dim`.
    """
    from nearfar.edge.encoder import Encoder

    if bundle.manifest.frontend.kind != "text":
        recommends = bundle.manifest.frontend.kind == "events"
        other = (
            "use nearfar record and nearfar recommend"
            if recommends
            else ("embed the items with nearfar.edge.Encoder and compare their vectors")
        )
        raise BundleError(
            f"{bundle.path}: this bundle is of kind {bundle.manifest.kind}, and an index is of texts: give the bundle of a text encoder, "
            f"or {other}"
        )
    return Encoder.open(bundle, threads=threads, dim=dim)


def _shown(question: _Question) -> list[str]:
    """Beginnings of the words that a snippet should show: the rarest, where that is known."""
    if question.mode == "dense":
        return distinct_words(question.text)[:_SHOWN]
    return [term.stem if term.word.startswith(term.stem) else term.word for term in question.terms[:_SHOWN]]
