"""Put an index on a server, or bring the copy there up to date: send what is new, delete what is gone, keep the rest."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nearfar.connect.address import parse_address
from nearfar.connect.outgoing import Passages, outgoing
from nearfar.connect.server import About, Server, connect
from nearfar.edge.keys import key_if_any
from nearfar.edge.store.reader import StoreReader
from nearfar.errors import StoreError

if TYPE_CHECKING:
    from nearfar.edge.keys import Ask

BATCH = 500
"""Passages compared, and where they differ sent, at a time: what a killed push has to send again."""

Progress = Callable[[str, int], None]
"""Called with a stage (`passages`, `gone`, `index`) and how many passages are done."""


@dataclass(slots=True)
class PushReport:
    """What a push did.

    Attributes:
        added: passages that the server did not have.
        updated: passages that it had otherwise.
        unchanged: passages that it had; they were not sent.
        removed: passages that it had and the index has not.
    """

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0

    @property
    def passages(self) -> int:
        """How many the server now has."""
        return self.added + self.updated + self.unchanged


def push(
    index: str | Path,
    address: str,
    *,
    ask: Ask | None = None,
    rebuild: bool = False,
    progress: Progress | None = None,
) -> PushReport:
    """Make the copy of an index on a server equal to the index.

    Each batch is stored on its own, and what the server has already is not sent: the same call after a push that was
    killed goes on where it was, and after one that was not does nothing. The index may be written meanwhile; what is
    sent is its state at the start.

    Args:
        index: folder of the index.
        address: `qdrant://host:port/collection` or `pgvector://user@host:port/database?table=name`. Secrets come from
            QDRANT_API_KEY, PGPASSWORD or ~/.pgpass.
        ask: gives the passphrase of an encrypted index, whose passages are not encrypted on the server; by default the
            terminal, or NEARFAR_PASSPHRASE.
        rebuild: delete the copy first, which another bundle may have made.
        progress: called after every batch.

    Raises:
        DataError: the address is none, or the metadata cannot be sent.
        KeyUnavailableError: the index is encrypted, and its key cannot be had.
        StoreError: there is no index, the server cannot be reached or refuses, or what is there is not nearfar's or was
            made with another bundle.
        MissingExtraError: the packages for this server are not installed.
    """
    parsed, directory = parse_address(address), Path(index)
    StoreReader.check(directory)  # says what is missing before a key or a server is asked for
    key = key_if_any(directory, ask=ask)
    with closing(StoreReader(directory, key=key)) as reader, closing(connect(parsed)) as server, reader.snapshot():
        return push_passages(reader, server, place=str(parsed), rebuild=rebuild, progress=progress)


def push_passages(
    passages: Passages,
    server: Server,
    *,
    place: str,
    rebuild: bool = False,
    progress: Progress | None = None,
) -> PushReport:
    """Do what `push` does, between an open index and a reached server.

    Args:
        passages: inside one snapshot of the index.
        server: where they go.
        place: the server's name in messages.
        rebuild: as in `push`.
        progress: as in `push`.
    """
    tell: Progress = progress or (lambda stage, done: None)
    about = _prepared(passages, server, place, rebuild)
    report = PushReport()
    known: list[npt.NDArray[np.bytes_]] = []
    keys: set[str] = set()
    for block in outgoing(passages, BATCH):
        there = server.digests([passage.key for passage in block])
        changed = [passage for passage in block if there.get(passage.key) != passage.digest]
        if changed:
            about = _opened(server, about)
            server.upsert(changed)
        updated = sum(passage.key in there for passage in changed)
        report.updated += updated
        report.added += len(changed) - updated
        report.unchanged += len(block) - len(changed)
        known.append(_packed([passage.key for passage in block]))
        keys.update(*(passage.fields["metadata"] for passage in block))
        tell("passages", report.passages)
    for gone in _gone(server, np.sort(np.concatenate(known)) if known else _packed([])):
        about = _opened(server, about)
        server.remove(gone)
        report.removed += len(gone)
        tell("gone", report.removed)
    if not about.whole:
        count, words = server.settle(lambda: tell("index", report.passages))
        server.describe(About(about.bundle, about.dim, count, words, tuple(sorted(keys)), whole=True))
    return report


def _prepared(passages: Passages, server: Server, place: str, rebuild: bool) -> About:
    """What is on the server, made where there is nothing; refused where it does not fit."""
    server.lock()
    fresh = About(passages.bundle_digest, passages.dim)
    about = server.about()
    if about and rebuild:
        server.drop()
        about = None
    if about is None:
        server.create(fresh)
        return fresh
    if about.nearfar != fresh.nearfar:
        raise StoreError(
            f"{place}: what is there has format {about.nearfar}, this nearfar writes {fresh.nearfar}; push with --rebuild"
        )
    if about.bundle != fresh.bundle or about.dim != fresh.dim:
        raise StoreError(
            f"{place}: what is there was made with bundle {about.bundle[:16]} and {about.dim} dimensions, the index with "
            f"{fresh.bundle[:16]} and {fresh.dim}; push to another name, or with --rebuild to replace it"
        )
    return about


def _opened(server: Server, about: About) -> About:
    """Say on the server that what is there is being changed, before the first change."""
    if not about.whole:
        return about
    about = replace(about, whole=False)
    server.describe(about)
    return about


def _gone(server: Server, known: npt.NDArray[np.bytes_]) -> Iterator[list[uuid.UUID]]:
    """The keys on the server that are not `known`, which is sorted; 16 bytes a passage, however large the index."""
    for block in server.keys(10 * BATCH):
        packed = _packed(block)
        if len(known):
            places = np.minimum(np.searchsorted(known, packed), len(known) - 1)
            missing = np.flatnonzero(known[places] != packed)
        else:
            missing = np.arange(len(block))
        for start in range(0, len(missing), BATCH):
            yield [block[place] for place in missing[start : start + BATCH].tolist()]


def _packed(keys: list[uuid.UUID]) -> npt.NDArray[np.bytes_]:
    # NumPy ignores zero bytes at the end, and since all keys have 16 bytes that confuses no two of them.
    return np.array([key.bytes for key in keys], dtype="S16")
