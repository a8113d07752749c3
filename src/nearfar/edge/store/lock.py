"""One writer at a time, across processes."""

from __future__ import annotations

import os
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nearfar.edge.store.failures import explained
from nearfar.edge.store.schema import LOCK_FILE
from nearfar.errors import StoreError


@contextmanager
def writer_lock(directory: Path) -> Iterator[None]:
    """Be the only process that writes the index in `directory`.

    The lock is SQLite's own exclusive lock on an empty file: it works on every system that the store works on, and the
    system lets go of it when the process is killed.

    Raises:
        StoreError: another process has it; the message says which.
    """
    path = directory / LOCK_FILE
    owner = directory / f"{LOCK_FILE}.owner"
    with explained(directory):
        lock = sqlite3.connect(path, isolation_level=None, timeout=0.0, check_same_thread=False)
        try:
            lock.execute("BEGIN EXCLUSIVE")
            owner.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
        except BaseException as error:
            lock.close()
            if isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
                raise StoreError(
                    f"{directory}: {_holder(owner)} is indexing here; wait until it has finished"
                ) from error
            raise
    try:
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.close()


def _holder(owner: Path) -> str:
    try:
        return owner.read_text(encoding="utf-8", errors="replace")[:200] or "another process"
    except OSError:
        return "another process"
