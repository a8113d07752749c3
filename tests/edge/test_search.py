import json
import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from made_documents import QUERIES, WORDS, answers, made_documents
from tiny_bundle import write_tiny_bundle

from nearfar.bundle import Fusion
from nearfar.edge import Encoder, SearchIndex, fit_fusion
from nearfar.edge.store import StoreReader
from nearfar.errors import BundleError, DataError, StoreError
from nearfar.sources.document import Document

MODES = ("dense", "keyword", "hybrid")
LARGE = 5600  # enough for a graph


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    texts = [document.content for document in made_documents(300)]
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "b", texts=texts)


@pytest.fixture(scope="module")
def small(bundle, tmp_path_factory):
    return SearchIndex.build(bundle, made_documents(200), tmp_path_factory.mktemp("small") / "i", threads=1)


@pytest.fixture(scope="module")
def large(bundle, tmp_path_factory):
    path = tmp_path_factory.mktemp("large") / "i"
    with SearchIndex.build(bundle, made_documents(LARGE), path, threads=1):
        return path


def graph_file(path):
    (file,) = path.glob("vectors-*.hnsw")
    return file


@pytest.mark.parametrize("mode", MODES)
def test_a_document_answers_to_its_own_words(small, mode):
    for document in list(made_documents(200))[::20]:
        hits = small.search(document.content, 5, mode)
        assert hits[0].id == document.id
        assert [hit.rank for hit in hits] == [1, 2, 3, 4, 5]
        assert (hits[0].title, hits[0].location) == (document.title, document.location)
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_dense_is_the_exact_order_of_cosines(small, bundle):
    documents = list(made_documents(200))
    encoder = Encoder.open(bundle)
    vectors = encoder.embed([document.content for document in documents])
    for query in QUERIES:
        cosines = vectors @ encoder.embed([query], side="query")[0]
        hits = small.search(query, 200, "dense")
        found = {hit.id: hit.score for hit in hits}
        assert len(found) == 200
        np.testing.assert_allclose([found[document.id] for document in documents], cosines, atol=0.01)


def test_keyword_is_fts5_bm25_over_all_words(small):
    connection = sqlite3.connect(small.path / "store.sqlite")
    sql = """SELECT doc_id FROM keywords JOIN documents ON documents.rowid = keywords.rowid
             WHERE keywords MATCH ? ORDER BY rank LIMIT 7"""
    for query in QUERIES:
        expected = [row[0] for row in connection.execute(sql, (" OR ".join(query.split()),))]
        assert [hit.id for hit in small.search(query, 7, "keyword")] == expected
    connection.close()


def test_keyword_finds_only_documents_with_a_word(small):
    assert small.search("xylophone", mode="keyword") == []
    assert len(small.search("xylophone", mode="hybrid")) == 10


def test_hybrid_sees_all_features_of_the_candidates_of_both_sides(small):
    query = QUERIES[0]
    ids, features = small.candidates(query)
    assert features.shape == (len(ids), 3)
    assert features.dtype == np.float32
    by_id = dict(zip(ids, features, strict=True))
    keyword, dense = small.search(query, 100, "keyword"), small.search(query, 100, "dense")
    assert {hit.id for hit in keyword + dense} == set(ids)
    for hit in keyword:
        assert by_id[hit.id][1] == pytest.approx(hit.score, rel=1e-5)
        assert by_id[hit.id][2] == pytest.approx(hit.score / keyword[0].score, rel=1e-5)
    for hit in dense:
        assert by_id[hit.id][0] == pytest.approx(hit.score, abs=1e-6)
    unmatched = set(ids) - {hit.id for hit in keyword}
    assert all(by_id[name][1] == by_id[name][2] == 0 for name in unmatched)


