import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from made_documents import PARAGRAPHS, QUERIES, WORDS, answers, made_documents, made_long_documents
from tiny_bundle import write_tiny_bundle
from tiny_reranker import write_tiny_reranker

from nearfar.bundle import Fusion
from nearfar.edge import Encoder, SearchIndex, derive, fit_fusion
from nearfar.edge.reranker import Reranker
from nearfar.errors import BundleError, DataError, KeyUnavailableError, StoreError
from nearfar.sources.cut import Cutting
from nearfar.sources.document import Document

MODES = ("dense", "keyword", "hybrid")
LARGE, EXACT_UP_TO = 1700, 800
"""With fewer passages compared one by one than by default, an index is large, and has derived files, earlier."""


@pytest.fixture(scope="module", autouse=True)
def earlier_large():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(derive, "EXACT_UP_TO", EXACT_UP_TO)
        yield


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    texts = [document.content for document in made_documents(300)]
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "b", dim=384, texts=texts)


@pytest.fixture(scope="module")
def small(bundle, tmp_path_factory):
    return SearchIndex.build(bundle, made_documents(200), tmp_path_factory.mktemp("small") / "i", threads=1)


@pytest.fixture(scope="module", params=["scan", "hnsw"])
def large(request, bundle, tmp_path_factory):
    path = tmp_path_factory.mktemp("large") / "i"
    with SearchIndex.build(bundle, made_documents(LARGE), path, engine=request.param, threads=1) as index:
        assert index.engine == request.param
        return path


