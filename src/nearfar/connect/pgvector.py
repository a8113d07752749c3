"""PostgreSQL with pgvector: one table of passages with their vectors, words and metadata, open to anybody's SQL."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from nearfar.connect.address import PostgresAddress
from nearfar.connect.outgoing import Outgoing
from nearfar.connect.pgvector_search import PostgresSearch
from nearfar.connect.pgvector_table import COLUMNS, FIELDS, NAMES, TABLE, row
from nearfar.connect.server import About, Found, Question, Scored
from nearfar.connect.stems import Stemmer
from nearfar.edge.search import Mode
from nearfar.errors import MissingExtraError, StoreError

if TYPE_CHECKING:
    import psycopg
    from psycopg import sql

_OLDEST = (0, 8)
"""The first pgvector that goes on searching its graph when a condition has thrown away what it found."""
_GRAPH_DIMS = 4000
"""Components of a `halfvec` that pgvector can build a graph over; longer vectors are all compared."""


class Postgres:
    """One table on one server; see `Server`."""

    modes: tuple[Mode, ...] = ("hybrid", "dense", "keyword")

    def __init__(self, connection: psycopg.Connection[Any], address: PostgresAddress) -> None:
        """Use a connection in autocommit mode; users call `connect`."""
        from psycopg import sql

        self._connection = connection
        self._address = address
        schema = (address.schema,) if address.schema else ()
        self._table = sql.Identifier(*schema, address.table)
        self._terms = sql.Identifier(*schema, f"{address.table}_terms")
        self._stemmer = Stemmer()
        self._search = PostgresSearch(connection, self._table, self._terms, self._stemmer)

    @classmethod
    def connect(cls, address: PostgresAddress) -> Postgres:
        """Reach the server.

        Raises:
            StoreError: it cannot be reached, or refuses.
            MissingExtraError: psycopg is not installed.
        """
        try:
            import psycopg
        except ImportError as error:
            raise MissingExtraError("pgvector", "an index on PostgreSQL") from error
        told: dict[str, Any] = {"connect_timeout": "10", "application_name": "nearfar", **dict(address.connection)}
        try:
            return cls(psycopg.connect(autocommit=True, **told), address)
        except psycopg.Error as error:
            said = " ".join(str(error).split())
            raise StoreError(
                f"{address}: cannot connect ({said}); check host, port, database and user, and that the password is in "
                "PGPASSWORD or ~/.pgpass"
            ) from error

    def about(self) -> About | None:
        """See `Server`."""
        with self._explained():
            name = self._table.as_string(self._connection)
            query = "SELECT to_regclass(%s) IS NOT NULL, obj_description(to_regclass(%s), 'pg_class')"
            there, comment = self._connection.execute(query, (name, name)).fetchall()[0]
        if not there:
            return None
        try:
            about = About.parse(json.loads(comment or "null"))
        except ValueError:
            about = None
        if about is None:
            raise StoreError(
                f"{self._address}: the table is there and nearfar did not make it (its comment says so otherwise); "
                "choose another name"
            )
        return about

    def lock(self) -> None:
        """See `Server`."""
        with self._explained():
            name = f"nearfar {self._table.as_string(self._connection)}"
            query = "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))"
            ((got,),) = self._connection.execute(query, (name,)).fetchall()
        if not got:
            raise StoreError(f"{self._address}: another push is at work there; try again when it has finished")

    def create(self, about: About) -> None:
        """See `Server`."""
        with self._explained(), self._connection.transaction():
            self._need_extension()
            self._run(TABLE, dim=about.dim)
            self._run("CREATE TABLE {terms} (term text PRIMARY KEY, passages bigint NOT NULL)")
            self.describe(about)

    def drop(self) -> None:
        """See `Server`."""
        with self._explained(), self._connection.transaction():
            self._run("DROP TABLE {table}")
            self._run("DROP TABLE IF EXISTS {terms}")

    def describe(self, about: About) -> None:
        """See `Server`."""
        with self._explained():
            self._run("COMMENT ON TABLE {table} IS {comment}", comment=json.dumps(about.dump()))

    def digests(self, keys: Sequence[uuid.UUID]) -> dict[uuid.UUID, bytes]:
        """See `Server`."""
        with self._explained():
            return dict(self._run("SELECT key, digest FROM {table} WHERE key = ANY(%s)", [list(keys)]).fetchall())

    def upsert(self, passages: Sequence[Outgoing]) -> None:
        """See `Server`."""
        from psycopg import sql

        stems = self._stemmer.positions([(passage.fields["heading"], passage.fields["text"]) for passage in passages])
        with self._explained(), self._connection.transaction():
            self._run("CREATE TEMPORARY TABLE incoming (LIKE {table}) ON COMMIT DROP")
            copy = sql.SQL(f"COPY incoming ({COLUMNS}) FROM STDIN")
            with self._connection.cursor() as cursor, cursor.copy(copy) as rows:
                for passage, places in zip(passages, stems, strict=True):
                    rows.write_row(row(passage, places))
            changes = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS.split(", ")[1:])
            self._run(
                f"INSERT INTO {{table}} ({COLUMNS}) SELECT {COLUMNS} FROM incoming ON CONFLICT (key) DO UPDATE SET {changes}"
            )

    def keys(self, block: int) -> Iterator[list[uuid.UUID]]:
        """See `Server`."""
        last = uuid.UUID(int=0)
        while True:
            with self._explained():
                query = "SELECT key FROM {table} WHERE key > %s ORDER BY key LIMIT %s"
                found = [key for (key,) in self._run(query, [last, block])]
            if not found:
                return
            yield found
            last = found[-1]

    def remove(self, keys: Sequence[uuid.UUID]) -> None:
        """See `Server`."""
        with self._explained():
            self._run("DELETE FROM {table} WHERE key = ANY(%s)", [list(keys)])

    def settle(self, progress: Callable[[], None]) -> tuple[int, int]:
        """See `Server`."""
        progress()
        with self._explained():
            ((dim,),) = self._run(
                "SELECT atttypmod FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attname = 'embedding'",
                [self._table.as_string(self._connection)],
            )
            self._index("words", "USING gin (words)")
            self._index("metadata", "USING gin (metadata jsonb_path_ops)")
            if dim <= _GRAPH_DIMS:
                self._index("hnsw", "USING hnsw (embedding halfvec_ip_ops)")
            self._count_terms()
            self._run("ANALYZE {table}")
            ((count, words),) = self._run("SELECT count(*), coalesce(sum(length), 0) FROM {table}")
            return int(count), int(words)

    def scored(self, question: Question, depth: int) -> Scored:
        """See `Server`."""
        with self._explained():
            return self._search.scored(question, depth)

    def passages(self, keys: Sequence[uuid.UUID], *, vectors: bool) -> dict[uuid.UUID, Found]:
        """See `Server`."""
        embedding = "embedding::real[]" if vectors else "NULL"
        query = f"SELECT key, {embedding}, {FIELDS} FROM {{table}} WHERE key = ANY(%s)"
        with self._explained():
            rows = self._run(query, [list(keys)]).fetchall()
        return {
            key: Found(
                dict(zip(NAMES, fields, strict=True)),
                np.array(vector, dtype=np.float32) if vectors else None,
            )
            for key, vector, *fields in rows
        }

    def close(self) -> None:
        """See `Server`."""
        self._stemmer.close()
        self._connection.close()

    def _run(self, query: str, given: Sequence[Any] = (), **parts: Any) -> psycopg.Cursor[Any]:
        """Run a statement in which `{table}`, `{terms}` and the `parts` are filled in."""
        return self._connection.execute(self._statement(query, parts), given or None)

    def _statement(self, query: str, parts: dict[str, Any]) -> sql.Composed:
        from psycopg import sql

        filled = {name: part if isinstance(part, sql.Composable) else sql.Literal(part) for name, part in parts.items()}
        return sql.SQL(query).format(table=self._table, terms=self._terms, **filled)

    def _index(self, name: str, how: str) -> None:
        from psycopg import sql

        self._run(
            f"CREATE INDEX IF NOT EXISTS {{index}} ON {{table}} {how}",
            index=sql.Identifier(f"{self._address.table}_{name}"),
        )

    def _count_terms(self) -> None:
        """Count in how many passages each word is. Searches meanwhile see the counts of before."""
        from psycopg import sql

        words = sql.SQL("SELECT words FROM {}").format(self._table).as_string(self._connection)
        with self._connection.transaction():
            self._run(
                "CREATE TEMPORARY TABLE counted ON COMMIT DROP AS SELECT word, ndoc FROM ts_stat({words})", words=words
            )
            self._run("DELETE FROM {terms} t WHERE NOT EXISTS (SELECT FROM counted c WHERE c.word = t.term)")
            self._run(
                "INSERT INTO {terms} AS t SELECT word, ndoc FROM counted ON CONFLICT (term) DO UPDATE "
                "SET passages = excluded.passages WHERE t.passages <> excluded.passages"
            )

    def _need_extension(self) -> None:
        import psycopg

        found = self._connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()
        if found is None:
            try:
                self._connection.execute("CREATE EXTENSION vector")
            except psycopg.Error as error:
                said = " ".join(str(error).split())
                raise StoreError(
                    f"{self._address}: the server has no pgvector, and it could not be added ({said}); have it installed, "
                    "and let an administrator run CREATE EXTENSION vector in this database"
                ) from error
            return self._need_extension()
        if tuple(int(part) for part in found[0].split(".")[:2]) < _OLDEST:
            raise StoreError(
                f"{self._address}: the server has pgvector {found[0]}, and {'.'.join(map(str, _OLDEST))} is needed; have it "
                "upgraded, and run ALTER EXTENSION vector UPDATE"
            )
        return None

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn the server's errors into one for the user."""
        import psycopg

        try:
            yield
        except psycopg.OperationalError as error:
            raise StoreError(
                f"{self._address}: the server has gone or has no room ({_said(error)}); what was stored is kept, so run the "
                "same command again"
            ) from error
        except psycopg.Error as error:
            raise StoreError(f"{self._address}: the server refuses ({_said(error)})") from error


def _said(error: Exception) -> str:
    return " ".join(str(error).split())
