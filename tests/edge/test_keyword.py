import io
import sqlite3

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_documents import QUERIES, WORDS, made_documents

from nearfar.edge.store import keyword
from nearfar.edge.store.keyword import KeywordSearch
from nearfar.edge.store.keyword_table import write_keyword_postings
from nearfar.edge.store.schema import TOKENIZER
from nearfar.index.postings import Postings


class Shelf:
    """An FTS5 table as the store keeps it, with what changes it."""

    def __init__(self):
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        self.connection.executescript(f"""
            CREATE TABLE passages (rowid INTEGER PRIMARY KEY AUTOINCREMENT, heading TEXT, text TEXT);
            CREATE TABLE term_counts (term TEXT PRIMARY KEY, documents INTEGER NOT NULL) WITHOUT ROWID;
            CREATE VIRTUAL TABLE keywords USING fts5(
                heading, text, content='passages', content_rowid='rowid', tokenize='{TOKENIZER}'
            );
        """)

    def add(self, *texts, heading=""):
        for text in texts:
            row = self.connection.execute(
                "INSERT INTO passages (heading, text) VALUES (?, ?)", (heading, text)
            ).lastrowid
            self.connection.execute(
                "INSERT INTO keywords (rowid, heading, text) VALUES (?, ?, ?)", (row, heading, text)
            )

    def remove(self, *rows):
        for row in rows:
            old = self.connection.execute(
                "SELECT rowid, heading, text FROM passages WHERE rowid = ?", (row,)
            ).fetchone()
            sql = "INSERT INTO keywords (keywords, rowid, heading, text) VALUES ('delete', ?, ?, ?)"
            self.connection.execute(sql, old)
            self.connection.execute("DELETE FROM passages WHERE rowid = ?", (row,))

    def postings(self):
        file = io.BytesIO()
        write_keyword_postings(self.connection, file)
        return Postings(file.getvalue())

    def count(self):
        return self.connection.execute("SELECT count(*) FROM passages").fetchone()[0]


def rows_of(*rows):
    return np.array(rows, dtype=np.int64)


def assert_agrees_with_fts5(shelf, search, query):
    """All scores of a query are those of FTS5 over the same words."""
    total = shelf.count()
    terms = search.terms(query)
    found = search.best(terms, total, total)
    reference = dict(KeywordSearch(shelf.connection).best(terms, total, total))
    assert {row for row, _ in found} == set(reference)
    np.testing.assert_allclose(
        [score for _, score in found], [reference[row] for row, _ in found], rtol=1e-4, atol=1e-9
    )
    rows = sorted(reference)
    scores = search.scores(terms, total, rows)
    np.testing.assert_allclose(scores, [reference[row] for row in rows], rtol=1e-4, atol=1e-9)
    assert search.candidates(terms, total, 10) == sorted(row for row, _ in found[:10])


@pytest.fixture(scope="module")
def shelf():
    shelf = Shelf()
    for document in made_documents(400, words=30):
        shelf.add(document.text, heading=document.title)
    return shelf


def test_scores_are_those_of_fts5(shelf):
    search = KeywordSearch(shelf.connection)
    search.refresh(shelf.postings())
    for query in (*QUERIES, " ".join(WORDS[:40]), f"{WORDS[0]} nowhere", "nowhere"):
        assert_agrees_with_fts5(shelf, search, query)


def test_equal_scores_come_in_the_order_of_rows():
    shelf = Shelf()
    shelf.add(*["the same text"] * 30, *["something else"] * 100)
    search = KeywordSearch(shelf.connection)
    search.refresh(shelf.postings())
    assert [row for row, _ in search.best(search.terms("same"), 130, 7)] == [1, 2, 3, 4, 5, 6, 7]


texts = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
words = st.lists(
    st.sampled_from(
        [
            "running",
            "Runs",
            "the",
            "straße",
            "ÉTÉ",
            "été",
            "हिन्दी",
            "日本語",
            "x_y",
            "e.g.",
            "1984",
            "İstanbul",
            "ǅ",
            "٣",
        ]
    ),
    max_size=12,
).map(" ".join)