def test_the_bundle_s_weights_decide_the_hybrid_order_and_make_it_the_default(bundle, tmp_path):
    texts = [document.content for document in made_documents(300)]
    documents = list(made_documents(60))
    plain = SearchIndex.build(bundle, documents, tmp_path / "plain")
    assert plain.default_mode == "dense"
    assert plain.search(QUERIES[0]) == plain.search(QUERIES[0], mode="dense")
    for weights, mode in (((0.0, 1.0), "keyword"), ((1.0, 0.0), "dense")):
        fusion = Fusion(features=("dense", "bm25"), weights=weights)
        fused = write_tiny_bundle(tmp_path / mode, texts=texts, fusion=fusion)
        index = SearchIndex.build(fused, documents, tmp_path / f"{mode}-index")
        assert index.default_mode == "hybrid"
        for query in QUERIES:
            expected = [hit.id for hit in index.search(query, 5, mode)]
            assert [hit.id for hit in index.search(query, len(expected))] == expected


def test_unknown_features_are_refused(tmp_path, bundle):
    fused = write_tiny_bundle(tmp_path / "b", fusion=Fusion(features=("clicks",), weights=(1.0,)))
    with pytest.raises(BundleError, match="clicks"):
        SearchIndex.build(fused, made_documents(3), tmp_path / "i")


def test_the_weights_can_be_learned_from_candidates(small):
    queries = []
    for document in made_documents(40):
        ids, features = small.candidates(" ".join(document.text.split()[:4]))
        queries.append((features, np.array([name == document.id for name in ids])))
    assert fit_fusion(queries).queries > 20


@pytest.mark.parametrize("query", ["", "   ", "\n\t", "\0"])
def test_an_empty_query_says_so(small, query):
    with pytest.raises(DataError, match="empty"):
        small.search(query)


def test_wrong_arguments_say_what_is_allowed(small):
    with pytest.raises(DataError, match="dense, keyword"):
        small.search("a", mode="exact")
    with pytest.raises(DataError, match="at least 1"):
        small.search("a", k=0)
    with pytest.raises(DataError, match="not int"):
        small.search(3)


OPERATORS = [
    '"',
    "'",
    "*",
    "(",
    ")",
    "^",
    ":",
    "-",
    "+",
    "NEAR(",
    "AND",
    "OR",
    "NOT",
    "title:",
    "{",
    "}",
    "\0",
    "_",
    "lo",
]


@settings(deadline=None, max_examples=150)
@given(
    st.one_of(st.text(max_size=60), st.lists(st.sampled_from(OPERATORS + list(WORDS[:5])), max_size=8).map(" ".join)),
    st.sampled_from(MODES),
)
@example('NEAR("a" "b", 5) AND title: x*', "keyword")
@example("\ud800 lone surrogate", "hybrid")
@example("👩‍👩‍👧 🇩🇪", "hybrid")
@example("שלום עולם مرحبا", "hybrid")
@example("हिन्दी में खोज", "keyword")
@example("a" * 100_000, "hybrid")
@example("kaka " * 20_000, "hybrid")
@example(" ".join(f"w{n}" for n in range(18_000)), "hybrid")
def test_no_query_raises_anything_but_the_documented_error(small, query, mode):
    try:
        hits = small.search(query, 3, mode)
    except DataError:
        assert not query.encode("utf-8", "replace").replace(b"\0", b" ").decode().strip()
    else:
        assert len(hits) <= 3
        assert all(np.isfinite(hit.score) for hit in hits)


def test_operators_are_words(small):
    document = next(made_documents(1))
    first, second = document.text.split()[:2]
    plain = [hit.id for hit in small.search(f"{first} {second}", 5, "keyword")]
    for query in (
        f"{first} AND {second}",
        f'"{first}" NOT {second}',
        f"title:{first}* ({second}",
        f"-{first} ^{second}",
    ):
        hits = [hit.id for hit in small.search(query, 5, "keyword")]
        assert hits == plain


