"""What a document must be like to be found, and whether it is: the meaning of every other way to evaluate a condition.

A key may hold several values, and a comparison holds when any one of them satisfies it. There are two truth values: of
a key that a document does not have, every comparison is false, and so its `Not` is true. `!=` is no exception: it says
that there is a value and that none equals.

Numbers compare with numbers, and text with text in the order of code points, so ISO dates compare as dates. True and
false equal only themselves. Any other mix is false.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, assert_never

if TYPE_CHECKING:
    from nearfar.sources.document import Metadata, Scalar

Operator = Literal["=", "!=", "<", "<=", ">", ">="]


@dataclass(frozen=True, slots=True)
class Compare:
    """A value of `key` compares with `value`; for `!=`, there is a value and none equals."""

    key: str
    op: Operator
    value: Scalar


@dataclass(frozen=True, slots=True)
class In:
    """A value of `key` equals one of `values`."""

    key: str
    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Like:
    """A text of `key` looks as `pattern` says: `%` is any text, `_` any one character; upper and lower case are one."""

    key: str
    pattern: str


@dataclass(frozen=True, slots=True)
class Exists:
    """There is a value of `key`."""

    key: str


@dataclass(frozen=True, slots=True)
class And:
    """All of `parts` hold."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """One of `parts` holds."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """`part` does not hold; this includes every document without the key."""

    part: Condition


Condition = Compare | In | Like | Exists | And | Or | Not

_ORDERS: dict[Operator, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def matches(condition: Condition, metadata: Metadata) -> bool:
    """Whether a document with this metadata satisfies a condition.

    Args:
        condition: what `parse` returns, or built by hand.
        metadata: of the document; a key without values (an empty tuple, NaN) is a missing key.
    """
    match condition:
        case And(parts):
            return all(matches(part, metadata) for part in parts)
        case Or(parts):
            return any(matches(part, metadata) for part in parts)
        case Not(part):
            return not matches(part, metadata)
    values = values_of(metadata, condition.key)
    match condition:
        case Exists():
            return bool(values)
        case Compare(op="!=", value=value):
            return bool(values) and not any(_compares("=", each, value) for each in values)
        case Compare(op=op, value=value):
            return any(_compares(op, each, value) for each in values)
        case In(values=wanted):
            return any(_compares("=", each, value) for each in values for value in wanted)
        case Like(pattern=pattern):
            like = like_pattern(pattern)
            return any(isinstance(each, str) and like.match(each) is not None for each in values)
        case _:
            assert_never(condition)


def keys(condition: Condition) -> frozenset[str]:
    """The keys that a condition speaks of."""
    match condition:
        case And(parts) | Or(parts):
            return frozenset[str]().union(*map(keys, parts))
        case Not(part):
            return keys(part)
        case _:
            return frozenset([condition.key])


def values_of(metadata: Metadata, key: str) -> tuple[Scalar, ...]:
    """The values of a key as they are stored and compared; none where the key is missing."""
    given = metadata.get(key, ())
    several = given if isinstance(given, tuple | list) else (given,)  # JSON, where the store keeps them, has lists
    plain = (plain_value(value) for value in several)
    return tuple(value for value in plain if value is not None)


def plain_value(value: Scalar) -> Scalar | None:
    """A value as it is stored and compared.

    Args:
        value: a number of any size, a text of any characters, or a bool.

    Returns:
        An int beyond 64 bits as a float; a text with a blank for a NUL and `?` for half a surrogate pair, which
        databases refuse; None for NaN, which equals nothing; anything else as it is.
    """
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode().replace("\0", " ")
    if isinstance(value, int):
        if -(2**63) <= value < 2**63:
            return value
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
    return None if math.isnan(value) else value


@lru_cache(maxsize=64)
def like_pattern(pattern: str) -> re.Pattern[str]:
    """The regular expression of a `Like`, to be used with `match`; its time is linear in the length of the text."""
    first, *others = (_literal(piece) for piece in str(plain_value(pattern)).split("%"))
    if not others:
        return re.compile(rf"{first}\Z", re.IGNORECASE | re.DOTALL)
    # The leftmost place of each piece is as good as any later one, so nothing is ever taken back: atomic groups.
    middle = "".join(f"(?>.*?{piece})" for piece in others[:-1] if piece)
    return re.compile(rf"{first}{middle}.*{others[-1]}\Z", re.IGNORECASE | re.DOTALL)


def _literal(piece: str) -> str:
    return "".join("." if character == "_" else re.escape(character) for character in piece)


def _compares(op: Operator, held: Scalar, given: Scalar) -> bool:
    wanted = plain_value(given)
    if wanted is None:
        return False
    if isinstance(held, bool) or isinstance(wanted, bool):
        return op == "=" and isinstance(held, bool) and isinstance(wanted, bool) and held is wanted
    return isinstance(held, str) == isinstance(wanted, str) and _ORDERS[op](held, wanted)
