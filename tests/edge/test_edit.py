"""Changing single documents: what is there afterwards is what was asked for, and nothing is embedded twice."""

import sqlite3
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from made_documents import PARAGRAPHS, QUERIES, made_documents, made_long_documents
from tiny_bundle import write_tiny_bundle

from nearfar.edge import SearchIndex, derive
from nearfar.edge.encoder import Encoder
from nearfar.edge.store import StoreReader
from nearfar.errors import DataError, StoreError
from nearfar.sources.cut import Cutting
from nearfar.sources.document import Document, Passage

EXACT_UP_TO = 800


@pytest.fixture(scope="module", autouse=True)
def earlier_large():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(derive, "EXACT_UP_TO", EXACT_UP_TO)
        patch.setattr(derive, "SCAN_FROM_DIM", 1)
        yield


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    texts = [document.content for document in made_documents(300)]
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "b", texts=texts)


@pytest.fixture
def path(bundle, tmp_path):
    SearchIndex.build(bundle, made_long_documents(40), tmp_path / "i", cutting=PARAGRAPHS, threads=1).close()
    return tmp_path / "i"


@pytest.fixture
def embedded(monkeypatch):
    """Everything that an encoder is given for the documents' side."""
    seen = []
    real = Encoder.embed

    def embed(self, items, side="document"):
        if side == "document":
            seen.extend(items)
        return real(self, items, side=side)

    monkeypatch.setattr(Encoder, "embed", embed)
    return seen


def stored(path):
    """What the index holds: id -> texts of the passages and metadata; checks that they are numbered from 1 on."""
    found = {}
    reader = StoreReader(path)
    with reader.snapshot():
        for passage in sorted(reader.passages_after(0, 10**6), key=lambda passage: (passage.id, passage.number)):
            texts, _ = found.setdefault(passage.id, ([], dict(passage.metadata)))
            texts.append(passage.text)
            assert passage.number == len(texts)
    reader.close()
    return found


def sound(path):
    connection = sqlite3.connect(path / "store.sqlite")
    run = connection.execute
    run("INSERT INTO keywords (keywords, rank) VALUES ('integrity-check', 1)")
    for sql in (
        "SELECT row FROM vectors WHERE row NOT IN (SELECT row FROM passages)",
        "SELECT doc FROM passages WHERE doc NOT IN (SELECT doc FROM documents)",
        "SELECT doc FROM attributes WHERE doc NOT IN (SELECT doc FROM documents)",
    ):
        assert run(sql).fetchall() == [], sql
    connection.close()


def test_a_new_document_is_added_and_the_others_stay(path, embedded):
    before = stored(path)
    with SearchIndex.edit(path) as editor:
        editor.upsert([Document("note", "zuzu kaka", title="Note", metadata={"kind": "note"})])
        assert (editor.report.added, editor.report.updated, editor.report.passages) == (1, 0, 1)
    assert embedded == ["Note\nzuzu kaka"]
    assert stored(path) == before | {"note": (["zuzu kaka"], {"kind": "note"})}
    with SearchIndex.open(path) as index:
        assert len(index) == 41
        assert index.passages == 121
        for mode in ("dense", "keyword", "hybrid"):
            assert index.search("Note zuzu kaka", 1, mode)[0].id == "note"
        assert [hit.id for hit in index.search("kaka", where="kind = 'note'")] == ["note"]


def test_a_document_with_a_known_id_takes_the_place_of_the_other(path, embedded):
    document = list(made_long_documents(40))[7]
    first, _, third = document.text.split("\n\n")
    with SearchIndex.edit(path) as editor:
        editor.upsert(
            [replace(document, text=f"{third}\n\n{first}\n\nzuzu entirely new here", metadata={})], cutting=PARAGRAPHS
        )
        assert (editor.report.added, editor.report.updated, editor.report.passages) == (0, 1, 1)
    assert embedded == [f"{document.title}\nzuzu entirely new here"]
    found = stored(path)
    assert len(found) == 40
    assert found["long-7"] == ([third, first, "zuzu entirely new here"], {})
    with SearchIndex.open(path) as index:
        assert [hit.id for hit in index.search("kaka", where="number = 7")] == []
        assert index.search(f"{document.title} {first}", 1, "dense")[0].passage == 2
    sound(path)


def test_the_same_document_again_changes_nothing(path, embedded):
    before = stored(path)
    with SearchIndex.edit(path) as editor:
        editor.upsert(made_long_documents(40), cutting=PARAGRAPHS)
        assert (editor.report.added, editor.report.updated, editor.report.unchanged) == (0, 0, 40)
    assert embedded == []
    assert stored(path) == before


