"""Going through the tables of a store, and mending what is wrong in them in one transaction."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from nearfar.bundle.bundle import Bundle
from nearfar.edge.store.codes import packed
from nearfar.edge.store.reader import as_metadata
from nearfar.edge.table_checks import (
    TABLE_CHECKS,
    Finding,
    count,
    documents_tagged_wrongly,
    keywords_agree,
    mendable,
    rows_without_vector,
    some_ids,
)
from nearfar.edge.towers import TEXTS, Towers, opened_towers
from nearfar.edge.where import attribute_rows
from nearfar.sources.document import MODALITY

_EMBEDDED_AT_ONCE = 512
_READ_AGAIN = "UPDATE documents SET stamp = '', digest = x'' WHERE doc = (SELECT doc FROM passages WHERE row = ?)"


def examine_tables(connection: sqlite3.Connection, dim: int, bundle: Bundle | None, *, repair: bool) -> list[Finding]:
    """Find what is wrong in the tables, and mend it in one transaction.

    Args:
        connection: to a store whose pages are sound; no other process writes it.
        dim: components that the store keeps.
        bundle: that embedded the passages; without it no passage can be embedded again.
        repair: mend what can be mended. The store then names no derived file any more, where anything was wrong: they
            have to be made again.

    Returns:
        One finding for each kind of fault.

    Raises:
        sqlite3.Error: the store could not be read or written; nothing is changed then.
    """
    with _transaction(connection) if repair else nullcontext():
        found = list(_faults(connection, dim, bundle, repair=repair))
        if repair and found:
            # Rows have come or gone behind the backs of the derived files.
            connection.execute("DELETE FROM meta WHERE key LIKE 'derived.%'")
            connection.execute("DELETE FROM removed")
            connection.execute("UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE key = 'generation'")
    return found


def _faults(connection: sqlite3.Connection, dim: int, bundle: Bundle | None, *, repair: bool) -> Iterator[Finding]:
    # The keywords first: FTS5 is told which words go when a passage does, and believes it.
    if not keywords_agree(connection):
        if repair:
            connection.execute("INSERT INTO keywords (keywords) VALUES ('rebuild')")
        yield mendable("the keywords are not those of the passages", "answers", "made again", mended=repair)
    for check in TABLE_CHECKS:
        if not (faulty := count(connection, check)):
            continue
        what = f"{check.what}: {faulty:,}"
        if not check.done:
            what += f" ({', '.join(some_ids(connection, check))})"
        if repair:
            connection.execute(check.statement)
        yield mendable(what, "answers", check.done, mended=repair) if check.done else _only_from_source(what, repair)
    yield from _metadata_faults(connection, repair=repair)
    yield from _vector_faults(connection, dim, bundle, repair=repair)


def _metadata_faults(connection: sqlite3.Connection, *, repair: bool) -> Iterator[Finding]:
    wrong = list(documents_tagged_wrongly(connection))
    lost = [doc for doc, text in wrong if text is None]
    if repair:
        for doc, text in wrong:
            connection.execute("DELETE FROM attributes WHERE doc = ?", (doc,))
            rows = attribute_rows(as_metadata(text)) if text else []
            connection.executemany("INSERT INTO attributes VALUES (?, ?, ?)", ((*row, doc) for row in rows))
            if text is None:
                connection.execute("UPDATE documents SET metadata = '{}', stamp = '' WHERE doc = ?", (doc,))
    if len(wrong) > len(lost):
        what = f"documents that --where does not find as their metadata says: {len(wrong) - len(lost):,}"
        yield mendable(what, "answers", "tagged again", mended=repair)
    if lost:
        yield _only_from_source(f"documents with metadata that cannot be read: {len(lost):,}", repair)


def _vector_faults(
    connection: sqlite3.Connection, dim: int, bundle: Bundle | None, *, repair: bool
) -> Iterator[Finding]:
    rows = rows_without_vector(connection, dim)
    if not rows:
        return
    if bundle is None:
        what = f"passages with no vector, or a damaged one: {len(rows):,}"
        yield Finding(what, "answers", "put the right bundle beside the store; then run with --repair to embed them again")  # fmt: skip
        return
    towers = opened_towers(bundle, dim=dim)
    texts: defaultdict[str, list[int]] = defaultdict(list)
    items = []
    for row in rows:
        tower = _tower_of(connection, row, towers)
        if tower is None:
            items.append(row)
        else:
            texts[tower].append(row)
    if items:
        if repair:
            connection.executemany(_READ_AGAIN, ((row,) for row in items))
        yield _only_from_source(f"items with no vector, or a damaged one: {len(items):,}", repair)
    if not texts:
        return
    if repair:
        for tower, wanted in texts.items():
            for start in range(0, len(wanted), _EMBEDDED_AT_ONCE):
                part = wanted[start : start + _EMBEDDED_AT_ONCE]
                codes = packed(towers.embed(tower, [_embedded_text(connection, row) for row in part]))
                connection.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", zip(part, codes, strict=True))
    what = f"passages with no vector, or a damaged one: {len(rows) - len(items):,}"
    yield mendable(what, "answers", "embedded again", mended=repair)


def _tower_of(connection: sqlite3.Connection, row: int, towers: Towers) -> str | None:
    """The tower of texts that embeds a passage; None of an item, which the store does not hold."""
    if not towers.tagged:
        return TEXTS
    sql = "SELECT d.metadata FROM passages AS p JOIN documents AS d ON d.doc = p.doc WHERE p.row = ?"
    name = as_metadata(connection.execute(sql, (row,)).fetchone()[0]).get(MODALITY)
    return name if isinstance(name, str) and towers.kinds.get(name) == "text" else None


def _only_from_source(what: str, repair: bool) -> Finding:
    again = "run nearfar index again on the source, or upsert them again: it takes them anew"
    return Finding(what, "answers", again if repair else f"run with --repair, then {again.removeprefix('run ')}")


def _embedded_text(connection: sqlite3.Connection, row: int) -> str:
    heading, text = connection.execute("SELECT heading, text FROM passages WHERE row = ?", (row,)).fetchone()
    return f"{heading}\n{text}" if heading else text


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
