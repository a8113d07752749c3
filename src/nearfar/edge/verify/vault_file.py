"""The SQLite file of a vault: how it is opened, what tables it has, and what its errors mean."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nearfar.errors import StoreError

VAULT_FILE = "vault.sqlite"
FORMAT = 1

_LOCK_SECONDS = 60.0
_SETTINGS = (
    "page_size = 1024",  # of a new file; one that is there keeps its own
    "journal_mode = WAL",
    "synchronous = FULL",
    "secure_delete = ON",
    "trusted_schema = OFF",
    "cell_size_check = ON",
)

SCHEMA = {
    "meta": "CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
    "templates": (
        "CREATE TABLE templates (tag BLOB PRIMARY KEY, version INTEGER NOT NULL, details BLOB NOT NULL, template BLOB NOT NULL) "
        "WITHOUT ROWID"
    ),
    "audit": "CREATE TABLE audit (number INTEGER PRIMARY KEY, digest BLOB NOT NULL, sealed BLOB NOT NULL)",
}
"""Name -> statement; what the file says of itself must be the same to the letter."""


def connect_vault(directory: Path, *, make: bool) -> sqlite3.Connection:
    """Open the file; no transaction is begun on its own, and any thread may use the connection, one at a time.

    Raises:
        sqlite3.Error: it is missing or damaged.
    """
    address = (directory / VAULT_FILE).resolve().as_uri() + ("?mode=rwc" if make else "?mode=rw")
    connection = sqlite3.connect(
        address, uri=True, isolation_level=None, check_same_thread=False, timeout=_LOCK_SECONDS
    )
    try:
        for setting in _SETTINGS:
            connection.execute(f"PRAGMA {setting}").fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


def damaged(directory: Path, what: str) -> StoreError:
    """The error for what is not as it was written."""
    return StoreError(
        f"{directory}: {what}, so the vault was damaged or tampered with, and nothing is answered; put the whole directory back from a "
        "backup that you trust, or make a new vault and enrol again"
    )


@contextmanager
def explained(directory: Path) -> Iterator[None]:
    """Turn SQLite's errors about the vault in `directory` into words for people.

    Raises:
        StoreError: in place of `sqlite3.Error`.
    """
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            said = "another process keeps the vault locked; try again when it has finished"
        elif code in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}:
            said = f"the vault could not be written ({error}), so nothing is answered; make room and try again"
        elif code in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}:
            said = f"the vault cannot be written ({error}), and each attempt must be noted in it; check the permissions"
        elif isinstance(error, sqlite3.ProgrammingError) and "closed" in str(error):
            said = "the vault was closed; open it again"
        else:
            raise damaged(directory, f"the file of the vault cannot be used ({error})") from error
        raise StoreError(f"{directory}: {said}") from error
    except UnicodeDecodeError as error:
        raise damaged(directory, "the file of the vault holds what is no text") from error
