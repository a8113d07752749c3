"""Asking PostgreSQL: nearest vectors by pgvector, BM25 by the words that were sent, conditions by JSON paths."""

from __future__ import annotations

import math
import uuid
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nearfar.connect.pgvector_where import Sql, texts_path, where_sql
from nearfar.connect.server import About, Question, Scored, Vector
from nearfar.connect.stems import Stemmer, quoted
from nearfar.edge.store.keyword_terms import MAX_TERMS, distinct_words
from nearfar.errors import DataError

if TYPE_CHECKING:
    import psycopg
    from psycopg import sql

_EXACT = 20_000
"""Passages that a condition may leave for all their vectors to be compared; where it leaves more, the graph is walked."""
_WALKED = 1000
"""The longest list that pgvector keeps while it walks its graph."""
_FOUND = 20_000
"""Passages that may hold the words by which candidates are found; the rarest words are taken first."""
_RANKED = 300
"""Candidates whose BM25 is computed: those that hold the most telling words. It takes PostgreSQL 50 microseconds each."""
_LIKE_TEXTS = 100_000
_K1, _B = 1.2, 0.75  # FTS5's


class _Terms(NamedTuple):
    """The words of a query that tell something, rarest first; how many passages hold each; their weights in BM25."""

    stems: list[str]
    counts: list[int]
    weights: list[float]

    def affordable(self) -> int:
        """How many of the words, rarest first, are together in few enough passages; at least one."""
        return max(1, sum(total <= _FOUND for total in accumulate(self.counts)))


