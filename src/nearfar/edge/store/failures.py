"""What SQLite and the system say when something goes wrong, in words for the user."""

from __future__ import annotations

import errno
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nearfar.errors import StoreError

_NO_ROOM = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}
_NO_RIGHT = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextmanager
def explained(directory: Path) -> Iterator[None]:
    """Turn SQLite's and the system's errors about the index in `directory` into a StoreError that says what to do.

    Raises:
        StoreError: in place of `sqlite3.Error` and `OSError`.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(_sqlite_message(directory, error)) from error
    except OSError as error:
        raise StoreError(_system_message(directory, error)) from error


def _sqlite_message(directory: Path, error: sqlite3.Error) -> str:
    # The primary code is the low byte of an extended one.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}:
        return _no_room(directory, str(error))
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return f"{directory}: another process keeps the index locked ({error}); try again when it has finished"
    if code in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}:
        return (
            f"{directory}: the index cannot be opened or written there ({error}); check the folder and its permissions"
        )
    return f"{directory}: the index is damaged ({error}); build it again with --rebuild"


def _system_message(directory: Path, error: OSError) -> str:
    if error.errno in _NO_ROOM:
        return _no_room(directory, error.strerror or str(error))
    if error.errno in _NO_RIGHT:
        return f"{directory}: not allowed to write the index there ({error.strerror}); choose another folder"
    return f"{directory}: {error.strerror or error}"


def _no_room(directory: Path, said: str) -> str:
    try:
        free = f"; {shutil.disk_usage(directory).free / 1e6:,.1f} MB are free there"
    except OSError:
        free = ""
    return (
        f"{directory}: the index could not be written ({said}{free}). What was stored before is kept and can be "
        "searched; make room and run the same command again to go on"
    )
