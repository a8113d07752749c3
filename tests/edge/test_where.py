import sqlite3

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearfar.edge.where import (
    ATTRIBUTES,
    And,
    Compare,
    Exists,
    In,
    Like,
    Not,
    Or,
    allowed_documents,
    attribute_rows,
    check_keys,
    keys,
    known_keys,
    matches,
    parse,
)
from nearfar.edge.where.language import MAX_COMPARISONS, MAX_DEPTH, MAX_LENGTH
from nearfar.errors import DataError


def store_of(metadata: list[dict], numbers: list[int] | None = None) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE documents (doc INTEGER PRIMARY KEY)")
    connection.execute(ATTRIBUTES)
    for number, each in zip(numbers or range(len(metadata)), metadata, strict=True):
        connection.execute("INSERT INTO documents VALUES (?)", (number,))
        rows = [(key, value, number) for key, value in attribute_rows(each)]
        connection.executemany("INSERT INTO attributes VALUES (?, ?, ?)", rows)
    return connection


def found(text: str, metadata: list[dict]) -> list[int]:
    """The documents that a condition allows, where the table and the reference agree."""
    condition = parse(text)
    with store_of(metadata) as connection:
        allowed = allowed_documents(condition, connection.execute)
    assert allowed.tolist() == [number for number, each in enumerate(metadata) if matches(condition, each)]
    return allowed.tolist()


BOOKS = [
    {"year": 1999, "lang": "en", "tags": ("war", "sea"), "date": "1999-05-01"},
    {"year": 2020, "lang": "de", "draft": True, "date": "2020-11-30"},
    {"year": 2021.5, "lang": "EN", "tags": "sea", "draft": False, "date": "2021-01-02"},
    {"lang": "Ärger", "year": "2020"},
    {},
]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("year >= 2020", [1, 2]),
        ("year = 2020", [1]),
        ("year = 2020.0", [1]),
        ("year = '2020'", [3]),
        ("year < '3'", [3]),
        ("year < 2000.5", [0]),
        ("lang = 'en'", [0]),
        ("lang like 'en'", [0, 2]),
        ("lang like 'ä%'", [3]),
        ("lang LIKE '_e'", [1]),
        ("lang like '%e%'", [0, 1, 2, 3]),
        ("year like '20%'", [3]),
        ("lang not like '%e%'", []),
        ("tags = 'sea'", [0, 2]),
        ("tags != 'war'", [2]),
        ("not tags = 'war'", [1, 2, 3, 4]),
        ("tags not in ('war', 'air')", [2]),
        ("tags = 'war' and tags = 'sea'", [0]),
        ("draft = true", [1]),
        ("draft = 1", []),
        ("draft != true", [2]),
        ("draft is null", [0, 3, 4]),
        ("draft is not null", [1, 2]),
        ("date >= '2020-01-01' and date < '2021-01-01'", [1]),
        ("year in (1999, 2021.5, 'x', true)", [0, 2]),
        ("lang = 'en' or lang = 'de' and year = 1", [0]),
        ("(lang = 'en' or lang = 'de') and year = 1", []),
        ("not (lang = 'en' or year > 0)", [3, 4]),
        ("not not lang = 'de'", [1]),
        ("no-such.key = 1", []),
    ],
)
def test_finds(text, expected):
    assert found(text, BOOKS) == expected


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("a=1", Compare("a", "=", 1)),
        ("a == -1.5e3", Compare("a", "=", -1500.0)),
        ("a <> 'it''s'", Compare("a", "!=", "it's")),
        ('"my ""key""" <= .5', Compare('my "key"', "<=", 0.5)),
        ("größe.x-y>=7", Compare("größe.x-y", ">=", 7)),
        ("a In ( 1 ,'b' , TRUE )", In("a", (1, "b", True))),
        ("a not in (1)", And((Exists("a"), Not(In("a", (1,)))))),
        ("a IS NULL", Not(Exists("a"))),
        ("\ta\nis\nnot null ", Exists("a")),
        ("a = 1 and b = 2 and c = 3", And((Compare("a", "=", 1), Compare("b", "=", 2), Compare("c", "=", 3)))),
        ("a like 'x%' or not b = false", Or((Like("a", "x%"), Not(Compare("b", "=", False))))),
        ('"or" = 1', Compare("or", "=", 1)),
        ("a = ''", Compare("a", "=", "")),
    ],
)
def test_parses(text, condition):
    assert parse(text) == condition


