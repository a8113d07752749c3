"""The language of `--where`: conditions on metadata, written as in the WHERE of SQL."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from nearfar.edge.where.condition import And, Compare, Condition, Exists, In, Like, Not, Operator, Or
from nearfar.errors import DataError

if TYPE_CHECKING:
    from nearfar.sources.document import Scalar

MAX_LENGTH = 10_000
"""Characters of a condition."""
MAX_DEPTH = 50
"""Parentheses and NOTs inside each other."""
MAX_COMPARISONS = 200
"""Comparisons of one condition; the list of an IN counts as one."""

_TOKENS = re.compile(
    r"""\s*(?:
    (?P<text>'(?:[^']|'')*')
  | (?P<quoted>"(?:[^"]|"")*")
  | (?P<number>[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?![\w.\-]))
  | (?P<word>[\w.\-]+)
  | (?P<sign><=|>=|<>|!=|==|[=<>(),])
  | (?P<end>\Z)
  | (?P<wrong>.)
    )""",
    re.VERBOSE | re.DOTALL,
)
_KEYWORDS = {"AND", "OR", "NOT", "IN", "LIKE", "IS", "NULL", "TRUE", "FALSE"}
_OPERATORS: dict[str, Operator] = {
    "=": "=", "==": "=", "!=": "!=", "<>": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">=",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int

    @property
    def name(self) -> str:
        """A keyword or sign in capitals; empty for what is neither."""
        return self.text.upper() if self.kind == "sign" or self.is_keyword else ""

    @property
    def shown(self) -> str:
        """What a message says was found."""
        text = " ".join(self.text.split())
        return f"{text[:40]}…" if len(text) > 40 else text or "the end"

    @property
    def is_keyword(self) -> bool:
        return self.kind == "word" and self.text.upper() in _KEYWORDS


def parse(text: str) -> Condition:
    """Read a condition such as `year >= 2020 and lang in ('en', 'de') and not draft = true`.

    Keys are bare (letters, digits, `_`, `.`, `-`) or in double quotes, and are told apart by case; text is in single
    quotes, with `''` for a quote in it. There are `= != <> < <= > >=`, `[NOT] IN (...)`, `[NOT] LIKE` with `%` and `_`
    (upper and lower case are one), `IS [NOT] NULL`, `AND`, `OR`, `NOT`, parentheses, numbers, `true` and `false`.
    `NOT` binds tighter than `AND`, and `AND` tighter than `OR`.

    What is the negation of one comparison (`!=`, `NOT IN`, `NOT LIKE`) asks for a value, as in SQL; a `NOT` before a
    condition does not: `not lang = 'en'` also holds without any `lang`.

    Raises:
        DataError: the text is no condition; the message shows the place and says what to do.
    """
    if not text.strip():
        raise DataError("the condition is empty; write one such as: year >= 2020 and lang = 'en'")
    if len(text) > MAX_LENGTH:
        raise DataError(f"the condition has {len(text):,} characters, and {MAX_LENGTH:,} are allowed; shorten it")
    return _Parser(text).whole()


class _Parser:
    """Recursive descent; one method for each rule of the grammar."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = [_token(found) for found in _TOKENS.finditer(text)]
        self._next = 0
        self._depth = 0
        self._comparisons = 0

    def whole(self) -> Condition:
        condition = self._any_of()
        token = self._peek()
        if token.kind != "end":
            if token.name == ")":
                raise self._error(token, "there is no ( that belongs to this )", "remove it or add the (")
            raise self._error(token, f"expected AND, OR or the end, found {token.shown}", _mend_after(token))
        return condition

    def _any_of(self) -> Condition:
        parts = self._joined("OR", self._all_of)
        return parts[0] if len(parts) == 1 else Or(parts)

    def _all_of(self) -> Condition:
        parts = self._joined("AND", self._one)
        return parts[0] if len(parts) == 1 else And(parts)

    def _joined(self, word: str, part: Callable[[], Condition]) -> tuple[Condition, ...]:
        parts = [part()]
        while self._take(word):
            parts.append(part())
        return tuple(parts)

    def _one(self) -> Condition:
        opening = self._peek()
        if opening.name not in {"NOT", "("}:
            return self._comparison()
        self._advance()
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._error(
                opening, f"more than {MAX_DEPTH} parentheses and NOTs inside each other", "write it flatter"
            )
        condition = Not(self._one()) if opening.name == "NOT" else self._any_of()
        if opening.name == "(" and not self._take(")"):
            token = self._peek()
            raise self._error(token, f"expected AND, OR or ), found {token.shown}", _mend_after(token))
        self._depth -= 1
        return condition

    def _comparison(self) -> Condition:
        key = self._key()
        self._comparisons += 1
        token = self._advance()
        if self._comparisons > MAX_COMPARISONS:
            raise self._error(token, f"more than {MAX_COMPARISONS} comparisons", "join those of one key with IN (...)")
        if token.name in _OPERATORS:
            return self._compare(key, _OPERATORS[token.name])
        if token.name == "IS":
            return self._null(key)
        negated = token.name == "NOT"
        if negated:
            token = self._advance()
        if token.name not in {"IN", "LIKE"}:
            expected = "IN or LIKE" if negated else "an operator"
            raise self._error(token, f"expected {expected} after the key, found {token.shown}", _mend_operator(token))
        found: Condition = In(key, self._list()) if token.name == "IN" else Like(key, self._pattern())
        return And((Exists(key), Not(found))) if negated else found

    def _key(self) -> str:
        token = self._advance()
        if token.kind == "quoted":
            return token.text[1:-1].replace('""', '"')
        if token.kind == "word" and not token.is_keyword:
            return token.text
        mend = "a comparison begins with a key, such as year >= 2020"
        if token.is_keyword:
            mend = f'where it is the name of a key, put it in double quotes: "{token.text}"'
        elif token.kind in {"text", "number"}:
            mend = f"the key comes first, the value after it; a key that looks like this goes in double quotes: {_quoted(token)}"
        raise self._error(token, f"expected a key, found {token.shown}", mend)

    def _compare(self, key: str, op: Operator) -> Condition:
        token = self._peek()
        value = self._value()
        if isinstance(value, bool) and op not in {"=", "!="}:
            raise self._error(token, f"{token.text} is neither more nor less than anything", "use = or !=")
        return Compare(key, op, value)

    def _null(self, key: str) -> Condition:
        negated = self._take("NOT")
        token = self._advance()
        if token.name != "NULL":
            raise self._error(
                token, f"expected NULL, found {token.shown}", "write IS NULL, IS NOT NULL, or = and a value"
            )
        return Exists(key) if negated else Not(Exists(key))

    def _list(self) -> tuple[Scalar, ...]:
        token = self._advance()
        if token.name != "(":
            raise self._error(token, f"expected (, found {token.shown}", "IN takes a list: IN ('en', 'de')")
        values = [self._value()]
        while self._take(","):
            values.append(self._value())
        token = self._advance()
        if token.name != ")":
            raise self._error(token, f"expected a comma or ), found {token.shown}", "a list looks so: ('en', 'de')")
        return tuple(values)

    def _pattern(self) -> str:
        token = self._peek()
        value = self._value()
        if not isinstance(value, str):
            raise self._error(
                token, f"LIKE compares text, found {token.shown}", "put it in single quotes, with % for any text"
            )
        return value

    def _value(self) -> Scalar:
        token = self._advance()
        if token.kind == "text":
            return token.text[1:-1].replace("''", "'")
        if token.kind == "number":
            return _number(token.text)
        if token.name in {"TRUE", "FALSE"}:
            return token.name == "TRUE"
        mend = "a value is a number, true, false, or text in single quotes"
        if token.name == "NULL":
            mend = "to ask for what is missing, write IS NULL"
        elif token.kind in {"word", "quoted"} and not token.is_keyword:
            mend = f"text goes in single quotes: {_quoted(token)}"
        raise self._error(token, f"expected a value, found {token.shown}", mend)

    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _advance(self) -> _Token:
        token = self._peek()
        if token.kind == "wrong":
            if token.text in "'\"":
                raise self._error(token, f"the {token.text} is never closed", f"add a {token.text} where the text ends")
            raise self._error(
                token, f"{token.text} means nothing here", 'a key with other characters goes in double quotes: "my key"'
            )
        if token.kind != "end":
            self._next += 1
        return token

    def _take(self, name: str) -> bool:
        found = self._peek().name == name
        self._next += found
        return found

    def _error(self, token: _Token, wrong: str, mend: str) -> DataError:
        # A window around the place, so that the caret stands under it also in a long condition.
        begin = max(0, token.at - 60)
        shown = "".join(" " if character.isspace() else character for character in self._text[begin : token.at + 60])
        caret = " " * (token.at - begin) + "^"
        return DataError(f"the condition, column {token.at + 1}: {wrong}; {mend}\n  {shown}\n  {caret}")