def test_the_same_content_without_an_id_is_stored_once(path, embedded):
    same = Document("", "zuzu kaka", title="Note")
    with SearchIndex.edit(path) as editor:
        editor.upsert([same, replace(same, location="elsewhere")])
        editor.upsert([same])
        assert editor.report.added == 1
        editor.upsert([replace(same, title="Another")])
        assert editor.report.added == 2
    assert len(stored(path)) == 42
    assert sum(id.startswith("sha256:") for id in stored(path)) == 2
    assert embedded == ["Note\nzuzu kaka", "Another\nzuzu kaka"]


def test_documents_are_removed_by_id(path):
    with SearchIndex.edit(path) as editor:
        assert editor.delete(["long-3", "long-5", "long-3", "never"]) == 2
        assert editor.delete(["long-3"]) == 0
        assert editor.delete([]) == 0
        assert editor.report.removed == 2
    assert {"long-3", "long-5"} & set(stored(path)) == set()
    assert len(stored(path)) == 38
    with SearchIndex.open(path) as index:
        for document in (d for d in made_long_documents(40) if d.id in {"long-3", "long-5"}):
            for mode in ("dense", "keyword", "hybrid"):
                assert document.id not in {hit.id for hit in index.search(document.content, 200, mode)}
    sound(path)


def test_documents_are_removed_by_a_condition(path):
    with SearchIndex.edit(path) as editor:
        assert editor.delete_where("number < 10 AND kind = 'red'") == 4
        assert editor.delete_where("number < 10 AND kind = 'red'") == 0
        with pytest.raises(DataError, match="did you mean number"):
            editor.delete_where("numbr < 10")
        with pytest.raises(DataError, match="condition"):
            editor.delete_where("number <")
    assert set(stored(path)) == {f"long-{n}" for n in range(40)} - {"long-0", "long-3", "long-6", "long-9"}


def test_what_is_done_is_found_at_once_by_an_open_index(path):
    with SearchIndex.open(path) as index, SearchIndex.edit(path) as editor:
        editor.upsert([Document("note", "zuzu kaka lolo")])
        assert index.search("zuzu kaka lolo", 1, "dense")[0].id == "note"
        editor.delete(["note"])
        assert "note" not in {hit.id for hit in index.search("zuzu kaka lolo", 200, "dense")}


def test_everything_can_be_removed_and_something_added_again(path):
    with SearchIndex.edit(path) as editor:
        assert editor.delete([f"long-{n}" for n in range(40)]) == 40
    with SearchIndex.open(path) as index:
        assert (len(index), index.passages) == (0, 0)
        for mode in ("dense", "keyword", "hybrid"):
            assert index.search("kaka", 5, mode) == []
        with SearchIndex.edit(path) as editor:
            editor.upsert(made_documents(3))
        assert len(index.search("kaka", 5, "dense")) == 3


def test_an_error_inside_keeps_what_was_done_before_and_lets_go(path):
    def failing():
        yield Document("late", "never stored")
        raise DataError("line 7 is broken")

    with SearchIndex.edit(path) as editor:
        editor.upsert([Document("note", "zuzu")])
    with pytest.raises(DataError, match="line 7"), SearchIndex.edit(path) as editor:
        editor.upsert(failing())
    assert "note" in stored(path)
    assert "late" not in stored(path)
    with SearchIndex.edit(path) as editor:
        editor.delete(["note"])


def test_documents_without_text_are_passed_over_and_named(path):
    with SearchIndex.edit(path) as editor:
        editor.upsert([Document("blank", " \n", location="b.txt"), Document("note", "zuzu")])
        assert (editor.report.added, editor.report.skipped) == (1, 1)
        assert editor.report.examples == ["b.txt: it has no text"]


