"""Changing single documents of an index."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from nearfar.bundle.bundle import Bundle
from nearfar.edge.build import BuildReport, settle, store_batch
from nearfar.edge.folder import opened_writer, stored_dim
from nearfar.edge.keys import key_if_any
from nearfar.edge.prepared import batches
from nearfar.edge.store.reader import StoreReader
from nearfar.edge.store.schema import BUNDLE_FOLDER
from nearfar.edge.towers import opened_towers
from nearfar.edge.where import parse
from nearfar.sources.cut import Cutting
from nearfar.sources.document import Document

if TYPE_CHECKING:
    from nearfar.edge.keys import Ask, Key


class IndexEditor:
    """Adds, replaces and removes documents of one index; the others stay.

    Used with `with`; meanwhile it is the index's only writer. Each call is stored when it returns, also should
    the power fail, and found by searches from then on; at the end of the block what makes searching fast is brought up to date.

        with SearchIndex.edit("my.index") as editor:
            editor.upsert([Document("note-7", "Tighten the packing nut.", title="Dripping faucet")])
            editor.delete(["note-3"])
    """

    def __init__(self, path: Path, *, ask: Ask | Key | None = None, threads: int | None = None) -> None:
        """Edit the index in `path`; users call `SearchIndex.edit`.

        Args:
            path: folder of the index.
            ask: gives the passphrase of an encrypted index.
            threads: all processors by default.
        """
        self.report = BuildReport()
        """What has been done so far."""
        self._threads = threads or os.cpu_count() or 1
        StoreReader.check(path)
        bundle = Bundle.open(path / BUNDLE_FOLDER)
        with ExitStack() as stack:
            key = key_if_any(path, ask=ask)
            dim = stored_dim(path, key)
            self._towers = opened_towers(bundle, threads=self._threads, dim=dim)
            self._writer = stack.enter_context(opened_writer(path, bundle, dim, ask=key, synced=True))
            self._stack = stack.pop_all()

    def upsert(self, documents: Iterable[Document], *, cutting: Cutting | None = None) -> None:
        """Add documents; one with the id of another takes its place, and one with the same text, or the same item, is left alone.

        Args:
            documents: any number; stored in batches of about 512 passages. One without an id gets one from its title
                and text, so that the same content is stored once.
            cutting: how documents are cut that nobody has cut yet, by default as when the index was built.

        Raises:
            StoreError: the index could not be written; the batches before are stored.
        """
        for batch in batches(documents, cutting or self._writer.cutting):
            store_batch(self._writer, self._towers, batch, self.report, replace_seen=True)

    def delete(self, ids: Sequence[str]) -> int:
        """Remove documents by id; returns how many there were."""
        removed = self._writer.delete(ids)
        self.report.removed += removed
        return removed

    def delete_where(self, where: str) -> int:
        """Remove the documents that satisfy a condition, such as `year < 2020`; returns how many there were.

        Raises:
            DataError: the condition cannot be read, or no document has a key of it.
        """
        removed = self._writer.delete_allowed(parse(where))
        self.report.removed += removed
        return removed

    def close(self) -> None:
        """Bring up to date what makes searching fast, and let go of the index."""
        with self._stack:
            settle(self._writer, self.report, threads=self._threads)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self._stack.close()
