"""What a sealed file is called and holds, how it is opened, and what its errors mean."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nearfar.errors import StoreError

_LOCK_SECONDS = 60.0

META = "CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"
"""The table that every sealed file has: `format`, the identifier under the file's noun, and the sealed `head`."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A kind of sealed file.

    Attributes:
        noun: what people call it.
        file: its name in the directory.
        format: number of what is written into it.
        tables: name -> statement, None for an index that comes with a table; what a file says of itself must be the same to the letter.
        page_size: of a new file, in bytes; one that is there keeps its own.
        left: what was not done where it cannot be used, as in "nothing is answered".
        noted: why it must be possible to write it.
        mend: what helps where it is damaged.
    """

    noun: str
    file: str
    format: int
    tables: Mapping[str, str | None]
    page_size: int
    left: str
    noted: str
    mend: str

    def connect(self, directory: Path, *, make: bool) -> sqlite3.Connection:
        """Open the file; no transaction is begun on its own, and any thread may use the connection, one at a time.

        Raises:
            sqlite3.Error: it is missing or damaged.
        """
        address = (directory / self.file).resolve().as_uri() + ("?mode=rwc" if make else "?mode=rw")
        connection = sqlite3.connect(
            address, uri=True, isolation_level=None, check_same_thread=False, timeout=_LOCK_SECONDS
        )
        try:
            for setting in (
                f"page_size = {self.page_size}",
                "journal_mode = WAL",
                "synchronous = FULL",
                "secure_delete = ON",
                "temp_store = MEMORY",
                "trusted_schema = OFF",
                "cell_size_check = ON",
            ):
                connection.execute(f"PRAGMA {setting}").fetchall()
        except BaseException:
            connection.close()
            raise
        return connection

    def damaged(self, directory: Path, what: str) -> StoreError:
        """The error for what is not as it was written."""
        return StoreError(
            f"{directory}: {what}, so the {self.noun} was damaged or tampered with, and {self.left}; {self.mend}"
        )

    @contextmanager
    def explained(self, directory: Path) -> Iterator[None]:
        """Turn SQLite's errors about the file in `directory` into words for people.

        Raises:
            StoreError: in place of `sqlite3.Error`.
        """
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
                said = f"another process keeps the {self.noun} locked; try again when it has finished"
            elif code in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}:
                said = f"the {self.noun} could not be written ({error}), so {self.left}; make room and try again"
            elif code in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}:
                said = f"the {self.noun} cannot be written ({error}), and {self.noted}; check the permissions"
            elif isinstance(error, sqlite3.ProgrammingError) and "closed" in str(error):
                said = f"the {self.noun} was closed; open it again"
            else:
                raise self.damaged(directory, f"the file of the {self.noun} cannot be used ({error})") from error
            raise StoreError(f"{directory}: {said}") from error
        except UnicodeDecodeError as error:
            raise self.damaged(directory, f"the file of the {self.noun} holds what is no text") from error
