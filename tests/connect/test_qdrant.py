"""Qdrant. With a server on this machine (`qdrant` on the PATH, or NEARFAR_QDRANT) everything runs against it; else it runs
against the local mode of Qdrant's own client, which keeps the interface but is not the server."""

import random

import numpy as np
import pytest
from conditions import KEYS, made_condition, made_metadata
from made_passages import MadePassages
from servers import qdrant, qdrant_binary

from nearfar.connect.address import parse_address
from nearfar.connect.outgoing import metadata_of, passage_key
from nearfar.connect.server import Question, connect
from nearfar.connect.transfer import push_passages
from nearfar.edge.where import In, matches, parse
from nearfar.errors import DataError, StoreError
from nearfar.index.quantise import dequantise

qdrant_client = pytest.importorskip("qdrant_client", reason="the extra qdrant is not installed")

# Local mode takes a bool for a number, which the server does not; so they are apart here, and infinite or very long
# numbers are refused by both.
pytestmark = pytest.mark.filterwarnings("ignore:Local mode")
_VALUES = (-1, 0, 1, 2020, 2020.0, 2020.5, 0.1, "", "en", "EN", "2020", "ß", "😀", "a\0b", "it's", 'say "hi"')
_KEYS = tuple(key for key in KEYS if '"' not in key)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    if qdrant_binary() is None:
        yield None
        return
    with qdrant(tmp_path_factory.mktemp("qdrant")) as place:
        yield place


@pytest.fixture
def server(running, request):
    from nearfar.connect.qdrant import Qdrant

    if running:
        name = "".join(c if c.isalnum() else "_" for c in request.node.name)
        server = connect(parse_address(f"qdrant://{running}/{name}"))
    else:
        server = Qdrant(qdrant_client.QdrantClient(":memory:"), "docs", "here")
    yield server
    server.close()


def _question(server, vector, where=None):
    return Question("", vector, "dense", where, server.about())


def test_only_changes_are_sent_and_what_is_gone_is_deleted(server):
    first = push_passages(MadePassages(1200), server, place="here")
    assert (first.added, first.updated, first.unchanged, first.removed) == (1200, 0, 0, 0)
    changed = MadePassages(1210)
    changed.stored = [passage for passage in changed.stored if passage.row % 100]
    object.__setattr__(changed.stored[7], "text", "another text")
    report = push_passages(changed, server, place="here")
    assert (report.added, report.updated, report.removed) == (10, 1, 12)
    there = {key for block in server.keys(97) for key in block}
    assert there == {passage_key(passage.id, passage.number) for passage in changed.stored}
    assert server.about().passages == len(changed.stored)
    assert push_passages(changed, server, place="here").unchanged == len(changed.stored)


def test_a_passage_comes_back_as_it_was(server):
    passages = MadePassages(3, metadata=[{"year": 2020, "tags": ("a", "ünï"), "draft": False, "none": ()}])
    push_passages(passages, server, place="here")
    sent = passages.stored[2]
    key = passage_key(sent.id, sent.number)
    found = server.passages([key], vectors=True)[key]
    for name in ("id", "number", "title", "heading", "text", "location", "page", "begin", "end"):
        assert found.fields[name] == getattr(sent, name)
    assert metadata_of(found.fields["metadata"]) == {"year": 2020, "tags": ("a", "ünï"), "draft": False}
    np.testing.assert_allclose(found.vector, dequantise(passages.codes, passages.scales)[2], atol=1e-6)


def test_nearest_are_the_nearest(server):
    passages = MadePassages(1000)
    push_passages(passages, server, place="here")
    query = np.random.default_rng(5).standard_normal(16).astype(np.float32)
    products = dequantise(passages.codes, passages.scales) @ query
    keys = [passage_key(passage.id, passage.number) for passage in passages.stored]
    scored = server.scored(_question(server, query), 10)
    expected = {keys[place] for place in np.argsort(-products)[:10]}
    assert len(expected & set(scored.keys)) >= 9
    by_key = dict(zip(keys, products, strict=True))
    np.testing.assert_allclose(scored.dense, [by_key[key] for key in scored.keys], atol=1e-4)


