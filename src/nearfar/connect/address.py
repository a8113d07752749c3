"""Where a pushed index lives: `qdrant://host:6333/collection` or `pgvector://user@host:5432/db?table=name`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from nearfar.errors import DataError

QDRANT_PORT = 6333
_SCHEMES = ("qdrant", "qdrant+https", "pgvector")
_TABLE = re.compile(r"[a-z_][a-z0-9_]{0,47}")
_COLLECTION = re.compile(r"[A-Za-z0-9_.-]{1,255}")
# What libpq may be told besides the address. Anything that is a secret is not among them.
_POSTGRES_OPTIONS = ("host", "port", "sslmode", "sslrootcert", "sslcert", "sslkey", "connect_timeout", "passfile")


@dataclass(frozen=True, slots=True)
class QdrantAddress:
    """A collection of a Qdrant server.

    Attributes:
        url: of the server, for the client.
        collection: its name.
    """

    url: str
    collection: str

    def __str__(self) -> str:
        scheme, _, rest = self.url.partition("://")
        return f"{'qdrant+https' if scheme == 'https' else 'qdrant'}://{rest}/{self.collection}"


@dataclass(frozen=True, slots=True)
class PostgresAddress:
    """A table of a PostgreSQL database.

    Attributes:
        connection: what libpq is told, name and value; what is missing it takes from the environment (PGUSER, PGHOST...).
        schema: of the table; empty for the first one of the search path.
        table: its name.
    """

    connection: tuple[tuple[str, str], ...]
    schema: str
    table: str

    def __str__(self) -> str:
        told = dict(self.connection)
        user = f"{told['user']}@" if "user" in told else ""
        host, port = told.get("host", ""), told.get("port")
        place = host if not host.startswith("/") else ""
        where = f"?host={host}&table=" if host.startswith("/") else "?table="
        name = f"{self.schema}.{self.table}" if self.schema else self.table
        return f"pgvector://{user}{place}{f':{port}' if port else ''}/{told.get('dbname', '')}{where}{name}"


Address = QdrantAddress | PostgresAddress


def is_address(text: str) -> bool:
    """Whether this names a server rather than a folder."""
    return "://" in text


def parse_address(text: str) -> Address:
    """Read the address of a pushed index.

    Args:
        text: `qdrant://host:6333/collection`, `qdrant+https://...` for TLS, or `pgvector://user@host:5432/db?table=name`.
            A socket's folder, a schema and libpq's TLS options go behind the question mark: `?host=/run/postgresql&
            table=search.docs&sslmode=verify-full`.

    Raises:
        DataError: it is not such an address, or it holds a password.
    """
    parts = urlsplit(text)
    if parts.scheme not in _SCHEMES:
        raise DataError(
            f"{_without_secret(parts)}: not the address of a server; write qdrant://host:6333/collection or "
            "pgvector://user@host:5432/database?table=name"
        )
    if parts.password is not None:
        raise DataError(
            f"{_without_secret(parts)}: the address holds a password, which others on this machine could read; leave it out "
            "and set QDRANT_API_KEY, or PGPASSWORD, or keep it in ~/.pgpass"
        )
    try:
        port = parts.port
    except ValueError:
        raise DataError(f"{text}: the port must be a number from 0 to 65535") from None
    return _postgres(text, parts, port) if parts.scheme == "pgvector" else _qdrant(text, parts, port)


def _qdrant(text: str, parts: SplitResult, port: int | None) -> QdrantAddress:
    collection = unquote(parts.path.strip("/"))
    if not parts.hostname or not _COLLECTION.fullmatch(collection):
        raise DataError(f"{text}: say the host and the collection, as in qdrant://localhost:{QDRANT_PORT}/documents")
    if parts.query or parts.fragment or parts.username:
        raise DataError(f"{text}: the address of a collection is qdrant://host:port/collection and nothing more")
    scheme = "https" if parts.scheme == "qdrant+https" else "http"
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return QdrantAddress(f"{scheme}://{host}:{port or QDRANT_PORT}", collection)


def _postgres(text: str, parts: SplitResult, port: int | None) -> PostgresAddress:
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    schema, _, table = options.pop("table", "").rpartition(".")
    if not _TABLE.fullmatch(table) or (schema and not _TABLE.fullmatch(schema)):
        raise DataError(
            f"{text}: say the table behind the question mark, as in ?table=documents or ?table=schema.documents "
            "(lower-case letters, digits and _; at most 48)"
        )
    unknown = [name for name in options if name not in _POSTGRES_OPTIONS]
    if unknown:
        # The value is not repeated: it may be a password.
        raise DataError(
            f"{_without_secret(parts)}: an address may not say {unknown[0]!r}; besides table it may say "
            f"{', '.join(_POSTGRES_OPTIONS)}. A password comes from PGPASSWORD or ~/.pgpass"
        )
    told = {"user": unquote(parts.username or ""), "host": parts.hostname or "", "port": str(port or "")}
    told["dbname"] = unquote(parts.path.strip("/"))
    told |= options
    return PostgresAddress(tuple((name, value) for name, value in told.items() if value), schema, table)


def _without_secret(parts: SplitResult) -> str:
    """The address up to where a secret could begin."""
    place = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{place}{parts.path}" if parts.scheme else parts.path