@pytest.fixture(scope="module")
def long(bundle, tmp_path_factory):
    """60 documents of three passages, with metadata."""
    path = tmp_path_factory.mktemp("long") / "i"
    return SearchIndex.build(bundle, made_long_documents(60), path, cutting=PARAGRAPHS, threads=1)


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
    sql = """SELECT doc_id FROM keywords JOIN passages ON passages.row = keywords.rowid JOIN documents USING (doc)
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


@pytest.mark.parametrize("engine", ["exact", "scan", "hnsw"])
def test_all_documents_identical(bundle, tmp_path, engine):
    documents = [
        Document(id=f"{number:04}", text="kaka loka mika") for number in range(700 if engine == "exact" else 1500)
    ]
    index = SearchIndex.build(
        bundle, documents, tmp_path / "i", engine=None if engine == "exact" else engine, threads=1
    )
    assert index.engine == engine
    for mode in MODES:
        hits = index.search("kaka loka", 10, mode, distinct="none")
        assert len({hit.id for hit in hits}) == 10
        assert len({hit.score for hit in hits}) == 1
        if engine == "exact":
            assert [hit.id for hit in hits] == [f"{number:04}" for number in range(10)]
        assert len(index.search("kaka loka", 10, mode)) == 1, "the others are copies"


def test_one_document_and_k_larger_than_the_index(bundle, tmp_path):
    index = SearchIndex.build(bundle, made_documents(1), tmp_path / "i")
    assert len(index) == 1
    query = next(made_documents(1)).content
    for mode in MODES:
        assert [hit.id for hit in index.search(query, 10**9, mode)] == ["doc-0"]


def test_k_larger_than_a_large_index_gives_every_document(large):
    with SearchIndex.open(large) as index:
        assert len({hit.id for hit in index.search(QUERIES[0], 10**9, "dense")}) == LARGE


def test_updates_and_removals_behind_a_derived_file(large, bundle, tmp_path):
    path = tmp_path / "i"
    shutil.copytree(large, path)
    # The nearest documents go, others change, new ones come: too few to make the files again.
    with SearchIndex.open(path) as index:
        engine = index.engine
        gone = {hit.id for query in QUERIES for hit in index.search(query, 15, "dense")}
    kept = [document for document in made_documents(LARGE) if document.id not in gone]
    changed = [replace(document, text=f"{document.text} zuzu") for document in kept[:150]]
    wanted = [*changed, *kept[150:], *made_documents(150, start=90_000)]
    index = SearchIndex.build(bundle, wanted, path, threads=1)
    report = index.report
    assert (report.added, report.updated, report.removed) == (150, 150, len(gone))
    assert report.unchanged == LARGE - len(gone) - 150
    assert report.derived == []
    assert index.engine == engine
    assert len(index) == len(wanted)
    fresh = SearchIndex.build(bundle, wanted, tmp_path / "fresh", threads=1)
    overlaps = []
    for query in QUERIES:
        found = {hit.id for hit in index.search(query, 10, "dense")}
        assert not found & gone
        overlaps.append(len(found & {hit.id for hit in fresh.search(query, len(wanted), "dense")[:10]}) / 10)
        assert [(hit.id, hit.rank) for hit in index.search(query, 10, "keyword")] == [
            (hit.id, hit.rank) for hit in fresh.search(query, 10, "keyword")
        ]
    assert np.mean(overlaps) >= 0.9
    assert {hit.id for hit in index.search("zuzu", 300, "keyword")} >= {document.id for document in changed[:5]}


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
    SearchIndex.build(bundle, made_documents(50), tmp_path / "i", dim=192).close()
    with SearchIndex.open(tmp_path / "i") as index:
        assert index.dim == 192
        document = next(made_documents(1))
        assert index.search(document.content, 1, "dense")[0].id == document.id
    with pytest.raises(StoreError, match="192 dimensions, not 384"):
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


def test_threads_may_share_an_index(large):
    work = [(query, mode) for query in QUERIES for mode in MODES] * 3
    with SearchIndex.open(large) as index, ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda job: index.search(job[0], 5, job[1]), work))
        assert together == [index.search(query, 5, mode) for query, mode in work]


# What a search can be asked for


def brute(index, query):
    """Ids and numbers of all passages, best first, by an exact search without any option."""
    return [(hit.id, hit.passage) for hit in index.search(query, 10**6, "dense", distinct="none")]


CONDITIONS = {
    "kind = 'red'": lambda d: d.metadata["kind"] == "red",
    "kind != 'red' AND number >= 30": lambda d: d.metadata["kind"] != "red" and d.metadata["number"] >= 30,
    "tags = 't1' AND NOT draft = true": lambda d: "t1" in d.metadata["tags"] and not d.metadata["draft"],
    "number = 17": lambda d: d.metadata["number"] == 17,
    "number > 1000 OR number IN (3, 4)": lambda d: d.metadata["number"] in {3, 4},
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("where", CONDITIONS)
def test_a_condition_is_exact_and_finds_as_many_as_there_are(long, where, mode):
    satisfying = {document.id for document in made_long_documents(60) if CONDITIONS[where](document)}
    for query in QUERIES[:3]:
        for k in (1, 10, 1000):
            hits = long.search(query, k, mode, where=where, distinct="none")
            assert {hit.id for hit in hits} <= satisfying
            if mode == "keyword":
                every = [hit for hit in long.search(query, 1000, mode, distinct="none") if hit.id in satisfying]
                assert [(hit.id, hit.passage, hit.score) for hit in hits] == [
                    (hit.id, hit.passage, pytest.approx(hit.score)) for hit in every[:k]
                ]
            else:
                assert len(hits) == min(k, 3 * len(satisfying))
            if mode == "dense":
                every = [found for found in brute(long, query) if found[0] in satisfying]
                assert [(hit.id, hit.passage) for hit in hits] == every[:k]


def test_hits_bring_the_metadata_of_their_document(long):
    documents = {document.id: document for document in made_long_documents(60)}
    for hit in long.search(QUERIES[0], 30):
        assert hit.metadata == documents[hit.id].metadata
        assert isinstance(hit.metadata["tags"], tuple)


def test_conditions_that_allow_nothing_or_make_no_sense(long):
    assert long.search("kaka", where="number = -1") == []
    with pytest.raises(DataError, match="did you mean number"):
        long.search("kaka", where="numbre = 1")
    with pytest.raises(DataError, match="condition"):
        long.search("kaka", where="number ==")
    assert len(long.search("kaka", where="number = 1")) == 3


@pytest.mark.parametrize("mode", MODES)
def test_what_scores_too_little_is_left_out(long, mode):
    hits = long.search(QUERIES[0], 20, mode)
    border = hits[6].score
    kept = long.search(QUERIES[0], 20, mode, min_score=border)
    assert kept == [hit for hit in hits if hit.score >= border]
    assert len(kept) >= 7
    assert long.search(QUERIES[0], 20, mode, min_score=hits[0].score + 1) == []


def test_documents_are_distinct_by_text_by_document_or_not(bundle, tmp_path):
    paragraphs = ["kaka lolo mimi", "kaka lolo nene", "zuzu ruru vovo"]
    documents = [
        Document("one", "\n\n".join(paragraphs)),
        Document("two", "\n\n".join(["KAKA  lolo\tmimi", paragraphs[2]])),
        Document("three", "kaka lolo"),
    ]
    with SearchIndex.build(bundle, documents, tmp_path / "i", cutting=Cutting(words=3, overlap=0)) as index:
        for mode in MODES:
            every = index.search("kaka lolo", 10, mode, distinct="none")
            texts = [" ".join(hit.text.casefold().split()) for hit in every]
            assert len(texts) - len(set(texts)) == (2 if mode != "keyword" else 1)
            by_text = index.search("kaka lolo", 10, mode)
            assert [" ".join(hit.text.casefold().split()) for hit in by_text] == list(dict.fromkeys(texts))
            by_document = index.search("kaka lolo", 10, mode, distinct="document")
            assert [hit.id for hit in by_document] == list(dict.fromkeys(hit.id for hit in every))
            assert [hit.rank for hit in by_document] == [1, 2, 3]
        with pytest.raises(DataError, match="none, text, document"):
            index.search("kaka", distinct="words")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("copies", [40, 900])
def test_copies_do_not_take_the_places_of_other_answers(bundle, tmp_path, mode, copies):
    """However many copies of the best there are, more are looked for until there are k, and none comes twice."""
    documents = [Document(f"copy {number}", "kaka lolo mimi nene") for number in range(copies)]
    documents += [Document(f"other {number}", f"kaka lolo {WORDS[number]}") for number in range(30)]
    # A word in more than half of the passages tells nothing.
    documents += [Document(f"filler {number}", " ".join(WORDS[-9:])) for number in range(copies + 40)]
    with SearchIndex.build(bundle, documents, tmp_path / "i", threads=1) as index:
        assert index.engine == ("scan" if copies == 900 else "exact")
        hits = index.search("kaka lolo mimi nene", 12, mode)
        assert len(hits) == 12
        assert len({hit.text for hit in hits}) == 12
        assert sum(hit.id.startswith("copy") for hit in hits) == 1
        assert [hit.rank for hit in hits] == list(range(1, 13))


def test_diversity_of_nothing_is_relevance_and_of_one_is_difference(long):
    encoder = Encoder.open(long.bundle)
    for query in QUERIES[:4]:
        assert long.search(query, 5, "dense", diversity=0) == long.search(query, 5, "dense")
        likeness = []
        for diversity in (0.0, 0.5, 1.0):
            hits = long.search(query, 5, "dense", diversity=diversity)
            assert len({(hit.id, hit.passage) for hit in hits}) == 5
            texts = [f"{hit.title}\n{hit.text}" for hit in hits]
            vectors = encoder.embed(texts)
            likeness.append((vectors @ vectors.T)[np.triu_indices(5, 1)].mean())
        assert likeness[0] > likeness[2]
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(DataError, match="diversity"):
            long.search("kaka", diversity=wrong)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"where": "kind = 'red'", "k": 7},
        {"distinct": "document", "diversity": 0.4},
        {"min_score": 0.1, "distinct": "none"},
        {"k": 10**9},
        {"k": 10**9, "diversity": 0.5},
    ],
)
def test_many_searches_are_as_many_single_ones(long, mode, options):
    found = long.search_many(QUERIES, mode=mode, **options)
    assert len(found) == len(QUERIES)
    for query, hits in zip(QUERIES, found, strict=True):
        single = long.search(query, mode=mode, **options)
        assert [(hit.id, hit.passage, hit.rank) for hit in hits] == [(hit.id, hit.passage, hit.rank) for hit in single]
        np.testing.assert_allclose([hit.score for hit in hits], [hit.score for hit in single], rtol=1e-4, atol=1e-5)


def test_no_searches_find_nothing_and_one_blank_one_is_an_error(long):
    for mode in MODES:
        assert long.search_many([], mode=mode) == []
        with pytest.raises(DataError, match="empty"):
            long.search_many(["kaka", " "], mode=mode)


@pytest.mark.parametrize("mode", MODES)
def test_a_cross_encoder_orders_the_best_passages_anew(long, mode, tmp_path):
    best_first = write_tiny_reranker(tmp_path / "r", scale="free")
    worst_first = write_tiny_reranker(tmp_path / "w", scale="free", factor=-1)
    for query in QUERIES[:3]:
        read = long.search(query, 20, mode)
        hits = long.search(query, 20, mode, rerank=best_first.path, rerank_depth=20)
        assert {(hit.id, hit.passage) for hit in hits} == {(hit.id, hit.passage) for hit in read}
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert [hit.rank for hit in hits] == list(range(1, len(read) + 1))
        scores = Reranker.open(best_first).scores(query, [f"{hit.title}\n{hit.text}" for hit in hits])
        np.testing.assert_allclose([hit.score for hit in hits], scores, rtol=1e-4, atol=1e-5)
        turned = long.search(query, 20, mode, rerank=Reranker.open(worst_first), rerank_depth=20)
        np.testing.assert_allclose([-hit.score for hit in turned][::-1], scores, rtol=1e-4, atol=1e-5)
        few = long.search(query, 20, mode, rerank=best_first.path, rerank_depth=3)
        assert {(hit.id, hit.passage) for hit in few} == {(hit.id, hit.passage) for hit in read[:3]}
    with pytest.raises(DataError, match="rerank_depth"):
        long.search("kaka", rerank=best_first.path, rerank_depth=0)
    with pytest.raises(BundleError):
        long.search("kaka", rerank=long.bundle.path)


def test_passages_of_a_document_are_read_in_order(long):
    document = list(made_long_documents(60))[8]
    assert "\n\n".join(passage.text for passage in long.passages_of("long-8", 1, 99)) == document.text
    assert [passage.number for passage in long.passages_of("long-8", 2, 3)] == [2, 3]
    assert long.passages_of("long-8", 4, 9) == long.passages_of("never", 1, 9) == []


def test_an_engine_is_remembered_and_can_be_changed(bundle, tmp_path):
    path = tmp_path / "i"
    documents = list(made_documents(900))
    with SearchIndex.build(bundle, documents, path, threads=1) as index:
        assert index.engine == "scan"
        with SearchIndex.build(bundle, documents, path, engine="hnsw", threads=1) as again:
            assert again.report.derived == ["graph"]
        assert index.engine == "hnsw"
    with SearchIndex.build(bundle, documents, path, threads=1) as index:
        assert (index.engine, index.report.derived) == ("hnsw", [])
    with SearchIndex.build(bundle, documents, path, engine="auto", threads=1) as index:
        assert (index.engine, index.report.derived) == ("scan", ["signs"])
    assert sorted(file.suffix for file in path.glob("derived-*")) == [".postings", ".signs"]
    with pytest.raises(DataError, match="auto, scan, hnsw"):
        SearchIndex.build(bundle, documents, path, engine="faiss")


# Encrypted


PASSPHRASE = "five words taken by chance"


def encrypted_by(rung, tmp_path):
    return f"file:{tmp_path / 'key'}" if rung == "file" else "passphrase"


@pytest.mark.parametrize(("rung", "engine"), [("passphrase", "scan"), ("file", "hnsw")])
def test_an_encrypted_index_answers_as_a_plain_one(bundle, tmp_path, rung, engine):
    documents = [*made_documents(900), *made_long_documents(40)]
    options = {"engine": engine, "threads": 1, "cutting": PARAGRAPHS}
    plain = SearchIndex.build(bundle, documents, tmp_path / "plain", **options)
    path, place = tmp_path / "i", encrypted_by(rung, tmp_path)

    def ask(which):
        assert rung == "passphrase"
        return PASSPHRASE

    with SearchIndex.build(bundle, documents, path, encrypt=place, ask=ask, **options) as index:
        assert index.engine == engine
        assert answers(index) == answers(plain)
        assert index.search("kaka", where="kind = 'red'") == plain.search("kaka", where="kind = 'red'")
    more = [*documents[10:], Document("secret", "zuzu kaka", metadata={"owner": "somebody"})]
    with SearchIndex.build(bundle, more, path, ask=ask, threads=1, cutting=PARAGRAPHS) as index:
        assert (index.report.added, index.report.removed, index.report.unchanged) == (1, 10, 930)
        with SearchIndex.edit(path, ask=ask) as editor:
            editor.delete(["secret"])
        assert len(index) == 930
    assert len(list(path.glob("derived-*"))) == 2


def test_nothing_of_the_documents_is_readable_in_an_encrypted_index(bundle, tmp_path):
    documents = [
        Document(
            f"ident{number}fier",
            "zebra quagga okapi",
            title="giraffid",
            location="savannah.txt",
            metadata={"tag": "kudu"},
        )
        if number == 7
        else Document(f"ident{number}fier", f"zebra {WORDS[number % 300]}", title="giraffid")
        for number in range(900)
    ]
    told = (b"zebra", b"quagga", b"okapi", b"giraffid", b"savannah", b"kudu", b"ident", b"SQLite format")

    def readable(path):
        files = [file for file in path.rglob("*") if file.is_file() and file.parent.name != "bundle"]
        lock = [file for file in files if file.name.startswith("writer.lock")]
        return {word for file in set(files) - set(lock) for word in told if word in file.read_bytes().lower()}

    def watched(stage, done):
        # Also while it is being written: the journal is a file as well.
        assert readable(path) == set()

    told = tuple(word.lower() for word in told)
    path = tmp_path / "i"
    place = f"file:{tmp_path / 'key'}"
    with SearchIndex.build(bundle, documents, path, encrypt=place, progress=watched, threads=1) as index:
        assert index.search("quagga okapi", 1, "keyword")[0].id == "ident7fier"
        assert readable(path) == set()
    assert {file.name.split(".")[-1] for file in path.glob("derived-*")} == {"signs", "postings"}
    plain = tmp_path / "plain"
    SearchIndex.build(bundle, documents, plain, threads=1).close()
    assert readable(plain) == set(told), "the test would see it"


def test_without_the_key_nothing_opens(bundle, tmp_path):
    path, key = tmp_path / "i", tmp_path / "key"
    SearchIndex.build(bundle, made_documents(50), path, encrypt=f"file:{key}").close()
    content = key.read_bytes()
    key.unlink()
    for use in (SearchIndex.open, SearchIndex.edit, lambda path: SearchIndex.build(bundle, made_documents(5), path)):
        with pytest.raises(KeyUnavailableError, match="key"):
            use(path)
    key.write_bytes(content)
    key.chmod(0o600)
    with SearchIndex.open(path) as index:
        assert len(index) == 50
    record = (path / "key.json").read_bytes()
    (path / "key.json").unlink()
    with pytest.raises(StoreError, match="encrypted"):
        SearchIndex.open(path)
    (path / "key.json").write_bytes(record)


def test_a_wrong_passphrase_is_refused(bundle, tmp_path):
    path = tmp_path / "i"
    SearchIndex.build(bundle, made_documents(50), path, encrypt="passphrase", ask=lambda _: PASSPHRASE).close()
    with pytest.raises(KeyUnavailableError, match="passphrase"):
        SearchIndex.open(path, ask=lambda _: "five words taken by others")
    with SearchIndex.open(path, ask=lambda _: PASSPHRASE) as index:
        assert len(index) == 50


def test_a_plain_index_does_not_become_encrypted_in_place(bundle, tmp_path):
    path, place = tmp_path / "i", f"file:{tmp_path / 'key'}"
    SearchIndex.build(bundle, made_documents(50), path).close()
    with pytest.raises(StoreError, match="cannot become so in place"):
        SearchIndex.build(bundle, made_documents(50), path, encrypt=place)
    assert not (path / "key.json").exists()
    with SearchIndex.build(bundle, made_documents(50), path, encrypt=place, rebuild=True) as index:
        assert len(index) == 50
    assert b"SQLite format" not in (path / "store.sqlite").read_bytes()


@pytest.mark.parametrize("kind", ["signs", "postings"])
@pytest.mark.parametrize("damage", ["flipped", "truncated", "renamed"])
def test_a_changed_sealed_file_is_not_used(bundle, tmp_path, kind, damage):
    path = tmp_path / "i"
    place = f"file:{tmp_path / 'key'}"
    documents = list(made_documents(900))
    with SearchIndex.build(bundle, documents, path, encrypt=place, threads=1) as index:
        expected = [hits for query in QUERIES for hits in index.search(query, 900, "dense")[:10]]
    (file,) = path.glob(f"derived-*.{kind}")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    changed = {"flipped": content, "truncated": content[:-5], "renamed": next(path.glob(f"derived-*.{'postings' if kind == 'signs' else 'signs'}")).read_bytes()}  # fmt: skip
    file.write_bytes(changed[damage])
    with SearchIndex.open(path) as index:
        assert index.engine == ("exact" if kind == "signs" else "scan")
        found = [hit for query in QUERIES for hit in index.search(query, 10, "dense")]
        if kind == "signs":
            assert found == expected
        assert index.search(documents[5].content, 1, "keyword")[0].id == documents[5].id
    with SearchIndex.build(bundle, documents, path, threads=1) as index:
        assert index.report.derived == [kind]
