"""The search index: a folder that answers queries, on a machine that needs nothing else."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, get_args

import numpy as np
import numpy.typing as npt

from nearfar.bundle.bundle import Bundle
from nearfar.edge.answer import RERANK_DEPTH, Answer, Rerankers, Wanted, answers, as_hits, checked_query
from nearfar.edge.distinct import Distinct
from nearfar.edge.fusion import NEUTRAL, check_fusion
from nearfar.edge.hit import Hit
from nearfar.edge.items.mixed import scales_of
from nearfar.edge.ranking import (
    CANDIDATES,
    Features,
    Mode,
    Question,
    allowed_rows,
    joined,
    ranked_passages,
    shares_of,
)
from nearfar.edge.store.reader import StoredPassage, StoreReader
from nearfar.edge.store.schema import BUNDLE_FOLDER
from nearfar.edge.towers import Towers, opened_towers
from nearfar.edge.view import StoreView
from nearfar.errors import DataError, StoreError

if TYPE_CHECKING:
    from nearfar.edge.build import BuildReport, Progress
    from nearfar.edge.derive import Engine
    from nearfar.edge.edit import IndexEditor
    from nearfar.edge.keys import Ask, Key
    from nearfar.edge.rag.retrieve import Retrieved
    from nearfar.edge.reranker import Reranker
    from nearfar.embedder import Embedder, Item
    from nearfar.sources.cut import Cutting
    from nearfar.sources.document import Document, Unchanged

__all__ = ["CANDIDATES", "Mode", "SearchIndex"]


class SearchIndex:
    """Answers queries over the documents of one index: texts, and with a bundle of several modalities items of all of them.

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
        self._rerankers = Rerankers(threads)
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
        self._towers = Towers.of_bundle(bundle, threads=threads, dim=self._store.reader.dim)

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
            BundleError: the bundle is damaged, or gives nothing that could be searched by cosine.
            DataError: there is no document that could be indexed, or one names a tower that the bundle has not.
        """
        from nearfar.edge.build import begun, build_index
        from nearfar.edge.derive import check_engine
        from nearfar.edge.folder import opened_writer
        from nearfar.edge.teacher import check_teacher, remember_teacher

        path = Path(path)
        bundle = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
        towers = opened_towers(bundle, threads=threads, dim=dim)
        if engine is not None:
            check_engine(engine)
        if rebuild:
            documents = begun(documents)  # nothing is removed for a source that cannot be read
        if teacher is not None:
            check_teacher(bundle, teacher, towers.dim)
        with opened_writer(path, bundle, towers.dim, rebuild=rebuild, encrypt=encrypt, ask=ask) as writer:
            if engine is not None:
                writer.set_engine(engine)
            if teacher is not None:
                remember_teacher(writer, bundle)
            report = build_index(
                writer, teacher or towers, documents, cutting=cutting, threads=threads, progress=progress
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
        query: Item,
        k: int = 10,
        mode: Mode | None = None,
        *,
        where: str | None = None,
        min_score: float | None = None,
        diversity: float | None = None,
        distinct: Distinct = "text",
        rerank: Reranker | str | Path | None = None,
        rerank_depth: int = RERANK_DEPTH,
        tower: str | None = None,
        among: Sequence[str] | None = None,
        fair: bool = True,
    ) -> list[Hit]:
        """Find the passages that answer a query, and in an index of several modalities the items.

        Args:
            query: any text that is not blank, nothing in which is an operator; or an item as `Encoder.embed` takes it, for the tower that
                is named (of series also the path of a file).
            k: how many to return at most.
            mode: `dense` ranks by the cosine of embeddings; `keyword` by BM25 over the query's words, and finds only
                passages that hold one; `hybrid` joins the best of both by the bundle's learned weights, or by neutral
                ones. None takes `default_mode`. A query that is no text is always dense.
            where: a condition on metadata such as `year >= 2020 and lang = 'en'`; see docs/rag.md. Exact: every hit
                satisfies it, and as many are found as there are, up to k.
            min_score: leave out what scores less, in the score that the hits have.
            diversity: from 0 to 1, how much hits should differ from each other; see `diversity.mmr`.
            distinct: `text` leaves out copies and overlaps of better hits, `document` all but the best hit of a
                document, `none` nothing.
            rerank: a cross-encoder, or the bundle of one, that reads the best passages and orders them anew.
            rerank_depth: how many it reads; only they are returned.
            tower: of a bundle of several modalities, the one that embeds the query; by default that of texts.
            among: find only items of these towers.
            fair: in mode `dense`, with a bundle of several modalities, rank items by how far they stand out of what chance gives between
                the two towers, in standard deviations (see `nearfar.edge.items.mixed`), which then is the score. Without it, and where the
                bundle has not measured that, by their cosines.

        Returns:
            At most k hits, best first; in the order chosen, where `diversity` is given.

        Raises:
            DataError: the query is blank or cannot be used, k is below 1, an argument makes no sense, there is no such tower, or no document
                has the key of a condition.
            StoreError: the index is damaged.
        """
        wanted = Wanted(k, where, min_score, diversity, distinct, rerank_depth, among, fair)
        return self._search([query], mode, rerank, wanted, tower)[0]

    def search_many(
        self,
        queries: Sequence[Item],
        k: int = 10,
        mode: Mode | None = None,
        *,
        where: str | None = None,
        min_score: float | None = None,
        diversity: float | None = None,
        distinct: Distinct = "text",
        rerank: Reranker | str | Path | None = None,
        rerank_depth: int = RERANK_DEPTH,
        tower: str | None = None,
        among: Sequence[str] | None = None,
        fair: bool = True,
    ) -> list[list[Hit]]:
        """Find the passages that answer each of several queries of one tower, in the same state of the index; see `search`.

        The queries are embedded together, which is faster than one by one.
        """
        wanted = Wanted(k, where, min_score, diversity, distinct, rerank_depth, among, fair)
        return self._search(queries, mode, rerank, wanted, tower)

    @property
    def towers(self) -> Mapping[str, str]:
        """Tower -> kind of its items: `text`, `image`, `audio`, `series` or `table`; empty of an index of texts alone."""
        return self._towers.kinds if self._towers.tagged else {}

    def tower_for(self, kind: str, name: str | None = None) -> str | None:
        """The tower that embeds a query of a kind, for `search`; None of texts in an index of texts alone.

        Raises:
            DataError: there is none; or several, and no name.
        """
        if kind == "text" and name is None and not self._towers.tagged:
            return None
        return self._towers.of_kind(kind, name)

    def retrieve(self, question: str, budget_tokens: int, **options: Any) -> Retrieved:
        """The passages that answer a question, as sources for a language model; see `nearfar.edge.rag.retrieve.retrieve`. Items that are no
        texts are none.
        """
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
            vector = self._towers.embed(self._towers.of_query([query], None), [query], "query")[0]
            with self._store.current():
                rows, features = joined(self._store, vector, self._store.keywords.terms(query), depth, None)
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
        self,
        queries: Sequence[Item],
        mode: Mode | None,
        rerank: Reranker | str | Path | None,
        wanted: Wanted,
        tower: str | None,
    ) -> list[list[Hit]]:
        tower = self._towers.of_query(queries, tower)
        texts = [checked_query(query) for query in queries] if self._towers.kinds[tower] == "text" else None
        mode = self._mode(mode, words=texts is not None)
        for name in wanted.among or ():
            self._towers.check(name)
        if rerank is not None and texts is None:
            raise DataError(f"a cross-encoder reads texts, and the query is for tower {tower!r}: leave out rerank")
        reranker = self._rerankers.get(rerank)
        with self._lock:
            self._store.follow_rebuild()  # before the bundle is read, which may have been replaced
            vectors = None
            if mode != "keyword" and len(queries):
                vectors = self._towers.embed(tower, texts or queries, "query")
            with self._store.current():
                allowed = allowed_rows(self._store, self._towers, wanted)
                scales = scales_of(self.bundle.manifest, tower) if wanted.fair and mode == "dense" else {}
                shares = shares_of(self._store, self._towers, wanted, allowed, scales)
                found = []
                for number, text in enumerate(texts or [""] * len(queries)):
                    terms = self._store.keywords.terms(text) if mode != "dense" else ()
                    vector = None if vectors is None else vectors[number]
                    question = Question(text, mode, vector, terms, allowed, shares)
                    ranking = partial(ranked_passages, self._store, self._fusion, question)
                    best = answers(text, ranking, wanted, reranker, self._vectors, self._towers.items)
                    found.append(as_hits(best, question.shown(), self._thumbnails(best)))
                return found

    def _mode(self, mode: Mode | None, *, words: bool) -> Mode:
        if mode not in (None, *get_args(Mode)):
            raise DataError(f"there is no search mode {mode!r}; choose one of {', '.join(get_args(Mode))}")
        if not words:
            if mode not in (None, "dense"):
                raise DataError(f"mode {mode} looks for words, and the query is no text: leave the mode out")
            return "dense"
        return mode or self.default_mode

    def _thumbnails(self, found: Sequence[Answer]) -> Mapping[str, bytes] | None:
        if not self._towers.tagged:
            return None
        return self._store.reader.thumbnails_of(list({passage.id for passage, _ in found}))

    def _vectors(self, passages: Sequence[StoredPassage]) -> npt.NDArray[np.float32]:
        return self._store.reader.codes_of([passage.row for passage in passages]).vectors()
