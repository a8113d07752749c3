"""SQLCipher's connection with the errors of `sqlite3`, so that the rest of the store knows one family of errors.

This module is imported only where a store is encrypted: it needs the package `sqlcipher3`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from importlib import import_module
from typing import Any, TypeVar

sqlcipher: Any = import_module("sqlcipher3.dbapi2")
"""The driver: pysqlite's code over SQLCipher, with exceptions of its own that are no children of `sqlite3.Error`."""

_Method = TypeVar("_Method", bound=Callable[..., Any])


def as_sqlite3(error: Exception) -> sqlite3.Error:
    """The error of `sqlite3` with the same name, text and code as one of `sqlcipher3`."""
    kind = getattr(sqlite3, type(error).__name__, sqlite3.DatabaseError)
    same: sqlite3.Error = kind(*error.args)
    same.sqlite_errorcode = getattr(error, "sqlite_errorcode", 0)
    same.sqlite_errorname = getattr(error, "sqlite_errorname", "")
    return same


@contextmanager
def errors_of_sqlite3() -> Iterator[None]:
    """Raise the errors of `sqlite3` in place of those of `sqlcipher3`."""
    try:
        yield
    except sqlcipher.Error as error:
        raise as_sqlite3(error) from error


def _same_errors(method: _Method) -> _Method:
    # Not `errors_of_sqlite3`: this one runs for every row that a cursor yields.
    @wraps(method)
    def call(*arguments: Any, **named: Any) -> Any:
        try:
            return method(*arguments, **named)
        except sqlcipher.Error as error:
            raise as_sqlite3(error) from error

    return call  # type: ignore[return-value]


class CipherCursor(sqlcipher.Cursor):  # type: ignore[misc]
    """A cursor of SQLCipher that raises the errors of `sqlite3`."""

    execute = _same_errors(sqlcipher.Cursor.execute)
    executemany = _same_errors(sqlcipher.Cursor.executemany)
    executescript = _same_errors(sqlcipher.Cursor.executescript)
    fetchone = _same_errors(sqlcipher.Cursor.fetchone)
    fetchmany = _same_errors(sqlcipher.Cursor.fetchmany)
    fetchall = _same_errors(sqlcipher.Cursor.fetchall)
    __next__ = _same_errors(sqlcipher.Cursor.__next__)


class CipherConnection(sqlcipher.Connection):  # type: ignore[misc]
    """A connection of SQLCipher that raises the errors of `sqlite3`; its `execute` goes through `cursor`."""

    commit = _same_errors(sqlcipher.Connection.commit)
    rollback = _same_errors(sqlcipher.Connection.rollback)
    close = _same_errors(sqlcipher.Connection.close)
    backup = _same_errors(sqlcipher.Connection.backup)

    def cursor(self, factory: type[Any] = CipherCursor) -> Any:
        """A cursor, by default one with the same errors."""
        with errors_of_sqlite3():
            return super().cursor(factory)