@pytest.mark.parametrize(
    ("text", "column", "mend"),
    [
        ("lang = en", 8, "text goes in single quotes: 'en'"),
        ('lang = "it\'s"', 8, "text goes in single quotes: 'it''s'"),
        ("lang = 2020-01-01", 8, "'2020-01-01'"),
        ("2020 <= year", 1, "the key comes first"),
        ("'lang' = 'en'", 1, '"lang"'),
        ("year >=", 8, "a value is a number"),
        ("year 2020", 6, "use ="),
        ("draft", 6, "draft = true"),
        ("draft and year = 2", 7, "draft = true"),
        ("year between 1 and 2", 6, "key >= low AND key <= high"),
        ("a = 1, b = 2", 6, "AND or OR"),
        ("(a = 1", 7, "add the )"),
        ("(a = 1, b = 2)", 7, "AND or OR"),
        ("a = 1)", 6, "remove it"),
        ("a = 'x", 5, "add a '"),
        ("a = 1 & b = 2", 7, "AND or OR"),
        ("a&b = 2", 2, "double quotes"),
        ("a = null", 5, "IS NULL"),
        ("a is 5", 6, "IS NULL"),
        ("a in 'x'", 6, "IN ('en', 'de')"),
        ("a in ()", 7, "a value is"),
        ("a in ('x' 'y')", 11, "('en', 'de')"),
        ("a like 5", 8, "single quotes"),
        ("a > true", 5, "= or !="),
        ("a not 5", 7, "expected IN or LIKE"),
        ("in = 5", 1, '"in"'),
        ("a = 1 and", 10, "begins with a key"),
        ("a = new york", 5, "'new'"),
        ("(" * (MAX_DEPTH + 1) + "a = 1", MAX_DEPTH + 1, "flatter"),
        ("not " * 2000 + "a = 1", 4 * MAX_DEPTH + 1, "flatter"),
        (" or ".join(["a = 1"] * (MAX_COMPARISONS + 1)), None, "IN (...)"),
    ],
)
def test_says_where_a_condition_is_wrong_and_how_to_mend_it(text, column, mend):
    with pytest.raises(DataError) as caught:
        parse(text)
    message, shown, caret = str(caught.value).split("\n")
    assert mend in message
    if column is not None:
        assert f"column {column}:" in message
    at = len(caret) - 1
    assert shown[at:][:1] == text[int(message.split("column ")[1].split(":")[0]) - 1 :][:1]


@pytest.mark.parametrize("text", ["", " \n", "a = 1 or " * MAX_LENGTH])
def test_refuses_what_is_empty_or_too_long(text):
    with pytest.raises(DataError):
        parse(text)


def test_keys_are_those_of_every_part():
    assert keys(parse("a = 1 and (b in (2) or not c like 'x') and d is null")) == {"a", "b", "c", "d"}


def test_like_takes_time_linear_in_the_text():
    """A matcher that backtracks would take years."""
    assert not matches(Like("a", "%a" * 60 + "b"), {"a": "a" * 5000})


def test_documents_may_be_given_and_limit_what_a_negation_allows():
    with store_of(BOOKS) as connection:
        connection.execute("DROP TABLE documents")
        allowed = allowed_documents(parse("not lang = 'en'"), connection.execute, np.array([0, 1, 4]))
    assert allowed.tolist() == [1, 4]
    assert allowed.dtype == np.int64


def test_a_key_that_no_document_has_is_named_with_those_there_are():
    with store_of(BOOKS) as connection:
        assert known_keys(connection.execute) == ["date", "draft", "lang", "tags", "year"]
        check_keys(parse("year = 5 and lang is null"), connection.execute)
        with pytest.raises(DataError, match=r"a 'yaer'; did you mean year\? there are date, draft, lang, tags, year"):
            check_keys(parse("yaer = 5"), connection.execute)
    with store_of([{}]) as connection, pytest.raises(DataError, match="has any metadata"):
        check_keys(parse("year = 5"), connection.execute)


