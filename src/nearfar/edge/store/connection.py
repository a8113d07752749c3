"""Opening the store's file, plain with `sqlite3` or encrypted with SQLCipher; callers see no difference but the key."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Literal, cast

from nearfar.errors import MissingExtraError, StoreError

OpenMode = Literal["ro", "rwc", "immutable"]
"""Read; read and write, made where missing; read a medium that nobody can write, without a lock or a journal."""

_PLAIN_HEADER = b"SQLite format 3\x00"
_ADDRESS = {"ro": "?mode=ro", "rwc": "?mode=rwc", "immutable": "?mode=ro&immutable=1"}
_RAW_KEY_BYTES = 32


def connect(
    path: Path, *, key: bytes | None = None, mode: OpenMode = "rwc", timeout: float = 10.0
) -> sqlite3.Connection:
    """Open the SQLite file of a store.

    No transaction is begun on its own (`isolation_level=None`), and any thread may use the connection, one at a time.

    Args:
        path: of the file.
        key: 32 random bytes of an encrypted store (`Key.subkey("database")`), used as they are: deriving a key from
            them would only take time. None for a plain one.
        mode: see `OpenMode`.
        timeout: seconds to wait for a lock.

    Returns:
        A connection of `sqlite3`, or one of SQLCipher that can do the same (all that the store uses; not `blobopen`,
        `serialize` and `iterdump`) and raises the same errors.

    Raises:
        StoreError: the file is encrypted and there is no key, or the other way round, or the key is another one.
        MissingExtraError: there is a key and `sqlcipher3` is not installed.
        sqlite3.Error: everything else.
    """
    address = path.resolve().as_uri()
    if key is not None:
        return _connect_encrypted(path, address + _ADDRESS[mode], key, timeout)
    if mode == "rwc" and path.exists():
        # Before anything is written into what may be a store of the other kind. Where reading alone is not possible, such
        # as after a kill, the connection that may write says why, or mends it.
        with suppress(sqlite3.OperationalError):
            _connect_plain(path, address + _ADDRESS["ro"], timeout).close()
    return _connect_plain(path, address + _ADDRESS[mode], timeout)


def _connect_plain(path: Path, address: str, timeout: float) -> sqlite3.Connection:
    connection = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False, timeout=timeout)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error as error:
        # Everything else is met again, and told, by whoever reads or writes.
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_NOTADB:
            connection.close()
            raise StoreError(
                f"{path.parent}: the index is encrypted, and its key was not given or its key.json is missing; "
                f"or {path.name} is damaged: then build it again with --rebuild"
            ) from error
    return connection


def _looks_plain(path: Path) -> bool:
    """Whether the file begins as SQLite's files do; SQLCipher's begin with a random salt.

    Only for a file that no connection of this process has open: closing it would drop their locks (POSIX), and the next
    writer would take away the journal that they read.
    """
    try:
        with path.open("rb") as file:
            return file.read(len(_PLAIN_HEADER)) == _PLAIN_HEADER
    except OSError:
        return False


def _connect_encrypted(path: Path, address: str, key: bytes, timeout: float) -> sqlite3.Connection:
    if len(key) != _RAW_KEY_BYTES:
        raise ValueError(f"the key of a store has {_RAW_KEY_BYTES} bytes, not {len(key)}")
    try:
        from nearfar.edge.store.cipher_connection import CipherConnection, errors_of_sqlite3, sqlcipher
    except ImportError as error:
        raise MissingExtraError("encryption", "An encrypted index") from error
    with errors_of_sqlite3():
        connection = sqlcipher.connect(
            address,
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=timeout,
            factory=CipherConnection,
        )
    try:
        # SQLCipher writes to standard error by itself when a page fails its check; the error that it raises is enough.
        connection.execute("PRAGMA cipher_log_level = NONE")
        # By the driver's call and not by PRAGMA key: the text of a statement stays in the cache of statements.
        with errors_of_sqlite3():
            connection.set_key(f"x'{key.hex()}'".encode())
        # Sorting and temporary tables would otherwise be free to spill plain text to the disk.
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except BaseException as error:
        connection.close()
        if isinstance(error, sqlite3.DatabaseError) and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_NOTADB:
            if _looks_plain(path):
                raise StoreError(
                    f"{path.parent}: the index has a key, but {path.name} is not encrypted: it was put there by something "
                    "else; build it again with --rebuild"
                ) from error
            raise StoreError(
                f"{path.parent}: {path.name} cannot be read with this key: key.json belongs to another index, or the "
                "file is damaged; put both back from one backup, or build the index again with --rebuild"
            ) from error
        raise
    return cast(sqlite3.Connection, connection)
