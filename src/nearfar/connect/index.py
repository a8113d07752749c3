"""Search an index that was pushed to a server, with the same call as one on the device."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from nearfar.bundle.bundle import Bundle
from nearfar.connect.address import parse_address
from nearfar.connect.candidates import candidates, stored, vectors_of
from nearfar.connect.outgoing import passage_key
from nearfar.connect.server import About, Question, Server, Vector, connect
from nearfar.connect.stems import Stemmer
from nearfar.edge.answer import RERANK_DEPTH, Rerankers, Wanted, answers, as_hits, checked_query
from nearfar.edge.distinct import Distinct
from nearfar.edge.fusion import NEUTRAL, check_fusion
from nearfar.edge.hit import Hit
from nearfar.edge.rag.texts import text_towers
from nearfar.edge.search import Mode
from nearfar.edge.store.keyword_terms import MAX_TERMS, distinct_words
from nearfar.edge.store.reader import StoredPassage
from nearfar.edge.where import check_keys, parse
from nearfar.errors import DataError, StoreError

if TYPE_CHECKING:
    from nearfar.edge.encoder import Encoder
    from nearfar.edge.rag.retrieve import Retrieved
    from nearfar.edge.reranker import Reranker

_log = logging.getLogger(__name__)


def open_index(address: str, *, bundle: str | Path | Bundle, threads: int = 1) -> ServerIndex:
    """Open an index on a server for searching.

    Args:
        address: as in `push`.
        bundle: the one that embedded the passages; it embeds the queries on this machine.
        threads: of the encoder.

    Raises:
        DataError: the address is none.
        StoreError: the server cannot be reached, nothing was pushed there, or another bundle made it.
        BundleError: the bundle is damaged.
        MissingExtraError: the packages for this server are not installed.
    """
    parsed = parse_address(address)
    opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    server = connect(parsed)
    try:
        return ServerIndex(server, opened, place=str(parsed), threads=threads)
    except BaseException:
        server.close()
        raise


class ServerIndex:
    """Answers queries over the passages on one server; `SearchIndex` is the same on the device.

    May be used from several threads (one query at a time). What it does not do: a mode that the server has not is
    refused, and so is a condition that the server cannot say.
    """

    def __init__(self, server: Server, bundle: Bundle, *, place: str, threads: int = 1) -> None:
        """Use a reached server; users call `open_index`.

        Args:
            server: closed together with this.
            bundle: embeds the queries.
            place: the server's name in messages.
            threads: of the encoder.
        """
        self.bundle = bundle
        self._place = place
        self._server = server
        self._threads = threads
        self._encoder: Encoder | None = None
        self._rerankers = Rerankers(threads)
        self._stemmer = Stemmer()
        self._lock = threading.Lock()
        self._tower = next(iter(text_towers(bundle)), None)
        self._fusion = bundle.manifest.fusion or NEUTRAL
        check_fusion(self._fusion)
        if not self._about().whole:
            _log.warning("%s: the last push has not come to its end; what is missing is not found", place)

    def __len__(self) -> int:
        """Number of passages when the last push ended."""
        with self._lock:
            return self._about().passages

    @property
    def modes(self) -> tuple[Mode, ...]:
        """The modes that this server has."""
        return self._server.modes

    @property
    def default_mode(self) -> Mode:
        """`hybrid` where the server has it and the bundle has learned how to join the scores, else `dense`."""
        return "hybrid" if self.bundle.manifest.fusion and "hybrid" in self.modes else "dense"

    def search_many(
        self, queries: Sequence[str], k: int = 10, mode: Mode | None = None, **options: Any
    ) -> list[list[Hit]]:
        """Find the passages that answer each of several queries, one after the other; `options` are those of `search`."""
        return [self.search(query, k, mode, **options) for query in queries]

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
        """Find the passages that answer a query; see `SearchIndex.search`.

        Args:
            query: any text that is not blank; nothing in it is an operator.
            k: how many to return at most.
            mode: one of `modes`. None takes `default_mode`.
            where: a condition on the metadata.
            min_score: leave out what scores less.
            diversity: from 0 to 1, how much hits should differ from each other.
            distinct: `text` leaves out copies and overlaps of better hits, `document` all but the best hit of a
                document, `none` nothing.
            rerank: a cross-encoder, or the bundle of one, that reads the best passages and orders them anew.
            rerank_depth: how many it reads; only they are returned.

        Returns:
            At most k hits, best first.

        Raises:
            DataError: the query is blank, a number makes no sense, no document has the key of a condition, or the
                server has not the mode or cannot say the condition.
            StoreError: the server cannot be reached, or another bundle's index has taken the place of this one.
        """
        query = checked_query(query)
        mode = mode or self.default_mode
        self._check_mode(mode)
        wanted = Wanted(k, where, min_score, diversity, distinct, rerank_depth)
        condition = parse(where) if where else None
        reranker = self._rerankers.get(rerank)
        with self._lock:
            about = self._about()
            vector = None if mode == "keyword" else self._embed(query, about.dim)
            question = Question(query, vector, mode, condition, about)
            ranking = partial(candidates, self._server, question, self._fusion)
            best = answers(query, ranking, wanted, reranker, partial(vectors_of, self._server))
            if condition and not best and about.whole:
                check_keys(condition, lambda _sql, _given: [(key,) for key in about.keys])
            return as_hits(best, self._shown(query, mode), None if self._tower is None else {})

    def passages_of(self, id: str, first: int, last: int) -> list[StoredPassage]:
        """The passages of a document from one number to another, both included, in order; see `SearchIndex.passages_of`."""
        keys = [passage_key(id, number) for number in range(first, last + 1)]
        with self._lock:
            there = self._server.passages(keys, vectors=False)
        return [stored(there[key]) for key in keys if key in there]

    def retrieve(self, question: str, budget_tokens: int, **options: Any) -> Retrieved:
        """The passages that answer a question, as sources for a language model; see `nearfar.edge.rag.retrieve.retrieve`."""
        from nearfar.edge.rag.retrieve import retrieve

        return retrieve(self, question, budget_tokens, **options)

    def close(self) -> None:
        """Let go of the connection."""
        self._stemmer.close()
        self._server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _about(self) -> About:
        about = self._server.about()
        if about is None:
            raise StoreError(
                f"{self._place}: nothing was pushed there; push an index with: nearfar push INDEX {self._place}"
            )
        if about.bundle != self.bundle.digest:
            raise StoreError(
                f"{self._place}: the index there was made with bundle {about.bundle[:16]}, and {self.bundle.path} is "
                f"{self.bundle.digest[:16]}; give the bundle that made it, or push again"
            )
        return about

    def _check_mode(self, mode: str) -> None:
        if mode in self.modes:
            return
        if mode in {"hybrid", "keyword"}:
            raise DataError(
                f"{self._place}: this server searches by embeddings only ({', '.join(self.modes)}), not {mode}; search with "
                "mode dense, or push to PostgreSQL, which has all modes"
            )
        raise DataError(f"there is no search mode {mode!r}; choose one of {', '.join(self.modes)}")

    def _embed(self, query: str, dim: int) -> Vector:
        if self._encoder is None:
            from nearfar.edge.encoder import Encoder

            self._encoder = Encoder.open(self.bundle, threads=self._threads, dim=dim, tower=self._tower)
        vector: Vector = self._encoder.embed([query], side="query")[0]
        return vector

    def _shown(self, query: str, mode: Mode) -> list[str]:
        """Beginnings of the words that a snippet should show."""
        words = distinct_words(query)[:MAX_TERMS]
        if mode == "dense":
            return words
        stems = (next(iter(places), word) for word, places in zip(words, self._stems(words), strict=True))
        return [stem if word.startswith(stem) else word for word, stem in zip(words, stems, strict=True)]

    def _stems(self, words: list[str]) -> list[dict[str, list[int]]]:
        return self._stemmer.positions([("", word) for word in words])
