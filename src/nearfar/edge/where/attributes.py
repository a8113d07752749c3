"""Conditions over the store: metadata as rows of a table, and the documents that satisfy a condition, found by its index.

The table `attributes(key TEXT, value, doc INTEGER, PRIMARY KEY (key, value, doc)) WITHOUT ROWID` has one row for every
value. Its column `value` has no type, so SQLite compares numbers with numbers and text with text, byte by byte, which
in UTF-8 is the order of code points. SQLite has no bools; they are stored as blobs of one byte, which equal nothing
else, and which follow all text in its order of types: numbers, text, blobs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from functools import reduce
from typing import TYPE_CHECKING, Any, assert_never

import numpy as np
import numpy.typing as npt

from nearfar.edge.where.condition import (
    And,
    Compare,
    Condition,
    Exists,
    In,
    Like,
    Not,
    Or,
    keys,
    like_pattern,
    plain_value,
    values_of,
)
from nearfar.errors import DataError

if TYPE_CHECKING:
    from nearfar.sources.document import Metadata, Scalar

ATTRIBUTES = """CREATE TABLE attributes (
    key TEXT NOT NULL, value NOT NULL, doc INTEGER NOT NULL, PRIMARY KEY (key, value, doc)
) WITHOUT ROWID;"""
"""The table that this module reads."""

Stored = str | int | float | bytes
Documents = npt.NDArray[np.int64]
Run = Callable[[str, Sequence[Any]], Iterable[Sequence[Any]]]
"""Runs a statement with its parameters and gives the rows; `sqlite3.Connection.execute` is one."""

_KEYS_SHOWN = 30
_TYPE_ENDS = {"number": "''", "text": "x''"}
"""The smallest value of the type that follows."""


def attribute_rows(metadata: Metadata) -> list[tuple[str, Stored]]:
    """The rows (key, value) that a document has in the table; each once."""
    rows = {(key, stored_value(value)): None for key in metadata for value in values_of(metadata, key)}
    return list(rows)


def stored_value(value: Scalar) -> Stored:
    """How the table holds a value; one that `plain_value` has let through."""
    return bytes([value]) if isinstance(value, bool) else value


def allowed_documents(condition: Condition, run: Run, documents: Documents | None = None) -> Documents:
    """The documents that satisfy a condition: those for which `matches` is true.

    Args:
        condition: what `parse` returns.
        run: runs a statement in the store, inside one snapshot of it.
        documents: the numbers of all documents, ascending, int64 (n,); read from the table `documents(doc)` where a
            condition needs them and they are not given.

    Returns:
        Their numbers, ascending, int64 (m,).
    """

    def everything() -> Documents:
        return documents if documents is not None else _fetched(run, "FROM documents", ())

    def solve(part: Condition) -> Documents:
        match part:
            case And(parts):
                return _all_of(parts)
            case Or(parts):
                return reduce(np.union1d, map(solve, parts)) if parts else np.empty(0, dtype=np.int64)
            case Not(negated):
                return _without(everything(), solve(negated))
            case _:
                return _of_key(part, run)

    def _all_of(parts: tuple[Condition, ...]) -> Documents:
        wanted = [solve(part) for part in parts if not isinstance(part, Not)]
        # What is not wanted is taken from what is, and needs no list of all documents.
        allowed = reduce(_common, sorted(wanted, key=len)) if wanted else everything()
        for part in parts:
            if isinstance(part, Not) and len(allowed):
                allowed = _without(allowed, solve(part.part))
        return allowed

    return solve(condition)


def check_keys(condition: Condition, run: Run) -> None:
    """Refuse a condition on a key that no document has: to be asked where a condition allows nothing.

    Raises:
        DataError: there is such a key; the message names the keys that there are.
    """
    known = known_keys(run)
    for key in sorted(keys(condition) - set(known)):
        alike = get_close_matches(key, known, n=1)
        meant = f"; did you mean {alike[0]}?" if alike else ";"
        shown = ", ".join(known[:_KEYS_SHOWN]) + (" …" if len(known) > _KEYS_SHOWN else "")
        there = f"there are {shown}" if known else "none of them has any metadata"
        raise DataError(f"no document of the index has a {key!r}{meant} {there}")


def known_keys(run: Run) -> list[str]:
    """The keys that documents of the store have, ascending."""
    # One step for each key; a DISTINCT would go through every row.
    sql = """WITH RECURSIVE known(key) AS (
                 SELECT min(key) FROM attributes
                 UNION ALL SELECT (SELECT min(key) FROM attributes WHERE key > known.key) FROM known WHERE key IS NOT NULL
             ) SELECT key FROM known WHERE key IS NOT NULL"""
    return [key for (key,) in run(sql, ())]


def _common(one: Documents, other: Documents) -> Documents:
    return one[np.isin(one, other, assume_unique=True)]


def _without(one: Documents, other: Documents) -> Documents:
    return one[np.isin(one, other, assume_unique=True, invert=True)]


def _of_key(part: Compare | In | Like | Exists, run: Run) -> Documents:
    """The documents that satisfy a condition on one key."""
    match part:
        case Exists(key):
            return _select(run, key, "TRUE", ())
        case Compare(key, "!=", value):
            equal = _of_key(Compare(key, "=", value), run)
            return _without(_select(run, key, "TRUE", ()), equal)
        case Compare(key, op, value):
            plain = plain_value(value)
            if plain is None or (isinstance(plain, bool) and op != "="):
                return np.empty(0, dtype=np.int64)
            bounds = ""
            if op in {">", ">="}:
                bounds = f" AND value < {_TYPE_ENDS['text' if isinstance(plain, str) else 'number']}"
            elif op != "=" and isinstance(plain, str):
                bounds = f" AND value >= {_TYPE_ENDS['number']}"
            return _select(run, key, f"value {op} ?{bounds}", (stored_value(plain),))
        case In(key, values):
            wanted = {stored_value(plain): None for value in values if (plain := plain_value(value)) is not None}
            return _select(run, key, f"value IN ({', '.join('?' * len(wanted))})", list(wanted))
        case Like(key, pattern):
            return _like(run, key, pattern)
        case _:
            assert_never(part)


def _like(run: Run, key: str, pattern: str) -> Documents:
    """SQLite's LIKE knows the case of ASCII letters only, so what is not ASCII is left to the reference."""
    texts = "value >= '' AND value < x''"
    ascii_text = "length(value) = length(CAST(value AS BLOB))" if pattern.isascii() else "FALSE"
    distinct = f"SELECT DISTINCT value FROM attributes WHERE key = ? AND {texts} AND NOT {ascii_text}"
    folded = like_pattern(pattern)
    others = [value for (value,) in run(distinct, (key,)) if folded.match(value)]
    test = f"{texts} AND (({ascii_text} AND value LIKE ?) OR value IN (SELECT value FROM json_each(?)))"
    return _select(run, key, test, (str(plain_value(pattern)), json.dumps(others)))


def _select(run: Run, key: str, test: str, given: Sequence[Stored]) -> Documents:
    return _fetched(run, f"FROM attributes WHERE key = ? AND {test}", (key, *given))


def _fetched(run: Run, source: str, given: Sequence[Stored]) -> Documents:
    # One long text is read in a third of the time that a row for each document takes.
    ((joined,),) = run(f"SELECT group_concat(doc) {source}", given)
    found = np.fromstring(joined or "", dtype=np.int64, sep=",")
    if (found[1:] > found[:-1]).all():
        return found
    if found.min() < 0 or found.max() > 64 * len(found):
        return np.unique(found)
    # Where the numbers lie close together, marking them is much faster than sorting them.
    marks = np.zeros(int(found.max()) + 1, dtype=np.bool_)
    marks[found] = True
    return np.flatnonzero(marks)