characters = st.sampled_from(list("aAbBzß%_äÄſKi\u0130*[]\\ \n\0😀\ud800"))
texts = st.text(characters, max_size=4) | st.text(max_size=5)
numbers = (
    st.integers(-3, 3)
    | st.floats(-3, 3, width=16)
    | st.floats()
    | st.integers()
    | st.sampled_from([2**53, 2**53 + 1, float(2**53), 2**63, 2**63 - 1, float(2**63), 10**400])
)
scalars = st.one_of(texts, numbers, st.booleans())
some_keys = st.sampled_from(["a", "A", "b c"])
metadata = st.dictionaries(some_keys, scalars | st.lists(scalars, max_size=3).map(tuple))
leaves = st.one_of(
    st.builds(Compare, some_keys, st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), scalars),
    st.builds(In, some_keys, st.lists(scalars, max_size=3).map(tuple)),
    st.builds(Like, some_keys, texts),
    st.builds(Exists, some_keys),
)
conditions = st.recursive(
    leaves,
    lambda parts: st.one_of(
        st.builds(And, st.lists(parts, max_size=3).map(tuple)),
        st.builds(Or, st.lists(parts, max_size=3).map(tuple)),
        st.builds(Not, parts),
    ),
    max_leaves=6,
)


@given(st.lists(metadata, max_size=8), conditions, st.booleans())
def test_the_table_agrees_with_the_reference(each, condition, far_apart):
    numbers = [number * 10**12 + 5 if far_apart else number for number in range(len(each))]
    with store_of(each, numbers) as connection:
        allowed = allowed_documents(condition, connection.execute)
    expected = [number for number, one in zip(numbers, each, strict=True) if matches(condition, one)]
    assert allowed.tolist() == expected


def written(condition) -> str:
    """A condition in the language; what it holds must be sayable in it."""

    def value(given) -> str:
        return "'" + given.replace("'", "''") + "'" if isinstance(given, str) else repr(given).lower()

    key = '"' + getattr(condition, "key", "").replace('"', '""') + '"'
    match condition:
        case Compare(_, op, given):
            return f"{key} {op} {value(given)}"
        case In(_, given):
            return f"{key} in ({', '.join(map(value, given))})"
        case Like(_, pattern):
            return f"{key} like {value(pattern)}"
        case Exists():
            return f"{key} is not null"
        case Not(part):
            return f"not ({written(part)})"
        case And(parts):
            return " and ".join(f"({written(part)})" for part in parts)
        case Or(parts):
            return " or ".join(f"({written(part)})" for part in parts)


sayable = st.one_of(st.text(), st.integers(), st.floats(allow_nan=False, allow_infinity=False))
some_leaves = st.one_of(
    st.builds(Compare, st.text(), st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), sayable),
    st.builds(In, st.text(), st.lists(sayable | st.booleans(), min_size=1).map(tuple)),
    st.builds(Like, st.text(), st.text()),
    st.builds(Exists, st.text()),
)
several = st.recursive(
    some_leaves,
    lambda parts: st.one_of(
        st.builds(And, st.lists(parts, min_size=2, max_size=3).map(tuple)),
        st.builds(Or, st.lists(parts, min_size=2, max_size=3).map(tuple)),
        st.builds(Not, parts),
    ),
    max_leaves=5,
)


@given(several)
def test_what_is_written_is_read(condition):
    assert parse(written(condition)) == condition


pieces = [*"ab'\"()=<>!,1.-% ", " and ", " not ", " in ", " like ", " is ", "a = 1"]


@given(st.lists(st.sampled_from(pieces), max_size=20).map("".join))
def test_any_text_is_a_condition_or_a_data_error(text):
    try:
        condition = parse(text)
    except DataError:
        return
    matches(condition, {"a": 1})
