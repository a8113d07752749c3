import pytest

from nearfar.connect.address import PostgresAddress, QdrantAddress, is_address, parse_address
from nearfar.errors import DataError


@pytest.mark.parametrize(
    ("text", "url", "collection"),
    [
        ("qdrant://localhost:6333/docs", "http://localhost:6333", "docs"),
        ("qdrant://box/docs", "http://box:6333", "docs"),
        ("qdrant+https://box.example:443/my-docs", "https://box.example:443", "my-docs"),
        ("qdrant://[::1]:6333/docs", "http://[::1]:6333", "docs"),
    ],
)
def test_a_collection_is_read(text, url, collection):
    assert parse_address(text) == QdrantAddress(url, collection)


def test_a_table_is_read():
    address = parse_address("pgvector://ann%40home@box:5433/db?table=search.docs&sslmode=require")
    assert address == PostgresAddress(
        (("user", "ann@home"), ("host", "box"), ("port", "5433"), ("dbname", "db"), ("sslmode", "require")),
        "search",
        "docs",
    )


def test_what_is_missing_is_left_to_the_environment():
    assert parse_address("pgvector:///db?table=docs") == PostgresAddress((("dbname", "db"),), "", "docs")


@pytest.mark.parametrize(
    "text",
    [
        "qdrant://localhost:6333/docs",
        "qdrant+https://localhost:6333/docs",
        "pgvector://ann@box:5432/db?table=docs",
        "pgvector:///db?host=/run/sockets&table=a.docs",
    ],
)
def test_an_address_is_shown_as_it_is_written(text):
    assert str(parse_address(text)) == text
    assert parse_address(str(parse_address(text))) == parse_address(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mysql://box/db", "not the address of a server"),
        ("qdrant://box", "say the host and the collection"),
        ("qdrant:///docs", "say the host and the collection"),
        ("qdrant://box/docs?api_key=secret7", "nothing more"),
        ("qdrant://box:99999/docs", "the port must be a number"),
        ("pgvector://box/db", "say the table"),
        ("pgvector://box/db?table=Docs; drop", "say the table"),
        ("pgvector://box/db?table=docs&password=secret7", "may not say 'password'"),
        ("pgvector://ann:secret7@box/db?table=docs", "set QDRANT_API_KEY, or PGPASSWORD"),
        ("qdrant://:secret7@box/docs", "the address holds a password"),
    ],
)
def test_what_is_no_address_is_refused(text, said):
    with pytest.raises(DataError, match="(?s)" + said.replace("(", r"\(")) as refused:
        parse_address(text)
    if "password" in str(refused.value):
        assert "secret7" not in str(refused.value)


def test_a_folder_is_no_address():
    assert is_address("qdrant://box/docs")
    assert not is_address("docs.index")