def test_right_to_left_emoji_and_accents_are_found(bundle, tmp_path):
    texts = {
        "he": "ספר טוב על חיפוש",
        "fr": "Le café est là",
        "py": "call read_json_file now",
        "emoji": "party 🎉 time",
    }
    index = SearchIndex.build(bundle, (Document(id=name, text=text) for name, text in texts.items()), tmp_path / "i")
    for query, name in (("חיפוש", "he"), ("cafe", "fr"), ("JSON", "py"), ("calls", "py"), ("🎉 parties", "emoji")):
        assert [hit.id for hit in index.search(query, mode="keyword")] == [name]


def test_all_documents_identical(bundle, tmp_path):
    documents = [Document(id=f"{number:04}", text="kaka loka mika") for number in range(700)]
    index = SearchIndex.build(bundle, documents, tmp_path / "i")
    for mode in MODES:
        hits = index.search("kaka loka", 10, mode)
        assert [hit.id for hit in hits] == [f"{number:04}" for number in range(10)]
        assert len({hit.score for hit in hits}) == 1


def test_one_document_and_k_larger_than_the_index(bundle, tmp_path):
    index = SearchIndex.build(bundle, made_documents(1), tmp_path / "i")
    assert len(index) == 1
    query = next(made_documents(1)).content
    for mode in MODES:
        assert [hit.id for hit in index.search(query, 10**9, mode)] == ["doc-0"]


def test_k_larger_than_a_large_index_gives_every_document(large):
    with SearchIndex.open(large) as index:
        assert len({hit.id for hit in index.search(QUERIES[0], 10**9, "dense")}) == LARGE


def test_the_graph_finds_what_an_exact_scan_finds(large):
    with SearchIndex.open(large) as index:
        overlaps = []
        for query in QUERIES:
            # Asking for all makes it scan.
            exact = [hit.id for hit in index.search(query, LARGE, "dense")[:10]]
            overlaps.append(len(set(exact) & {hit.id for hit in index.search(query, 10, "dense")}) / 10)
        assert np.mean(overlaps) >= 0.95


