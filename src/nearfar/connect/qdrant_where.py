"""Conditions on metadata as Qdrant filters, with the meaning that they have on the device; what cannot be said is refused."""

from __future__ import annotations

from typing import assert_never

from qdrant_client import models

from nearfar.edge.where.condition import And, Compare, Condition, Exists, In, Like, Not, Or, plain_value
from nearfar.errors import DataError
from nearfar.sources.document import Scalar

_LARGEST = 2**53
"""Qdrant compares numbers as doubles; from here on it would take neighbours for equal."""
_FIELD = "metadata"
_BOUNDS = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}
_NOTHING = models.Filter(must=[models.HasIdCondition(has_id=[])])


def where_filter(condition: Condition) -> models.Filter:
    """Write a condition as a filter.

    Args:
        condition: over the payload's `metadata`.

    Raises:
        DataError: Qdrant cannot say it: LIKE, an order of texts, numbers beyond 2^53.
    """
    match condition:
        case And(parts):
            return models.Filter(must=[where_filter(part) for part in parts])
        case Or(parts):
            return models.Filter(should=[where_filter(part) for part in parts]) if parts else _NOTHING
        case Not(part):
            return models.Filter(must_not=[where_filter(part)])
        case Exists(key):
            return models.Filter(must_not=[models.IsEmptyCondition(is_empty=models.PayloadField(key=_path(key)))])
        case Compare(key, "!=", value):
            return where_filter(And((Exists(key), Not(Compare(key, "=", value)))))
        case Compare(key, "=", value):
            return where_filter(In(key, (value,)))
        case Compare(key, op, value):
            return _ordered(key, _BOUNDS[op], plain_value(value))
        case In(key, values):
            plain = [wanted for value in values if (wanted := plain_value(value)) is not None]
            return models.Filter(should=[_equal(key, value) for value in plain]) if plain else _NOTHING
        case Like(key):
            raise DataError(
                f"the condition asks with LIKE for {key}, and Qdrant compares whole values only; use = or IN, or search the "
                "index on the device or on PostgreSQL"
            )
        case _:
            assert_never(condition)


def _equal(key: str, value: Scalar) -> models.FieldCondition:
    if isinstance(value, bool | str):
        return models.FieldCondition(key=_path(key), match=models.MatchValue(value=value))
    number = _number(key, value)
    # A whole number and the same with a point are one number, but not for Qdrant's match.
    return models.FieldCondition(key=_path(key), range=models.Range(gte=number, lte=number))


def _ordered(key: str, bound: str, value: Scalar | None) -> models.Filter:
    if value is None or isinstance(value, bool):
        return _NOTHING
    if isinstance(value, str):
        raise DataError(
            f"the condition asks for {key} before or after a text, and Qdrant orders numbers only; store it as a number, "
            "or search the index on the device or on PostgreSQL"
        )
    return models.Filter(
        must=[models.FieldCondition(key=_path(key), range=models.Range(**{bound: _number(key, value)}))]
    )


def _number(key: str, value: float) -> float:
    if abs(value) >= _LARGEST:
        raise DataError(
            f"the condition compares {key} with {value}, and Qdrant tells numbers apart up to 2^53 only; store such numbers as text"
        )
    return float(value)


def _path(key: str) -> str:
    plain = str(plain_value(key))
    if '"' in plain or not plain:
        raise DataError(f'the condition asks for the key {key!r}, and Qdrant knows no key that is empty or holds a "')
    return f'{_FIELD}."{plain}"'
