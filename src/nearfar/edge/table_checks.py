"""What can be wrong in the tables of a store, how it is found, and what mends it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from nearfar.edge.store.reader import as_metadata
from nearfar.edge.where import attribute_rows
from nearfar.edge.where.attributes import Stored

Effect = Literal["answers", "speed", "room"]
"""What a fault costs: wrong or missing answers, slower ones, or only room on the disk."""

_SCALE_BYTES = 4
_BLOCK = 4096
_IDS_SHOWN = 5
_READ_AGAIN = "UPDATE documents SET stamp = '', digest = x'' WHERE doc IN ({})"
"""Such a document counts as changed."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault of an index.

    Attributes:
        what: is wrong, and where.
        effect: what it costs.
        mend: what was done about it, or what to do.
        mended: it was mended.
    """

    what: str
    effect: Effect
    mend: str
    mended: bool = False


def mendable(what: str, effect: Effect, done: str, *, mended: bool) -> Finding:
    """A fault that a repair mends: what it did, or will do, in the words `done`."""
    return Finding(what, effect, f"they were {done}" if mended else f"run with --repair: they will be {done}", mended)


@dataclass(frozen=True, slots=True)
class TableCheck:
    """A fault that one statement finds and another one mends.

    Attributes:
        what: the rows that are wrong; their number is put behind it.
        faulty: what follows `SELECT count(*)`.
        done: what the statement does to them, in words; empty where only the source can bring back what is lost.
        statement: that mends it, or marks the documents, so that the next run over their source takes them anew.
    """

    what: str
    faulty: str
    done: str
    statement: str


_INCOMPLETE = """SELECT d.doc FROM documents AS d LEFT JOIN passages AS p ON p.doc = d.doc
                 GROUP BY d.doc HAVING count(p.row) = 0 OR count(p.row) <> max(p.number) OR min(p.number) <> 1"""
# `length` counts up to the first NUL, so texts with one are left out.
_WRONG_LENGTH = "SELECT doc FROM passages WHERE length(text) <> ends - begins AND instr(text, char(0)) = 0"

TABLE_CHECKS = (
    TableCheck(
        "passages that belong to no document",
        "FROM passages WHERE doc NOT IN (SELECT doc FROM documents)",
        "removed, as no answer shows them",
        "DELETE FROM passages WHERE doc NOT IN (SELECT doc FROM documents)",
    ),
    TableCheck(
        "vectors that belong to no passage",
        "FROM vectors WHERE row NOT IN (SELECT row FROM passages)",
        "removed",
        "DELETE FROM vectors WHERE row NOT IN (SELECT row FROM passages)",
    ),
    TableCheck(
        "values of metadata that belong to no document",
        "FROM attributes WHERE doc NOT IN (SELECT doc FROM documents)",
        "removed",
        "DELETE FROM attributes WHERE doc NOT IN (SELECT doc FROM documents)",
    ),
    TableCheck(
        "passages that are marked as removed and are there, so that a search may leave them out",
        "FROM removed WHERE row IN (SELECT row FROM passages)",
        "freed of the mark",
        "DELETE FROM removed WHERE row IN (SELECT row FROM passages)",
    ),
    TableCheck(
        "derived files that cover rows which the store has never given",
        """FROM meta WHERE key LIKE 'derived.%' AND json_extract(value, '$.last_row') >
           coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'passages'), 0)""",
        "made again",
        """UPDATE sqlite_sequence SET seq = (SELECT max(json_extract(value, '$.last_row')) FROM meta
           WHERE key LIKE 'derived.%') WHERE name = 'passages'""",
    ),
    TableCheck(
        "documents that lack some of their passages",
        f"FROM ({_INCOMPLETE})",
        "",
        _READ_AGAIN.format(_INCOMPLETE),
    ),
    TableCheck(
        "documents with a passage of another length than it should have",
        f"FROM (SELECT DISTINCT doc FROM ({_WRONG_LENGTH}))",
        "",
        _READ_AGAIN.format(_WRONG_LENGTH),
    ),
)
"""In the order in which they are mended."""


def page_problems(connection: sqlite3.Connection) -> list[str]:
    """What SQLite finds wrong with its own file; empty where it is sound."""
    try:
        said = [str(text) for (text,) in connection.execute("PRAGMA integrity_check(20)")]
    except sqlite3.DatabaseError as error:
        return [str(error)]
    return [] if said == ["ok"] else said


def count(connection: sqlite3.Connection, check: TableCheck) -> int:
    """How many rows have the fault."""
    return int(connection.execute(f"SELECT count(*) {check.faulty}").fetchone()[0])


def some_ids(connection: sqlite3.Connection, check: TableCheck) -> list[str]:
    """The ids of a few of the documents that a check of documents finds."""
    sql = f"SELECT doc_id FROM documents WHERE doc IN (SELECT doc {check.faulty}) ORDER BY doc LIMIT {_IDS_SHOWN}"
    return [str(id) for (id,) in connection.execute(sql)]


def keywords_agree(connection: sqlite3.Connection) -> bool:
    """Whether the keyword index holds exactly the words of the passages."""
    missing = "SELECT EXISTS (SELECT {} EXCEPT SELECT {})"
    for one, other in (("row FROM passages", "id FROM keywords_docsize"), ("id FROM keywords_docsize", "row FROM passages")):  # fmt: skip
        if connection.execute(missing.format(one, other)).fetchone()[0]:
            return False
    try:
        # With rank 1 FTS5 compares its words with the passages, not only its own tables with each other.
        connection.execute("INSERT INTO keywords (keywords, rank) VALUES ('integrity-check', 1)")
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_CORRUPT:
            raise
        return False
    return True


def rows_without_vector(connection: sqlite3.Connection, dim: int) -> list[int]:
    """Rows of passages whose vector is missing, of another length, or not made of finite numbers, ascending."""
    sql = """SELECT p.row FROM passages AS p LEFT JOIN vectors AS v ON v.row = p.row
             WHERE v.code IS NULL OR typeof(v.code) <> 'blob' OR length(v.code) <> ?"""
    rows = {row for (row,) in connection.execute(sql, (_SCALE_BYTES + dim,))}
    scales = connection.execute(
        f"SELECT v.row, substr(v.code, 1, {_SCALE_BYTES}) FROM vectors AS v JOIN passages AS p ON p.row = v.row "
        "WHERE typeof(v.code) = 'blob' AND length(v.code) = ?",
        (_SCALE_BYTES + dim,),
    )
    while part := scales.fetchmany(_BLOCK):
        values = np.frombuffer(b"".join(scale for _, scale in part), dtype="<f4")
        sound = np.isfinite(values) & (values >= 0)
        rows.update(part[place][0] for place in np.flatnonzero(~sound).tolist())
    return sorted(rows)


def documents_tagged_wrongly(connection: sqlite3.Connection) -> Iterator[tuple[int, str | None]]:
    """Documents whose rows for `--where` do not say what their metadata says, as (number, metadata).

    The metadata is None where it cannot be read.
    """
    after = 0
    while part := connection.execute(
        "SELECT doc, metadata FROM documents WHERE doc > ? ORDER BY doc LIMIT ?", (after, _BLOCK)
    ).fetchall():
        tagged: dict[int, set[tuple[str, Stored]]] = {}
        last = part[-1][0]
        for doc, key, value in connection.execute(
            "SELECT doc, key, value FROM attributes WHERE doc > ? AND doc <= ?", (after, last)
        ):
            tagged.setdefault(doc, set()).add((key, value))
        for doc, text in part:
            wanted = _wanted(text)
            if wanted is None:
                yield doc, None
            elif wanted != tagged.get(doc, set()):
                yield doc, text
        after = last


def _wanted(text: str) -> set[tuple[str, Stored]] | None:
    try:
        return set(attribute_rows(as_metadata(text))) if text != "{}" else set()
    except (json.JSONDecodeError, AttributeError, TypeError):
        return None
