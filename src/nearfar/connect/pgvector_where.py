"""Conditions on metadata as SQL over a `jsonb` column, with exactly the meaning that they have on the device."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, assert_never

from nearfar.edge.where.condition import And, Compare, Condition, Exists, In, Like, Not, Or, like_pattern, plain_value
from nearfar.sources.document import Scalar

Sql = tuple[str, list[Any]]
"""A condition in SQL with `%s` for its parameters, and the parameters."""
TextsOf = Callable[[str], list[str]]
"""Gives the different texts that a key has on the server."""

_SIGNS = {"=": "==", "<": "<", "<=": "<=", ">": ">", ">=": ">="}


def where_sql(condition: Condition, texts_of: TextsOf) -> Sql:
    """Write a condition in SQL.

    JSON paths have the types that `matches` has: numbers compare with numbers, text with text by code point, and any
    other mix is unknown, which finds nothing. For `LIKE` the texts of the key are compared here, since no two systems
    agree on upper and lower case.

    Args:
        condition: over the column `metadata`.
        texts_of: asked for the keys of `LIKE`.
    """
    match condition:
        case And(parts):
            return _joined("AND", "TRUE", [where_sql(part, texts_of) for part in parts])
        case Or(parts):
            return _joined("OR", "FALSE", [where_sql(part, texts_of) for part in parts])
        case Not(part):
            text, given = where_sql(part, texts_of)
            return f"({text}) IS NOT TRUE", given
        case Exists(key):
            return _path(_values(key))
        case Compare(key, "!=", value):
            return where_sql(And((Exists(key), Not(Compare(key, "=", value)))), texts_of)
        case Compare(key, op, value):
            plain = plain_value(value)
            if plain is None or (isinstance(plain, bool) and op != "="):
                return "FALSE", []
            return _path(f"{_values(key)} ? (@ {_SIGNS[op]} {_literal(plain)})")
        case In(key, values):
            return _any_of(key, [plain for value in values if (plain := plain_value(value)) is not None])
        case Like(key, pattern):
            folded = like_pattern(pattern)
            return _one_of_texts(key, [text for text in texts_of(key) if folded.match(text)])
        case _:
            assert_never(condition)


def texts_path(key: str) -> str:
    """The JSON path to the texts of a key."""
    return f'{_values(key)} ? (@.type() == "string")'


def _any_of(key: str, values: list[Scalar]) -> Sql:
    if not values:
        return "FALSE", []
    return _path(f"{_values(key)} ? ({' || '.join(f'@ == {_literal(value)}' for value in values)})")


def _one_of_texts(key: str, texts: list[str]) -> Sql:
    found = "SELECT FROM jsonb_path_query(metadata, %s::jsonpath) AS v WHERE v #>> ARRAY[]::text[] = ANY(%s)"
    return f"EXISTS ({found})", [texts_path(key), texts]


def _joined(word: str, none: str, parts: list[Sql]) -> Sql:
    text = f" {word} ".join(f"({part})" for part, _ in parts)
    return text or none, [value for _, given in parts for value in given]


def _path(path: str) -> Sql:
    return "metadata @? %s::jsonpath", [path]


def _values(key: str) -> str:
    """All values of a key. Outside a list there is one, which a path takes for a list of one."""
    return f"$.{json.dumps(str(plain_value(key)))}[*]"


def _literal(value: Scalar) -> str:
    if isinstance(value, float) and math.isinf(value):
        return f"{'-' if value < 0 else ''}1e400"  # beyond every number that a document can have
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return json.dumps(value)
