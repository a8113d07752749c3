"""When the store's graph is built again, and how."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import numpy as np

from nearfar.edge.store.failures import explained
from nearfar.edge.store.graph_record import GraphRecord
from nearfar.edge.store.schema import GRAPH_PATTERN
from nearfar.edge.store.writer import StoreWriter
from nearfar.errors import StoreError
from nearfar.index.hnsw import HnswIndex
from nearfar.index.quantise import dequantise

GRAPH_FROM = 5000
"""Vectors up to which scanning all of them is as fast as a graph, and exact."""
_TAIL_ROWS, _TAIL_SHARE = 2000, 0.10
_REMOVED_SHARE = 0.20
_SAMPLE = 10_000


def renew_graph(writer: StoreWriter, *, threads: int | None = None) -> bool:
    """Build the graph if there should be one and the present one is missing, damaged or too old.

    Args:
        writer: the store; its lock is held.
        threads: all processors by default. With more than one the graph differs a little from build to build, and with
            it which of the last few documents a search finds.

    Returns:
        Whether a graph was built.

    Raises:
        StoreError: it could not be written; the store stays as it was and answers without it.
    """
    record = writer.graph()
    total = writer.count()
    if total <= GRAPH_FROM:
        if record is not None:
            writer.set_graph(None)
        _remove_others(writer.directory, keep=None)
        return False
    if record is not None and not _outgrown(writer, record, total) and _sound(writer.directory, record):
        _remove_others(writer.directory, keep=record.file)
        return False
    last = writer.last_rowid()
    sample = np.concatenate(
        [dequantise(codes, scales) for _, codes, scales in writer.codes(every=max(1, last // _SAMPLE))]
    )
    graph = HnswIndex.build(
        ((rows, dequantise(codes, scales)) for rows, codes, scales in writer.codes()),
        sample=sample,
        threads=threads or os.cpu_count() or 1,
    )
    file = GRAPH_PATTERN.replace("*", str(writer.generation()))
    with explained(writer.directory):
        digest = graph.save(writer.directory / file)
    writer.set_graph(GraphRecord(file=file, sha256=digest, last_rowid=last, rows=len(graph)))
    _remove_others(writer.directory, keep=file)
    return True


def _outgrown(writer: StoreWriter, record: GraphRecord, total: int) -> bool:
    tail = writer.count_after(record.last_rowid)
    return tail > max(_TAIL_ROWS, _TAIL_SHARE * total) or writer.count_removed() > _REMOVED_SHARE * record.rows


def _sound(directory: Path, record: GraphRecord) -> bool:
    try:
        HnswIndex.open(directory / record.file, sha256=record.sha256)
    except StoreError:
        return False
    return True


def _remove_others(directory: Path, *, keep: str | None) -> None:
    """Delete the graphs of former states, and what a killed process was writing."""
    for pattern in (GRAPH_PATTERN, f".{GRAPH_PATTERN}.part"):
        for path in directory.glob(pattern):
            if path.name != keep:
                with suppress(OSError):  # a reader on Windows may still have it open; the next run removes it
                    path.unlink()