@pytest.mark.parametrize("damage", ["flipped", "truncated", "empty", "missing", "foreign"])
def test_a_damaged_graph_still_gives_right_answers(large, bundle, tmp_path, damage):
    path = tmp_path / "i"
    shutil.copytree(large, path)
    file = graph_file(path)
    content = bytearray(file.read_bytes())
    if damage == "missing":
        file.unlink()
    elif damage == "foreign":
        other = tmp_path / "other"
        SearchIndex.build(bundle, made_documents(LARGE, start=50_000), other, threads=1).close()
        shutil.copy(graph_file(other), file)
    else:
        content[len(content) // 3] ^= 255
        file.write_bytes({"flipped": content, "truncated": content[:5000], "empty": b""}[damage])
    with SearchIndex.open(path) as index, SearchIndex.open(large) as sound:
        for query in QUERIES:
            exact = sound.search(query, LARGE, "dense")[:10]
            assert index.search(query, 10, "dense") == exact
    with SearchIndex.build(bundle, made_documents(LARGE), path, threads=1) as mended:
        assert mended.report.graph
        assert mended.report.unchanged == LARGE
    assert graph_file(path).stat().st_size > 100_000


def test_updates_and_removals_behind_a_graph(large, bundle, tmp_path):
    path = tmp_path / "i"
    shutil.copytree(large, path)
    # The nearest documents go, others change, new ones come: too few to build the graph again.
    with SearchIndex.open(path) as index:
        gone = {hit.id for query in QUERIES for hit in index.search(query, 30, "dense")}
    kept = [document for document in made_documents(LARGE) if document.id not in gone]
    changed = [replace(document, text=f"{document.text} zuzu") for document in kept[:300]]
    wanted = [*changed, *kept[300:], *made_documents(150, start=90_000)]
    index = SearchIndex.build(bundle, wanted, path, threads=1)
    report = index.report
    assert (report.added, report.updated, report.removed) == (150, 300, len(gone))
    assert report.unchanged == LARGE - len(gone) - 300
    assert not report.graph
    assert len(index) == len(wanted)
    fresh = SearchIndex.build(bundle, wanted, tmp_path / "fresh", threads=1)
    overlaps = []
    for query in QUERIES:
        found = {hit.id for hit in index.search(query, 10, "dense")}
        assert not found & gone
        overlaps.append(len(found & {hit.id for hit in fresh.search(query, LARGE, "dense")[:10]}) / 10)
    assert np.mean(overlaps) >= 0.9
    assert {hit.id for hit in index.search("zuzu", 300, "keyword")} >= {document.id for document in changed[:5]}


def test_the_graph_is_built_again_when_outgrown_and_dropped_when_small(large, bundle, tmp_path):
    path = tmp_path / "i"
    shutil.copytree(large, path)
    before = graph_file(path).name
    with SearchIndex.build(bundle, made_documents(LARGE + 2100), path, threads=1) as grown:
        assert grown.report.graph
    assert graph_file(path).name != before
    with SearchIndex.build(bundle, made_documents(50), path, threads=1) as shrunk:
        assert shrunk.report.removed == LARGE + 2050
        assert list(path.glob("vectors-*")) == []
        assert len(shrunk.search(QUERIES[0], 100, "dense")) == 50
        assert answers(shrunk) == answers(SearchIndex.build(bundle, made_documents(50), tmp_path / "fresh", threads=1))


def test_an_open_index_follows_what_is_indexed_meanwhile(bundle, tmp_path):
    path = tmp_path / "i"
    SearchIndex.build(bundle, made_documents(30), path).close()
    reader = SearchIndex.open(path)
    assert len(reader.search(QUERIES[0], 1000, "dense")) == 30
    for wanted in (list(made_documents(900)), list(made_documents(900))[100:], list(made_documents(5, start=400))):
        SearchIndex.build(bundle, wanted, path).close()
        assert {hit.id for hit in reader.search(QUERIES[0], 1000, "dense")} == {document.id for document in wanted}
        assert len(reader) == len(wanted)


def test_a_prefix_of_the_embedding_can_be_kept(bundle, tmp_path):
    SearchIndex.build(bundle, made_documents(50), tmp_path / "i", dim=16).close()
    with SearchIndex.open(tmp_path / "i") as index:
        assert index.dim == 16
        document = next(made_documents(1))
        assert index.search(document.content, 1, "dense")[0].id == document.id
    with pytest.raises(StoreError, match="16 dimensions, not 32"):
        SearchIndex.build(bundle, made_documents(50), tmp_path / "i")


def test_the_copied_folder_is_all_that_is_needed(bundle, tmp_path):
    own = tmp_path / "bundle"
    shutil.copytree(bundle.path, own)
    index = SearchIndex.build(own, made_documents(40), tmp_path / "i", threads=1)
    expected = answers(index)
    index.close()
    shutil.rmtree(own)
    shutil.move(tmp_path / "i", tmp_path / "elsewhere (50%) ?#")
    with SearchIndex.open(tmp_path / "elsewhere (50%) ?#") as moved:
        assert answers(moved) == expected
        assert isinstance(moved.candidates(QUERIES[0])[0], list)


def test_an_altered_vector_length_is_named(bundle, tmp_path):
    SearchIndex.build(bundle, made_documents(5), tmp_path / "i").close()
    with sqlite3.connect(tmp_path / "i" / "store.sqlite") as connection:
        connection.execute("UPDATE vectors SET code = x'00' WHERE rowid = 2")
    connection.close()
    with SearchIndex.open(tmp_path / "i") as index, pytest.raises(StoreError, match="wrong length"):
        index.search("kaka", mode="dense")


def test_the_graph_record_survives_a_round_trip(large):
    reader = StoreReader(large)
    record = reader.graph()
    assert json.loads(record.dump())["rows"] == record.rows == LARGE
    assert type(record).parse(record.dump()) == record
    reader.close()


def test_threads_may_share_an_index(large):
    work = [(query, mode) for query in QUERIES for mode in MODES] * 3
    with SearchIndex.open(large) as index, ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda job: index.search(job[0], 5, job[1]), work))
        assert together == [index.search(query, 5, mode) for query, mode in work]
