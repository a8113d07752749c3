"""When the files that are derived from the store are made again, and how."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Literal, get_args

import numpy as np

from nearfar.edge.dense import open_vectors
from nearfar.edge.store.codes import Codes
from nearfar.edge.store.derived import content_of, digest_of
from nearfar.edge.store.derived_record import Derived, DerivedRecord
from nearfar.edge.store.keyword import MAX_NEWER
from nearfar.edge.store.writer import StoreWriter
from nearfar.errors import DataError, StoreError
from nearfar.index.hnsw import HnswIndex, Vectors
from nearfar.index.postings import Postings
from nearfar.index.rows import Rows
from nearfar.index.signs import write_signs

Engine = Literal["auto", "scan", "hnsw"]
"""How vectors are searched: by a scan over signs, by a graph, or by the one that suits their number."""

EXACT_UP_TO = 5000
"""Passages up to which comparing all of them is as fast as any shortcut, and exact."""
FTS5_UP_TO = 500
"""Passages up to which FTS5 itself answers keywords fast enough."""
SCAN_UP_TO = 200_000
"""Passages up to which `auto` scans signs: below a millisecond, and nothing to build. See docs/search.md."""
SCAN_FROM_DIM = 128
"""Components from which the signs of a vector say enough for `auto` to scan them."""
_TAIL_ROWS, _TAIL_SHARE = 2000, 0.10
_REMOVED_SHARE = 0.20
_SAMPLE = 10_000
_ALL: tuple[Derived, ...] = ("signs", "graph", "postings")


def check_engine(engine: str) -> Engine:
    """An engine by name.

    Raises:
        DataError: there is none of this name.
    """
    if engine not in get_args(Engine):
        raise DataError(f"there is no engine {engine!r}; choose one of {', '.join(get_args(Engine))}")
    return engine  # type: ignore[return-value]


def wanted(engine: str, passages: int, dim: int) -> tuple[Derived, ...]:
    """The derived files that an index of so many passages of `dim` components should have."""
    kinds: list[Derived] = []
    if passages > EXACT_UP_TO:
        scans = engine == "scan" or (engine == "auto" and passages <= SCAN_UP_TO and dim >= SCAN_FROM_DIM)
        kinds.append("signs" if scans else "graph")
    if passages > FTS5_UP_TO:
        kinds.append("postings")
    return tuple(kinds)


def renew_derived(writer: StoreWriter, *, threads: int | None = None, check: bool = False) -> list[Derived]:
    """Make the derived files that should be there and are missing, damaged or too old; delete all others.

    Args:
        writer: the store; its lock is held.
        threads: of building a graph, all processors by default. With more than one the graph differs a little from
            build to build, and with it which of the last few passages a search finds.
        check: read the files whole and compare their digests, in place of their sizes and tables.

    Returns:
        Kinds of the files that were made.

    Raises:
        StoreError: one could not be written; the store stays as it was and answers without it.
    """
    total, removed = writer.count(), writer.count_removed()
    kinds = wanted(writer.engine(), total, writer.dim)
    gone = [other for other in _ALL if other not in kinds and writer.derived(other)]
    made: list[DerivedRecord] = []
    kept = False
    for each in kinds:
        record = _usable(writer, each, check=check)
        stale = record is None or removed > _REMOVED_SHARE * record.rows
        if record is not None and not stale and not _outgrown(writer, record, total):
            kept = True
            continue
        if each == "postings":
            made.append(writer.derive_postings())
        elif each == "signs":
            made.append(_signs(writer, total))
        else:
            kept = kept or not stale
            made.append(_graph(writer, None if stale else record, threads or os.cpu_count() or 1))
    if made or gone or (removed and not kept):
        writer.set_derived(*made, gone=gone, forget_removed=not kept)
    else:
        writer.remove_strangers()
    return [record.kind for record in made]


def problems(writer: StoreWriter) -> list[str]:
    """What is wrong with the derived files that the store names, read whole; empty where nothing is."""
    found = []
    for kind in _ALL:
        record = writer.derived(kind)
        if record is not None:
            try:
                _check(writer, record, digest=True)
            except StoreError as error:
                found.append(str(error))
    return found


def _usable(writer: StoreWriter, kind: Derived, *, check: bool) -> DerivedRecord | None:
    record = writer.derived(kind)
    if record is None:
        return None
    try:
        _check(writer, record, digest=check)
    except StoreError:
        return None
    return record


def _check(writer: StoreWriter, record: DerivedRecord, *, digest: bool) -> None:
    key, path = writer.key_of_derived(), writer.directory / record.file
    if record.kind == "postings":
        Postings(content_of(writer.directory, record, key), str(path))
    elif open_vectors(writer.directory, record, key).dim != writer.dim:
        raise StoreError(f"{path}: this file of the index is of vectors of another length")
    if digest and digest_of(path) != record.sha256:
        raise StoreError(f"{path}: this file of the index is damaged (its SHA-256 is another one)")


def _outgrown(writer: StoreWriter, record: DerivedRecord, total: int) -> bool:
    tail = writer.count_after(record.last_row)
    if record.kind == "postings":
        return tail > MAX_NEWER // 2
    return tail > max(_TAIL_ROWS, _TAIL_SHARE * total)


def _signs(writer: StoreWriter, total: int) -> DerivedRecord:
    mean = _sample(writer).mean(axis=0)
    rows = writer.rows()
    blocks = (codes.vectors() for codes in writer.codes())
    last = int(rows[-1])
    return writer.derive("signs", lambda file: write_signs(file, mean, rows, blocks), last_row=last, rows=total)


def _graph(writer: StoreWriter, record: DerivedRecord | None, threads: int) -> DerivedRecord:
    """Build the graph, or link what is new into the one there is."""
    last = writer.last_row()
    if record is None or writer.key_of_derived() is not None:  # what is decrypted into memory cannot grow
        graph = HnswIndex.build(_floats(writer.codes()), sample=_sample(writer), threads=threads)
    else:
        graph = HnswIndex.open(writer.directory / record.file, writable=True)
        graph.add(_floats(writer.codes(after=record.last_row)), threads=threads)
    return writer.derive("graph", graph.save, last_row=last, rows=len(graph))


def _floats(blocks: Iterator[Codes]) -> Iterator[tuple[Rows, Vectors]]:
    return ((codes.rows, codes.vectors()) for codes in blocks)


def _sample(writer: StoreWriter) -> Vectors:
    # By the rows that there are: of an index that changes a lot, the last row number is far beyond their count.
    every = max(1, writer.count() // _SAMPLE)
    sample = [codes.vectors() for codes in writer.codes(every=every)]
    return np.concatenate(sample) if sample else next(writer.codes()).vectors()
