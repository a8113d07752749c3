import math
import random
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
from conditions import made_condition, made_metadata
from made_passages import MadePassages
from servers import postgres

from nearfar.connect.address import parse_address
from nearfar.connect.outgoing import metadata_of, passage_key
from nearfar.connect.server import About, Question, connect
from nearfar.connect.transfer import push_passages
from nearfar.edge.where import In, matches
from nearfar.errors import StoreError
from nearfar.index.quantise import dequantise

psycopg = pytest.importorskip("psycopg", reason="the extra pgvector is not installed")


@pytest.fixture(scope="module")
def sockets():
    # A socket's path may have some hundred characters only, and the server's user must be let in.
    with tempfile.TemporaryDirectory(prefix="nearfar-pg-") as folder, postgres(Path(folder) / "pg") as found:
        yield found


@pytest.fixture
def address(sockets, request):
    name = "".join(c if c.isalnum() else "_" for c in request.node.name.lower())[:48]
    return f"pgvector://postgres@/postgres?host={sockets}&table={name}"


@pytest.fixture
def server(address):
    server = connect(parse_address(address))
    yield server
    server.close()


def _sql(sockets, query):
    with psycopg.connect(host=sockets, user="postgres", dbname="postgres", autocommit=True) as connection:
        cursor = connection.execute(query)
        return cursor.fetchall() if cursor.description else []


def _question(server, vector, mode="dense", query="", where=None):
    return Question(query, vector, mode, where, server.about())


def test_a_push_sends_everything_and_a_second_one_nothing(server):
    passages = MadePassages(1200)
    first = push_passages(passages, server, place="here")
    assert (first.added, first.updated, first.unchanged, first.removed) == (1200, 0, 0, 0)
    second = push_passages(passages, server, place="here")
    assert (second.added, second.updated, second.unchanged, second.removed) == (0, 0, 1200, 0)
    about = server.about()
    assert about is not None
    assert about.whole
    assert about.passages == 1200


def test_only_changes_are_sent_and_what_is_gone_is_deleted(server):
    push_passages(MadePassages(1200), server, place="here")
    changed = MadePassages(1210)
    changed.stored = [passage for passage in changed.stored if passage.row % 100]
    object.__setattr__(changed.stored[7], "text", "another text")
    object.__setattr__(changed.stored[9], "metadata", {"year": 2020})
    report = push_passages(changed, server, place="here")
    assert (report.added, report.updated, report.removed) == (10, 2, 12)
    there = {key for block in server.keys(97) for key in block}
    assert there == {passage_key(passage.id, passage.number) for passage in changed.stored}


def test_a_passage_comes_back_as_it_was(server):
    metadata = [{"year": 2020, "tags": ("a", "ünï"), "draft": False, "share": 0.25, "none": ()}]
    passages = MadePassages(3, metadata=metadata)
    push_passages(passages, server, place="here")
    sent = passages.stored[2]
    key = passage_key(sent.id, sent.number)
    found = server.passages([key], vectors=True)[key]
    for name in ("id", "number", "title", "heading", "text", "location", "page", "begin", "end"):
        assert found.fields[name] == getattr(sent, name)
    assert metadata_of(found.fields["metadata"]) == {"year": 2020, "tags": ("a", "ünï"), "draft": False, "share": 0.25}
    np.testing.assert_allclose(found.vector, dequantise(passages.codes, passages.scales)[2], rtol=2e-3, atol=1e-6)


def test_a_passage_of_any_size_is_taken(server):
    passages = MadePassages(4)
    texts = (" ".join(f"word{number}" for number in range(200_000)), "again " * 300_000, "x" * 5000 + " y", "\0")
    for passage, text in zip(passages.stored, texts, strict=True):
        object.__setattr__(passage, "text", text)
    assert push_passages(passages, server, place="here").added == 4
    assert push_passages(passages, server, place="here").unchanged == 4
    second = passages.stored[1]
    found = server.scored(_question(server, None, "keyword", "again"), 4).keys
    assert passage_key(second.id, second.number) in found


@pytest.mark.parametrize("depth", [10, 600])
def test_nearest_are_the_nearest(server, depth):
    passages = MadePassages(1000)
    push_passages(passages, server, place="here")
    query = np.random.default_rng(5).standard_normal(16).astype(np.float32)
    products = dequantise(passages.codes, passages.scales) @ query
    keys = [passage_key(passage.id, passage.number) for passage in passages.stored]
    scored = server.scored(_question(server, query), depth)
    expected = {keys[place] for place in np.argsort(-products)[:depth]}
    assert len(expected & set(scored.keys)) >= 0.98 * depth
    by_key = dict(zip(keys, products, strict=True))
    np.testing.assert_allclose(scored.dense, [by_key[key] for key in scored.keys], atol=5e-3)