class PostgresSearch:
    """Scores the passages of one table."""

    def __init__(
        self, connection: psycopg.Connection[Any], table: sql.Identifier, terms: sql.Identifier, stemmer: Stemmer
    ) -> None:
        """Ask over a connection in autocommit mode about `table`, whose words are counted in `terms`."""
        self._connection = connection
        self._table = table
        self._terms_table = terms
        self._stemmer = stemmer

    def scored(self, question: Question, depth: int) -> Scored:
        """See `Server.scored`; everything is read from one state of the table."""
        vector, mode, about = question.vector, question.mode, question.about
        with self._connection.transaction():
            self._connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            condition: Sql = where_sql(question.where, self._texts_of) if question.where else ("TRUE", [])
            near: dict[uuid.UUID, float] = {}
            strong: dict[uuid.UUID, float] = {}
            full = False
            if vector is not None and mode != "keyword":
                near = self._near(vector, depth, condition)
                full = len(near) >= depth
            if mode != "dense":
                terms = self._terms(question.query, about)
                ranked = max(_RANKED, 3 * depth)
                keys = self._holders(terms, ranked, condition)
                full = full or len(keys) >= ranked or len(keys) > depth
                bm25 = self._bm25([*keys, *near], terms, about)
                best = sorted(bm25, key=lambda key: (-bm25[key], key))[:depth]
                strong = {key: bm25[key] for key in {*best, *near} if key in bm25}
            if vector is not None and mode == "hybrid":
                near |= self._products(vector, [key for key in strong if key not in near])
        found = sorted({*near, *strong})
        return Scored(
            found,
            np.array([near.get(key, 0.0) for key in found], dtype=np.float32),
            np.array([strong.get(key, 0.0) for key in found], dtype=np.float32),
            full,
        )

    def _near(self, vector: Vector, depth: int, condition: Sql) -> dict[uuid.UUID, float]:
        """The `depth` passages with the largest inner products."""
        text, given = condition
        exact = depth > _WALKED // 2
        if text != "TRUE" and not exact:
            counting = f"SELECT count(*) FROM (SELECT FROM {{table}} WHERE {text} LIMIT %s) AS allowed"
            ((allowed,),) = self._run(counting, [*given, _EXACT + 1])
            exact = allowed <= _EXACT
        if not exact:
            # The second and third: go on where a condition, or a passage that was deleted, leaves too few.
            self._run(
                "SELECT set_config('hnsw.ef_search', %s, true), set_config('hnsw.iterative_scan', 'strict_order', true), "
                "set_config('hnsw.max_scan_tuples', %s, true)",
                [str(min(max(100, 2 * depth), _WALKED)), str(10 * _EXACT)],
            )
        # Adding nothing hides the order from the graph, so that all are compared.
        order = "(embedding <#> %s::halfvec) + 0" if exact else "embedding <#> %s::halfvec"
        given_vector = f"[{','.join(map(repr, vector.tolist()))}]"
        query = f"SELECT key, -(embedding <#> %s::halfvec) FROM {{table}} WHERE {text} ORDER BY {order} LIMIT %s"
        return dict(self._run(query, [given_vector, *given, given_vector, depth]))

    def _products(self, vector: Vector, keys: Sequence[uuid.UUID]) -> dict[uuid.UUID, float]:
        given_vector = f"[{','.join(map(repr, vector.tolist()))}]"
        query = "SELECT key, -(embedding <#> %s::halfvec) FROM {table} WHERE key = ANY(%s)"
        return dict(self._run(query, [given_vector, list(keys)]))

    def _terms(self, query: str, about: About) -> _Terms:
        stems = list(self._stemmer.positions([("", " ".join(distinct_words(query)))])[0])
        counted = dict(self._run("SELECT term, passages FROM {terms} WHERE term = ANY(%s)", [stems]))
        # A word that was not counted came with a push that has not ended.
        counts = {stem: max(int(counted.get(stem, 1)), 1) for stem in stems}
        rarest = sorted(stems, key=lambda stem: (counts[stem], stem))[:MAX_TERMS]
        # None were counted where the first push has not ended.
        total = about.passages or max(1, int(self._run("SELECT count(*) FROM {table}", []).fetchall()[0][0]))
        telling = [stem for stem in rarest if counts[stem] <= total / 2] or rarest[:1]
        weights = [math.log(max(total - counts[stem] + 0.5, 0.5) / (counts[stem] + 0.5)) for stem in telling]
        return _Terms(telling, [counts[stem] for stem in telling], [max(weight, 1e-6) for weight in weights])

    def _holders(self, terms: _Terms, limit: int, condition: Sql) -> list[uuid.UUID]:
        """The passages that hold the rarest words, most telling first."""
        if not terms.stems:
            return []
        text, given = condition
        words = [quoted(stem) for stem in terms.stems[: terms.affordable()]]
        strength = " + ".join(["(words @@ %s::tsquery)::int * %s::float8"] * len(words))
        query = f"""SELECT key FROM {{table}} WHERE words @@ %s::tsquery AND ({text})
                    ORDER BY {strength} DESC, key LIMIT %s"""
        weighted = [value for pair in zip(words, terms.weights, strict=False) for value in pair]
        return [key for (key,) in self._run(query, [" | ".join(words), *given, *weighted, limit])]

    def _bm25(self, keys: Sequence[uuid.UUID], terms: _Terms, about: About) -> dict[uuid.UUID, float]:
        """BM25 of those passages that hold a word (Robertson et al., Okapi at TREC-3, 1994; k1 and b of FTS5)."""
        mean = about.words / about.passages if about.words else 1.0
        query = f"""SELECT p.key, sum(t.weight * f.n * {_K1 + 1} / (f.n + {_K1} * ({1 - _B} + {_B} * p.length / %s)))
                    FROM {{table}} AS p, unnest(p.words) AS u, unnest(%s::text[], %s::float8[]) AS t (stem, weight),
                         LATERAL (SELECT cardinality(u.positions)::float8 AS n) AS f
                    WHERE p.key = ANY(%s) AND u.lexeme = t.stem GROUP BY p.key"""
        return dict(self._run(query, [mean, terms.stems, terms.weights, list(keys)]))

    def _texts_of(self, key: str) -> list[str]:
        query = (
            "SELECT DISTINCT v #>> ARRAY[]::text[] FROM {table}, jsonb_path_query(metadata, %s::jsonpath) AS v LIMIT %s"
        )
        found = [text for (text,) in self._run(query, [texts_path(key), _LIKE_TEXTS + 1])]
        if len(found) > _LIKE_TEXTS:
            raise DataError(
                f"the condition asks with LIKE for {key}, which has more than {_LIKE_TEXTS:,} different texts on the server; "
                "use = or IN, or < and >="
            )
        return found

    def _run(self, query: str, given: Sequence[Any]) -> psycopg.Cursor[Any]:
        from psycopg import sql

        statement = sql.SQL(query).format(table=self._table, terms=self._terms_table)
        return self._connection.execute(statement, given)