@given(before=st.lists(st.one_of(texts, words), max_size=25), after=st.lists(words, max_size=8), data=st.data())
@settings(max_examples=120, deadline=None)
def test_any_texts_added_and_removed_score_as_in_fts5(before, after, data):
    shelf = Shelf()
    shelf.add(*before)
    postings = shelf.postings()
    shelf.add(*after, heading="Runs of the 日本語")
    rows = list(range(1, shelf.count() + 1))
    removed = data.draw(st.lists(st.sampled_from(rows), unique=True)) if rows else []
    shelf.remove(*removed)
    search = KeywordSearch(shelf.connection)
    search.refresh(postings, rows_of(*removed))
    for query in (
        "run the",
        "running runs ran",
        "strasse straße été İstanbul",
        "日本語 हिन्दी x_y 1984 ٣",
        data.draw(texts),
    ):
        assert_agrees_with_fts5(shelf, search, query)


def test_the_newest_passages_are_found_and_the_removed_ones_are_not():
    shelf = Shelf()
    shelf.add("old apple", "old pear", "old plum")
    postings = shelf.postings()
    search = KeywordSearch(shelf.connection)
    search.refresh(postings)

    def found(query):
        return [row for row, _ in search.best(search.terms(query), shelf.count(), 10)]

    shelf.add("new apple")
    search.refresh(postings)
    assert sorted(found("apple")) == [1, 4]
    shelf.remove(1)
    search.refresh(postings, rows_of(1))
    assert found("apple") == [4]
    shelf.remove(4)
    shelf.add("newest pear")
    search.refresh(postings, rows_of(1))
    assert found("apple") == []
    assert sorted(found("pear")) == [2, 5]
    search.refresh(shelf.postings())
    assert sorted(found("pear")) == [2, 5]


def test_without_postings_or_with_too_much_that_is_newer_fts5_answers(monkeypatch, shelf):
    monkeypatch.setattr(keyword, "MAX_NEWER", 3)
    grown = Shelf()
    grown.add("one apple")
    postings = grown.postings()
    search = KeywordSearch(grown.connection)
    for _ in range(6):
        grown.add("one more apple")
        search.refresh(postings)
        assert len(search.best(search.terms("apple"), grown.count(), 10)) == grown.count()
    search.refresh(None)
    assert len(search.best(search.terms("apple"), grown.count(), 10)) == 7


@pytest.mark.parametrize("with_postings", [True, False])
def test_only_allowed_rows_are_found(shelf, with_postings):
    search = KeywordSearch(shelf.connection)
    search.refresh(shelf.postings() if with_postings else None)
    allowed = np.arange(3, 400, 7, dtype=np.int64)
    for query in QUERIES:
        terms = search.terms(query)
        everything = [row for row, _ in search.best(terms, 400, 400)]
        wanted = [row for row in everything if row % 7 == 3]
        assert [row for row, _ in search.best(terms, 400, 400, allowed)] == wanted
        assert [row for row, _ in search.best(terms, 400, 5, allowed)] == wanted[:5]
        assert set(search.candidates(terms, 400, 400, allowed)) <= set(wanted)


def test_a_word_longer_than_fts5_keeps_is_cut_and_does_no_harm():
    shelf = Shelf()
    shelf.add("é" * 20_000 + "語", "x" + "é" * 20_000, "plain words")
    search = KeywordSearch(shelf.connection)
    search.refresh(shelf.postings())
    assert [row for row, _ in search.best(search.terms("plain"), 3, 5)] == [3]
    search.terms("x" + "é" * 19_999)


def test_postings_are_written_inside_of_a_transaction_and_beside_a_writer(tmp_path):
    path = tmp_path / "a.sqlite"
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute(f"CREATE VIRTUAL TABLE keywords USING fts5(text, tokenize='{TOKENIZER}')")
    writer.execute("INSERT INTO keywords VALUES ('first')")
    reader = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM keywords").fetchone()
    writer.execute("INSERT INTO keywords VALUES ('second')")
    file = io.BytesIO()
    assert write_keyword_postings(reader, file) == 1
    assert reader.in_transaction
    reader.execute("ROLLBACK")
    assert write_keyword_postings(reader, io.BytesIO()) == 2
    assert Postings(file.getvalue()).find("second") is None