def _token(found: re.Match[str]) -> _Token:
    kind = cast("str", found.lastgroup)
    return _Token(kind, found.group(kind), found.start(kind))


def _number(text: str) -> int | float:
    # int() refuses thousands of digits; such a number is beyond 64 bits and compared as a float anyhow.
    return int(text) if len(text) < 300 and text.lstrip("+-").isdigit() else float(text)


def _quoted(token: _Token) -> str:
    """How a value would be written as a key, or a key as a value."""
    if token.kind in {"text", "number"}:
        return '"' + token.shown.strip("'").replace('"', '""') + '"'
    return "'" + token.shown.strip('"').replace("'", "''") + "'"


def _mend_after(token: _Token) -> str:
    if token.kind == "end":
        return "add the ) that belongs to the ("
    if token.kind in {"word", "number"}:
        return "a text with blanks goes in single quotes as a whole, and comparisons are joined by AND or OR"
    return "comparisons are joined by AND or OR"


def _mend_operator(token: _Token) -> str:
    if token.text.upper() == "BETWEEN":
        return "write key >= low AND key <= high"
    if token.kind == "end" or token.name in {"AND", "OR", ")"}:
        return "a comparison has a key, an operator and a value; true and false are values: draft = true"
    return 'use = != < <= > >= IN LIKE or IS; a key with blanks goes in double quotes: "my key"'
