"""From an index on the device to a server and back: the same questions get the same answers."""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_documents import QUERIES, made_documents
from servers import postgres, qdrant, qdrant_binary
from tiny_bundle import write_tiny_bundle

from nearfar.connect import open_index, push
from nearfar.edge import SearchIndex
from nearfar.errors import DataError, KeyUnavailableError, StoreError

pytestmark = pytest.mark.filterwarnings("ignore:Local mode")
_COUNT = 400


def _documents(count=_COUNT, *, start=0):
    for number, document in enumerate(made_documents(count, start=start), start=start):
        yield replace(
            document, metadata={"year": 2000 + number % 20, "tags": ("even",) if number % 2 == 0 else ("odd", "x")}
        )


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    texts = [document.content for document in made_documents(_COUNT)]
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "b", texts=texts)


@pytest.fixture(scope="module")
def index(bundle, tmp_path_factory):
    path = tmp_path_factory.mktemp("index") / "i"
    SearchIndex.build(bundle, _documents(), path).close()
    return path


@pytest.fixture(scope="module")
def sockets():
    pytest.importorskip("psycopg", reason="the extra pgvector is not installed")
    with tempfile.TemporaryDirectory(prefix="nearfar-pg-") as folder, postgres(Path(folder) / "pg") as found:
        yield found


@pytest.fixture(scope="module")
def pushed(index, bundle, sockets):
    address = f"pgvector://postgres@/postgres?host={sockets}&table=pushed"
    report = push(index, address)
    assert report.added == report.passages >= _COUNT
    with open_index(address, bundle=bundle) as opened:
        yield opened


@pytest.fixture(scope="module")
def local(index):
    with SearchIndex.open(index) as opened:
        yield opened


def _found(hits):
    return [(hit.id, hit.passage) for hit in hits]


def _overlap(local, pushed, mode, **how):
    """The mean share of the server's ten that the device, too, has among its ten, or that score as its tenth does."""
    shares = []
    for query in QUERIES:
        here, there = local.search(query, 60, mode, **how), pushed.search(query, 10, mode, **how)
        assert len(there) == len(here[:10])
        least = min((hit.score for hit in here[:10]), default=0.0) - 1e-3
        good = {(hit.id, hit.passage) for hit in here if hit.score >= least}
        shares.append(len(good & set(_found(there))) / max(len(there), 1))
    return np.mean(shares)


@pytest.mark.parametrize("mode", ["dense", "keyword", "hybrid"])
def test_answers_are_those_of_the_device(local, pushed, mode):
    assert _overlap(local, pushed, mode) >= 0.98


@pytest.mark.parametrize("mode", ["dense", "keyword", "hybrid"])
def test_answers_under_a_condition_are_those_of_the_device(local, pushed, mode):
    where = "year >= 2005 and tags = 'odd' and not year in (2007, 2009)"
    assert _overlap(local, pushed, mode, where=where) >= 0.98
    assert all(hit.metadata["year"] >= 2005 for hit in pushed.search(QUERIES[0], 10, mode, where=where))


def test_hits_are_those_of_the_device(local, pushed):
    for mode in ("dense", "keyword"):
        here = {hit.id: hit for hit in local.search(QUERIES[1], 10, mode)}
        there = [hit for hit in pushed.search(QUERIES[1], 10, mode) if hit.id in here]
        assert there
        for hit in there:
            assert hit.score == pytest.approx(here[hit.id].score, abs=2e-3)
            assert replace(hit, score=0.0, rank=0) == replace(here[hit.id], score=0.0, rank=0)


def test_hits_are_ranked_and_cut(pushed):
    hits = pushed.search(QUERIES[0], 7, "dense")
    assert [hit.rank for hit in hits] == list(range(1, 8))
    scores = [hit.score for hit in hits]
    assert scores == sorted(scores, reverse=True)
    cut = pushed.search(QUERIES[0], 7, "dense", min_score=scores[3])
    assert _found(cut) == _found(hits[:4])


def test_more_than_there_is_gives_all(pushed):
    assert len(pushed.search(QUERIES[0], 10 * _COUNT, "dense", distinct="none")) == len(pushed)


def test_each_document_once(pushed):
    hits = pushed.search(QUERIES[0], 50, "dense", distinct="document")
    assert len({hit.id for hit in hits}) == 50


def test_diversity_changes_what_follows_the_best(pushed):
    plain, diverse = (pushed.search(QUERIES[0], 10, "dense", diversity=value) for value in (None, 0.9))
    assert diverse[0].id == plain[0].id
    assert _found(diverse) != _found(plain)
    assert len(set(_found(diverse))) == 10


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"query": "  "}, "the query is empty"),
        ({"query": "a", "k": 0}, "at least 1"),
        ({"query": "a", "mode": "magic"}, "no search mode"),
        ({"query": "a", "where": "year >"}, "expected a value"),
        ({"query": "a", "where": "yeer > 2000"}, "did you mean year"),
        ({"query": "a", "diversity": 2.0}, "diversity"),
        ({"query": "a", "rerank_depth": 0}, "at least 1"),
    ],
)
def test_what_makes_no_sense_is_refused(pushed, given, said):
    with pytest.raises(DataError, match=said):
        pushed.search(**given)