def test_conditions_mean_what_they_mean_on_the_device(server):
    bools = [made_metadata(seed, keys=("draft",), values=(True, False)) for seed in range(400)]
    metadata = [made_metadata(seed, keys=_KEYS[:2] + _KEYS[3:], values=_VALUES) | bools[seed] for seed in range(400)]
    passages = MadePassages(400, metadata=metadata)
    push_passages(passages, server, place="here")
    keys = [passage_key(passage.id, passage.number) for passage in passages.stored]
    rng = random.Random(1)
    vector = np.ones(16, dtype=np.float32)
    said = 0
    for number in range(400):
        if number % 4:
            condition = made_condition(rng, keys=_KEYS[:2] + _KEYS[3:], values=_VALUES, patterns=())
        else:
            condition = made_condition(rng, keys=("draft",), values=(True, False), patterns=())
        expected = {key for key, known in zip(keys, metadata, strict=True) if matches(condition, known)}
        try:
            scored = server.scored(_question(server, vector, condition), 400)
        except DataError:
            continue  # an order of texts
        said += 1
        assert set(scored.keys) == expected, condition
    assert said > 150


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("lang like 'e%'", "LIKE"),
        ("day >= '2020-01-01'", "orders numbers only"),
        ("id = 9007199254740993", "2\\^53"),
        ('"a""b" = 1', "knows no key"),
    ],
)
def test_what_cannot_be_said_is_refused(server, condition, said):
    push_passages(MadePassages(3), server, place="here")
    with pytest.raises(DataError, match=said):
        server.scored(_question(server, np.ones(16, dtype=np.float32), parse(condition)), 3)


def test_what_was_not_pushed_by_nearfar_is_left_alone(server):
    from qdrant_client import models

    server._client.create_collection(
        server._collection, vectors_config=models.VectorParams(size=4, distance=models.Distance.COSINE)
    )
    with pytest.raises(StoreError, match="nearfar did not make it"):
        push_passages(MadePassages(3), server, place="here", rebuild=True)


def test_another_bundle_is_refused_until_rebuilt(server):
    push_passages(MadePassages(20), server, place="here")
    with pytest.raises(StoreError, match="--rebuild"):
        push_passages(MadePassages(20, bundle="c" * 64), server, place="here")
    assert push_passages(MadePassages(10, bundle="c" * 64, dim=8), server, place="here", rebuild=True).added == 10
    assert server.about().dim == 8


def test_a_push_that_stops_is_marked_and_goes_on(server):
    class StoppedError(Exception):
        pass

    def stop(stage, done):
        if done >= 1000:
            raise StoppedError

    passages = MadePassages(2600)
    with pytest.raises(StoppedError):
        push_passages(passages, server, place="here", progress=stop)
    assert not server.about().whole
    report = push_passages(passages, server, place="here")
    assert (report.added, report.unchanged) == (1600, 1000)
    assert server.about().whole


def test_a_condition_that_allows_nothing_finds_nothing(server):
    push_passages(MadePassages(3), server, place="here")
    assert server.scored(_question(server, np.ones(16, dtype=np.float32), In("year", ())), 3).keys == []


def test_long_passages_go_in_several_requests(server):
    passages = MadePassages(5)
    for passage in passages.stored:
        object.__setattr__(passage, "text", "long " * 1_000_000)
    assert push_passages(passages, server, place="here").added == 5
    assert push_passages(passages, server, place="here").unchanged == 5


def test_a_server_that_is_not_there_is_said():
    server = connect(parse_address("qdrant://127.0.0.1:1/docs"))
    with pytest.raises(StoreError, match="does not answer"):
        server.about()
    server.close()


def test_a_key_is_not_sent_in_the_clear(monkeypatch):
    monkeypatch.setenv("QDRANT_API_KEY", "secret7")
    with pytest.raises(StoreError, match=r"qdrant\+https") as refused:
        connect(parse_address("qdrant://box.example/docs"))
    assert "secret7" not in str(refused.value)