def test_there_is_one_writer_and_there_must_be_an_index(path, bundle, tmp_path):
    with SearchIndex.edit(path):
        with pytest.raises(StoreError, match="is indexing here"):
            SearchIndex.edit(path)
        with pytest.raises(StoreError, match="is indexing here"):
            SearchIndex.build(bundle, made_documents(3), path)
    with pytest.raises(StoreError, match="no search index"):
        SearchIndex.edit(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_odd_headings_and_ids_are_stored_and_removed(path):
    odd = Document("a\0b", "kaka lolo", passages=(Passage(0, 4, "lone \ud800", "\0"), Passage(5, 9, "\ud800")))
    with SearchIndex.edit(path) as editor:
        editor.upsert([odd])
        editor.upsert([odd])
        editor.upsert([replace(odd, text="kaka zuzu")])
        assert (editor.report.added, editor.report.updated, editor.report.unchanged) == (1, 1, 1)
    assert len(stored(path)) == 41
    sound(path)


def test_many_edits_behind_derived_files_are_as_if_indexed_anew(bundle, tmp_path):
    path, documents = tmp_path / "i", list(made_documents(1200))
    SearchIndex.build(bundle, documents, path, threads=1).close()
    with SearchIndex.edit(path, threads=1) as editor:
        assert editor.report.derived == []
        editor.delete([document.id for document in documents[::17]])
        editor.upsert([replace(document, text=f"{document.text} zuzu") for document in documents[5::17]])
        editor.upsert(made_documents(60, start=5000))
    assert editor.report.derived == [], "too little to make them again"
    wanted = {d.id: d for d in [*documents, *made_documents(60, start=5000)]}
    for document in documents[::17]:
        del wanted[document.id]
    for document in documents[5::17]:
        wanted[document.id] = replace(document, text=f"{document.text} zuzu")
    assert {id: texts[0] for id, (texts, _) in stored(path).items()} == {id: d.text for id, d in wanted.items()}
    with (
        SearchIndex.open(path) as index,
        SearchIndex.build(bundle, wanted.values(), tmp_path / "f", threads=1) as fresh,
    ):
        assert (index.engine, fresh.engine) == ("scan", "scan")
        for query in QUERIES:
            for mode in ("dense", "keyword"):
                every, anew = index.search(query, 2000, mode), fresh.search(query, 2000, mode)
                assert {hit.id: hit.score for hit in every} == pytest.approx(
                    {hit.id: hit.score for hit in anew}, abs=1e-5
                )
    sound(path)


WORD_PAIRS = Cutting(words=2, overlap=0)
TEXTS = ("kaka lolo", "mimi nene\n\nkaka lolo", "zuzu lolo", "mimi nene\n\nzuzu lolo\n\nkaka kaka")
METADATA = ({}, {"year": 1}, {"year": 2, "tags": ("a", "b")})
documents = st.builds(
    Document,
    id=st.sampled_from(["a", "b", "c"]),
    text=st.sampled_from(TEXTS),
    title=st.sampled_from(["", "Title"]),
    metadata=st.sampled_from(METADATA),
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("upsert"), st.lists(documents, max_size=5)),
        st.tuples(st.just("delete"), st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=2)),
    ),
    max_size=5,
)


@pytest.fixture(scope="module")
def playground(bundle, tmp_path_factory):
    path = tmp_path_factory.mktemp("playground") / "i"
    SearchIndex.build(bundle, made_documents(3), path, threads=1).close()
    return path


@given(steps=steps)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(
    steps=[
        ("upsert", [Document("a", "kaka lolo")]),
        ("upsert", [Document("a", "kaka lolo", metadata={"year": 1}), Document("a", "kaka lolo")]),
    ]
)
@example(
    steps=[
        ("upsert", [Document("a", "kaka lolo", metadata={"year": 1})]),
        ("upsert", [Document("a", "zuzu"), Document("a", "kaka lolo", metadata={"year": 2}), Document("a", "zuzu")]),
        ("delete", ["a", "d"]),
    ]
)
def test_any_edits_leave_what_a_dictionary_would_hold(playground, steps):
    wanted = {}
    with SearchIndex.edit(playground, threads=1) as editor:
        editor.delete(["a", "b", "c"])
        for what, given_ in steps:
            if what == "upsert":
                editor.upsert(given_, cutting=WORD_PAIRS)
                wanted.update({document.id: document for document in given_})
            else:
                assert editor.delete(given_) == len(set(given_) & set(wanted))
                wanted = {id: document for id, document in wanted.items() if id not in given_}
            found = {id: value for id, value in stored(playground).items() if not id.startswith("doc-")}
            assert found == {id: (d.text.split("\n\n"), dict(d.metadata)) for id, d in wanted.items()}
    sound(playground)
    with SearchIndex.open(playground) as index:
        assert len(index) == 3 + len(wanted)
        for document in wanted.values():
            hits = index.search(document.text, 50, "dense", distinct="document")
            assert {hit.id: hit.title for hit in hits}[document.id] == document.title