def test_bm25_is_the_formula(server):
    passages = MadePassages(300)
    push_passages(passages, server, place="here")
    texts = [
        [word.strip("_").lower() for word in f"{p.heading} {p.text}".replace("'", " ").replace("\\", " ").split()]
        for p in passages.stored
    ]
    query = ["clock", "back", "delta"]
    mean = sum(map(len, texts)) / len(texts)
    scores = {}
    for passage, words in zip(passages.stored, texts, strict=True):
        score = 0.0
        for word in query:
            holders = sum(word in other for other in texts)
            if holders <= len(texts) / 2:
                weight = math.log((len(texts) - holders + 0.5) / (holders + 0.5))
                count = words.count(word)
                score += weight * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * len(words) / mean))
        if score:
            scores[passage_key(passage.id, passage.number)] = score
    scored = server.scored(_question(server, None, "keyword", "o'clock BACK, deltas?"), 300)
    found = dict(zip(scored.keys, scored.bm25.tolist(), strict=True))
    assert found.keys() >= scores.keys()
    for key, score in found.items():
        assert score == pytest.approx(scores.get(key, 0.0), abs=1e-4)


def test_conditions_mean_what_they_mean_on_the_device(server):
    metadata = [made_metadata(seed) for seed in range(400)]
    passages = MadePassages(400, metadata=metadata)
    push_passages(passages, server, place="here")
    keys = [passage_key(passage.id, passage.number) for passage in passages.stored]
    rng = random.Random(1)
    vector = np.ones(16, dtype=np.float32)
    conditions = [made_condition(rng) for _ in range(300)] + [In("year", tuple(range(3000)))]
    for condition in conditions:
        expected = {key for key, known in zip(keys, metadata, strict=True) if matches(condition, known)}
        assert set(server.scored(_question(server, vector, where=condition), 400).keys) == expected, condition


def test_a_condition_is_exact_also_with_a_graph(server):
    passages = MadePassages(3000, metadata=[{"part": number % 50} for number in range(50)])
    push_passages(passages, server, place="here")
    query = np.random.default_rng(6).standard_normal(16).astype(np.float32)
    products = dequantise(passages.codes, passages.scales) @ query
    allowed = [place for place in range(3000) if place % 50 == 3]
    best = sorted(allowed, key=lambda place: -products[place])[:10]
    scored = server.scored(_question(server, query, where=In("part", (3,))), 10)
    keys = {passage_key(passages.stored[place].id, passages.stored[place].number) for place in best}
    assert set(scored.keys) == keys


def test_what_was_not_pushed_by_nearfar_is_left_alone(server, sockets, address):
    table = parse_address(address).table
    _sql(sockets, f"CREATE TABLE {table} (id int)")
    with pytest.raises(StoreError, match="nearfar did not make it"):
        push_passages(MadePassages(3), server, place="here", rebuild=True)
    assert _sql(sockets, f"SELECT count(*) FROM {table}") == [(0,)]


def test_another_bundle_is_refused_until_rebuilt(server):
    push_passages(MadePassages(20), server, place="here")
    with pytest.raises(StoreError, match="--rebuild"):
        push_passages(MadePassages(20, bundle="c" * 64), server, place="here")
    with pytest.raises(StoreError, match="--rebuild"):
        push_passages(MadePassages(20, dim=8), server, place="here")
    report = push_passages(MadePassages(10, bundle="c" * 64, dim=8), server, place="here", rebuild=True)
    assert report.added == 10
    assert server.about() == About("c" * 64, 8, 10, server.about().words, whole=True)


def test_two_pushes_to_one_table_do_not_mix(server, address):
    push_passages(MadePassages(20), server, place="here")
    other = connect(parse_address(address))
    try:
        with pytest.raises(StoreError, match="another push"):
            push_passages(MadePassages(20), other, place="here")
    finally:
        other.close()


def test_a_push_that_stops_is_marked_and_goes_on(server, address):
    class StoppedError(Exception):
        pass

    def stop(stage, done):
        if done >= 1000:
            raise StoppedError

    passages = MadePassages(2600)
    with pytest.raises(StoppedError):
        push_passages(passages, server, place="here", progress=stop)
    server.close()
    again = connect(parse_address(address))
    try:
        assert not again.about().whole
        for mode in ("dense", "keyword", "hybrid"):
            assert again.scored(_question(again, np.ones(16, dtype=np.float32), mode, "o'clock"), 10).keys
        report = push_passages(passages, again, place="here")
        assert (report.added, report.unchanged) == (1600, 1000)
        assert again.about().whole
    finally:
        again.close()


def test_a_search_during_a_push_finds_what_is_there(server, address):
    push_passages(MadePassages(1500), server, place="here")
    reader = connect(parse_address(address))
    changed = MadePassages(1500)
    for passage in changed.stored:
        object.__setattr__(passage, "text", passage.text + " more")
    pusher = threading.Thread(target=push_passages, args=(changed, server), kwargs={"place": "here"})
    pusher.start()
    try:
        while pusher.is_alive():
            scored = reader.scored(_question(reader, np.ones(16, dtype=np.float32)), 10)
            found = reader.passages(scored.keys, vectors=False)
            assert len(found) == 10
            assert all(each.fields["metadata"] == {} and each.fields["text"] for each in found.values())
    finally:
        pusher.join()
        reader.close()
    assert server.about().whole


def test_a_server_that_is_not_there_is_said():
    with pytest.raises(StoreError, match="cannot connect"):
        connect(parse_address("pgvector://postgres@/postgres?host=/nowhere&table=docs"))