def test_a_condition_that_nothing_satisfies_finds_nothing(pushed):
    assert pushed.search(QUERIES[0], 10, "dense", where="year > 3000") == []


def test_passages_of_a_document_are_those_of_the_device(local, pushed):
    here, there = (index.passages_of("doc-7", 1, 9) for index in (local, pushed))
    assert here
    assert [replace(passage, row=0) for passage in here] == there
    assert pushed.passages_of("nobody", 1, 9) == []


def test_sources_for_a_language_model_are_those_of_the_device(local, pushed):
    here, there = (index.retrieve(QUERIES[2], 300, mode="dense", k=5) for index in (local, pushed))
    assert here.tokens > 0
    assert here.as_prompt() == there.as_prompt()


def test_a_cross_encoder_orders_anew(local, pushed, tmp_path):
    from tiny_reranker import write_tiny_reranker

    reranker = write_tiny_reranker(tmp_path / "reranker").path
    here, there = (index.search(QUERIES[3], 5, "dense", rerank=reranker) for index in (local, pushed))
    assert [hit.score for hit in there] == pytest.approx([hit.score for hit in here], abs=1e-4)


def test_an_encrypted_index_is_pushed_with_its_key(bundle, sockets, tmp_path):
    pytest.importorskip("sqlcipher3", reason="the extra encryption is not installed")
    address = f"pgvector://postgres@/postgres?host={sockets}&table=sealed"
    built = SearchIndex.build(
        bundle, _documents(20), tmp_path / "i", encrypt="passphrase", ask=lambda asked: "open sesame"
    )
    built.close()
    with pytest.raises(KeyUnavailableError):
        push(tmp_path / "i", address, ask=lambda asked: "open barley")
    assert push(tmp_path / "i", address, ask=lambda asked: "open sesame").added == 20


def test_another_bundle_is_refused(pushed, sockets, tmp_path):
    other = write_tiny_bundle(tmp_path / "other", seed=1)
    with pytest.raises(StoreError, match="give the bundle that made it"):
        open_index(f"pgvector://postgres@/postgres?host={sockets}&table=pushed", bundle=other)


def test_nothing_pushed_is_said(bundle, sockets):
    with pytest.raises(StoreError, match="nearfar push INDEX"):
        open_index(f"pgvector://postgres@/postgres?host={sockets}&table=nothing", bundle=bundle)


def test_a_changed_index_is_brought_up_to_date(bundle, sockets, tmp_path):
    address = f"pgvector://postgres@/postgres?host={sockets}&table=changed"
    SearchIndex.build(bundle, _documents(), tmp_path / "i").close()
    push(tmp_path / "i", address)
    SearchIndex.build(bundle, _documents(_COUNT, start=50), tmp_path / "i").close()
    report = push(tmp_path / "i", address)
    assert (report.added, report.updated, report.removed) == (50, 0, 50)
    with SearchIndex.open(tmp_path / "i") as local, open_index(address, bundle=bundle) as pushed:
        for mode in ("dense", "keyword", "hybrid"):
            assert _overlap(local, pushed, mode) >= 0.98


def test_a_prefix_of_the_components_will_do(bundle, sockets, tmp_path):
    address = f"pgvector://postgres@/postgres?host={sockets}&table=prefix"
    SearchIndex.build(bundle, _documents(), tmp_path / "i", dim=16).close()
    push(tmp_path / "i", address)
    with SearchIndex.open(tmp_path / "i") as local, open_index(address, bundle=bundle) as pushed:
        assert _overlap(local, pushed, "dense") >= 0.98


@pytest.fixture(scope="module")
def on_qdrant(index, bundle, tmp_path_factory):
    """On the real server where there is one, else in the local mode of Qdrant's client, which is not the server."""
    client = pytest.importorskip("qdrant_client", reason="the extra qdrant is not installed")
    if qdrant_binary():
        with qdrant(tmp_path_factory.mktemp("qdrant")) as running:
            address = f"qdrant://{running}/pushed"
            push(index, address)
            with open_index(address, bundle=bundle) as opened:
                yield opened
        return
    from nearfar.connect.index import ServerIndex
    from nearfar.connect.qdrant import Qdrant
    from nearfar.connect.transfer import push_passages
    from nearfar.edge.store.reader import StoreReader

    server = Qdrant(client.QdrantClient(":memory:"), "pushed", "here")
    reader = StoreReader(index)
    with reader.snapshot():
        push_passages(reader, server, place="here")
    reader.close()
    with ServerIndex(server, bundle, place="here") as opened:
        yield opened


def test_qdrant_answers_as_the_device(local, on_qdrant):
    assert on_qdrant.default_mode == "dense"
    assert _overlap(local, on_qdrant, "dense") >= 0.98
    assert _overlap(local, on_qdrant, "dense", where="year >= 2005 and tags = 'odd'") >= 0.98


@pytest.mark.parametrize("mode", ["hybrid", "keyword"])
def test_qdrant_says_what_it_cannot(on_qdrant, mode):
    with pytest.raises(DataError, match="embeddings only"):
        on_qdrant.search("a", 10, mode)
