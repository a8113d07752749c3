"""A store as searches see it: its reader, what finds vectors and words in it, and which rows a condition allows."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nearfar.edge.dense import FEW_ALLOWED, DenseSearch
from nearfar.edge.keys import key_if_any
from nearfar.edge.store.codes import Codes
from nearfar.edge.store.derived import content_of
from nearfar.edge.store.derived_record import DerivedRecord
from nearfar.edge.store.keyword import KeywordSearch
from nearfar.edge.store.reader import StoreReader
from nearfar.edge.store.schema import store_path
from nearfar.edge.where import Compare, Condition, allowed_documents, check_keys, parse
from nearfar.errors import StoreError
from nearfar.index.postings import Postings
from nearfar.sources.document import MODALITY

if TYPE_CHECKING:
    from nearfar.edge.keys import Ask, Key

_log = logging.getLogger(__name__)
_CONDITIONS = 16
"""Conditions whose rows are kept, 8 bytes a row, until the store changes."""
_TRIES = 3


class StoreView:
    """Follows one store. Everything but `close` is used inside `current`."""

    def __init__(self, directory: Path, *, ask: Ask | Key | None = None) -> None:
        """Open the store in `directory`, with its key where it is encrypted.

        Raises:
            StoreError: there is none, or it is damaged.
            KeyUnavailableError: the key cannot be had.
        """
        self._ask = ask
        self._directory = directory
        file = _identity(directory)
        key = key_if_any(directory, ask=ask)
        self._use(StoreReader(directory, key=key), key, file)

    def _use(self, reader: StoreReader, key: Key | None, file: tuple[int, int] | None) -> None:
        self._file = file
        self.reader = reader
        self.dense = DenseSearch(reader, key=key)
        self.keywords = KeywordSearch(reader.connection)
        self._key = key.subkey("derived") if key else None
        self._generation = -1
        self._record: DerivedRecord | None = None
        self._postings: Postings | None = None
        self._allowed: OrderedDict[str, npt.NDArray[np.int64]] = OrderedDict()
        self._codes: dict[str, Codes | None] = {}

    def close(self) -> None:
        """Let go of the files."""
        self.keywords.close()
        self.reader.close()

    @contextmanager
    def current(self) -> Iterator[None]:
        """Everything inside sees the same state of the store, the latest one.

        Raises:
            StoreError: the store is damaged, or has been built anew with another bundle.
        """
        self.follow_rebuild()
        for remaining in reversed(range(_TRIES)):
            with self.reader.snapshot():
                # A writer may have replaced a derived file since this snapshot began; a later one names the new file.
                if remaining and self._replaced():
                    continue
                self._refresh()
                yield
                return

    def allowed(self, where: str) -> npt.NDArray[np.int64]:
        """The rows of the passages whose documents satisfy a condition, ascending int64.

        Raises:
            DataError: the condition cannot be read, or no document has a key of it.
        """
        return self._cached(where, lambda: parse(where), check=True)

    def of_tower(self, name: str) -> npt.NDArray[np.int64]:
        """The rows of what one tower has embedded, ascending int64; none of an index of texts alone."""
        return self._cached(f"\0{name}", lambda: Compare(MODALITY, "=", name), check=False)

    def codes_of_tower(self, name: str) -> Codes | None:
        """The vectors of those rows, in memory from one search to the next; None where they are too many to compare one by one."""
        if name not in self._codes:
            rows = self.of_tower(name)
            self._codes[name] = self.dense.codes_of(rows) if len(rows) <= FEW_ALLOWED else None
        return self._codes[name]

    def _cached(self, key: str, condition: Callable[[], Condition], *, check: bool) -> npt.NDArray[np.int64]:
        """The rows that a condition allows; with `check` a condition on keys that no document has is refused."""
        rows = self._allowed.get(key)
        if rows is None:
            wanted, run = condition(), self.reader.connection.execute
            documents = allowed_documents(wanted, run)
            if check and not len(documents):
                check_keys(wanted, run)
            rows = self._allowed[key] = self.reader.rows_of(documents)
            while len(self._allowed) > _CONDITIONS:
                self._allowed.popitem(last=False)
        self._allowed.move_to_end(key)
        return rows

    def follow_rebuild(self) -> None:
        """Open the store that has taken the place of this one, where somebody has built the index anew.

        Raises:
            StoreError: it was built with another bundle.
        """
        now = _identity(self._directory)
        if now is None or now == self._file:
            return  # while it is being replaced, the old one still answers
        key = key_if_any(self._directory, ask=self._ask)
        try:
            reader = StoreReader(self._directory, key=key)
        except StoreError:
            return  # as long as the new one cannot be read, too
        if (reader.bundle_digest, reader.dim) != (self.reader.bundle_digest, self.reader.dim):
            reader.close()
            raise StoreError(
                f"{self._directory}: the index was built anew with another bundle or length; open it again"
            )
        self.close()
        self._use(reader, key, now)

    def _replaced(self) -> bool:
        """Whether a derived file that this state names is gone, though the view has not noticed before."""
        if self.reader.generation() == self._generation:
            return False
        records = (self.reader.derived("signs"), self.reader.derived("graph"), self.reader.derived("postings"))
        return any(record and not (self.reader.directory / record.file).exists() for record in records)

    def _refresh(self) -> None:
        generation = self.reader.generation()
        if generation == self._generation:
            return
        self.dense.refresh()
        record = self.reader.derived("postings")
        if record != self._record or self._generation < 0:
            self._record, self._postings = record, self._open(record)
        self.keywords.refresh(self._postings, self.reader.removed() if self._postings else None)
        self._allowed.clear()
        self._codes.clear()
        self._generation = generation

    def _open(self, record: DerivedRecord | None) -> Postings | None:
        if record is None:
            return None
        try:
            content = content_of(self.reader.directory, record, self._key)
            return Postings(content, str(self.reader.directory / record.file))
        except StoreError as error:
            _log.warning(
                "%s. Keywords are searched without it, which is slower; index again, or run nearfar doctor, to mend it",
                error,
            )
            return None


def _identity(directory: Path) -> tuple[int, int] | None:
    """Which file the store is; None while there is none."""
    try:
        status = store_path(directory).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
