"""Whatever finds the candidates: the answer is that of an exact scan over the store, and never holds what must not be found."""

import logging
import shutil
import sqlite3
import threading

import numpy as np
import pytest
from made_vectors import mixture, recall
from tiny_bundle import write_tiny_bundle

from nearfar.edge import SearchIndex, dense, derive
from nearfar.edge.build import build_index
from nearfar.edge.dense import DenseSearch
from nearfar.edge.folder import opened_writer
from nearfar.edge.store import StoreReader
from nearfar.edge.store.writer import NewDocument
from nearfar.index import exact_search
from nearfar.sources.cut import Cutting, cut
from nearfar.sources.document import Document

COUNT, DIM, NEWER = 3000, 384, 200
VECTORS, QUERIES = mixture(COUNT + NEWER, 0, dim=DIM), mixture(40, 1, dim=DIM)
ENGINES = ("exact", "scan", "hnsw")
FILES = {"scan": "signs", "hnsw": "graph"}


class Given:
    """An encoder whose documents say which vector is theirs."""

    dim = DIM

    def embed(self, items, side="document"):
        return VECTORS[[int(item.split()[-1]) for item in items]]


def documents(*numbers):
    return [Document(id=f"d{number}", text=f"number {number}", metadata={"number": int(number)}) for number in numbers]


@pytest.fixture(scope="module", autouse=True)
def earlier_large():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(derive, "EXACT_UP_TO", 1000)
        patch.setattr(dense, "FEW_ALLOWED", 150)
        yield


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "b", dim=DIM)


@pytest.fixture(scope="module")
def index(bundle, tmp_path_factory):
    """Makes an index of documents by number, by an engine, or changes one."""

    def index(path, numbers, engine=None):
        with opened_writer(path, bundle, DIM) as writer:
            if engine:
                writer.set_engine(engine)
            return build_index(writer, Given(), documents(*numbers), threads=1)

    return index


@pytest.fixture(scope="module")
def stores(index, tmp_path_factory):
    """By engine: a derived file over 3,000 vectors, of which 60 are gone, and 200 newer ones behind it."""
    paths = {}
    for engine in ENGINES:
        path = paths[engine] = tmp_path_factory.mktemp(engine) / "i"
        with pytest.MonkeyPatch.context() as patch:
            if engine == "exact":
                patch.setattr(derive, "EXACT_UP_TO", 10**6)
            index(path, range(COUNT), "hnsw" if engine == "hnsw" else "scan")
            report = index(path, [n for n in range(COUNT + NEWER) if n % 50])
        assert (report.added, report.removed, report.derived) == (NEWER - NEWER // 50, COUNT // 50, [])
    return paths


HERE = np.array([number for number in range(COUNT + NEWER) if number % 50])


class Opened:
    """A `DenseSearch` over a store, in one snapshot, by the numbers of the documents."""

    def __init__(self, path):
        self.reader = StoreReader(path)
        self.dense = DenseSearch(self.reader)
        self.refresh()

    def refresh(self):
        with self.reader.snapshot():
            self.dense.refresh()
            rows = self.reader.connection.execute("SELECT row, text FROM passages ORDER BY row").fetchall()
        self.rows = np.array([row for row, _ in rows], dtype=np.int64)
        self.numbers = np.array([int(text.split()[-1]) for _, text in rows], dtype=np.int64)

    def rows_of(self, numbers):
        return np.sort(self.rows[np.isin(self.numbers, numbers)])

    def numbers_of(self, rows):
        return self.numbers[np.searchsorted(self.rows, rows)]

    def search(self, query, k, numbers=None):
        with self.reader.snapshot():
            rows, cosines = self.dense.search(query, k, None if numbers is None else self.rows_of(numbers))
        assert np.isin(rows, self.rows).all()
        assert (np.diff(cosines) <= 0).all()
        return self.numbers_of(rows), cosines

    def close(self):
        self.reader.close()


@pytest.fixture(params=ENGINES)
def opened(request, stores):
    opened = Opened(stores[request.param])
    assert opened.dense.engine == request.param
    assert opened.dense.total == len(HERE)
    yield opened
    opened.close()


def nearest(among, k):
    return among[exact_search(QUERIES, VECTORS[among], k)[1]]


@pytest.mark.parametrize(("k", "least"), [(1, 0.97), (10, 0.97), (60, 0.9)])
def test_every_engine_finds_what_an_exact_scan_finds(opened, stores, k, least):
    exact = Opened(stores["exact"])
    found = np.array([opened.search(query, k)[0] for query in QUERIES])
    expected = np.array([exact.search(query, k)[0] for query in QUERIES])
    exact.close()
    assert found.shape == (len(QUERIES), k)
    assert recall(expected, nearest(HERE, k)) >= 0.95, "the store's codes themselves"
    assert recall(found, expected) >= (1 if opened.dense.engine == "exact" else least)


def test_scores_are_those_of_the_store_whatever_found_them(opened, stores):
    exact = Opened(stores["exact"])
    for query in QUERIES:
        numbers, cosines = opened.search(query, 10)
        truth = dict(zip(*(part.tolist() for part in exact.search(query, 10**6)), strict=True))
        assert cosines.tolist() == [truth[number] for number in numbers.tolist()]
    exact.close()


def test_removed_vectors_never_appear(opened):
    for number in range(0, COUNT + NEWER, 50):
        numbers, _ = opened.search(VECTORS[number], 20)
        assert (numbers % 50 != 0).all()
        assert len(set(numbers.tolist())) == 20


def test_vectors_newer_than_the_file_are_found(opened):
    for number in range(COUNT + 1, COUNT + NEWER, 7):
        if number % 50:
            assert opened.search(VECTORS[number], 3)[0][0] == number


ALLOWED = {
    "few": lambda rng: rng.choice(HERE, 20, replace=False),
    "some": lambda rng: rng.choice(HERE, 600, replace=False),
    "most": lambda rng: rng.choice(HERE, 2500, replace=False),
    "only newer ones": lambda rng: HERE[HERE >= COUNT],
    "only old ones": lambda rng: HERE[HERE < 700],
    "newer ones and a few old": lambda rng: np.concatenate([HERE[HERE >= COUNT], HERE[:3]]),
}


@pytest.mark.parametrize("which", ALLOWED)
@pytest.mark.parametrize("k", [1, 10, 30])
def test_nothing_but_what_is_allowed_is_found_and_as_much_as_there_is(opened, which, k):
    allowed = np.sort(ALLOWED[which](np.random.default_rng(3)))
    found = [opened.search(query, k, allowed)[0] for query in QUERIES]
    assert all(np.isin(numbers, allowed).all() for numbers in found)
    assert {len(numbers) for numbers in found} == {min(k, len(allowed))}
    assert all(len(set(numbers.tolist())) == len(numbers) for numbers in found)
    assert recall(np.array(found), nearest(allowed, min(k, len(allowed)))) >= 0.95


def test_nothing_allowed_nothing_found(opened):
    assert opened.search(QUERIES[0], 5, [])[0].tolist() == []


def test_candidates_hold_the_nearest_and_only_what_is_allowed(opened):
    for allowed in (None, np.sort(np.random.default_rng(3).choice(HERE, 900, replace=False))):
        found = []
        for query in QUERIES:
            with opened.reader.snapshot():
                rows = opened.dense.candidates(query, 100, None if allowed is None else opened.rows_of(allowed))
            assert len(rows) == len(set(rows.tolist())) <= 200
            numbers = opened.numbers_of(rows)
            assert np.isin(numbers, HERE if allowed is None else allowed).all()
            found.append(numbers)
        among = HERE if allowed is None else allowed
        assert (
            np.mean([np.isin(best, some).mean() for best, some in zip(nearest(among, 10), found, strict=True)]) >= 0.97
        )


def test_all_that_there_is_is_found_once(opened):
    numbers, _ = opened.search(QUERIES[0], 10**9)
    assert np.sort(numbers).tolist() == HERE.tolist()


@pytest.mark.parametrize("engine", ["scan", "hnsw"])
@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "of another number", "another file"])
def test_without_a_sound_file_the_answer_is_the_exact_one(stores, index, tmp_path, engine, damage, caplog):
    path = tmp_path / "i"
    shutil.copytree(stores[engine], path)
    (file,) = path.glob(f"derived-*.{FILES[engine]}")
    content = file.read_bytes()
    if damage == "missing":
        file.unlink()
    elif damage == "of another number":
        index(tmp_path / "other", range(1500), engine)
        shutil.copy(next((tmp_path / "other").glob(f"derived-*.{FILES[engine]}")), file)
    else:
        file.write_bytes({"empty": b"", "truncated": content[:-999], "another file": b"\7" * len(content)}[damage])
    exact = Opened(stores["exact"])
    with caplog.at_level(logging.WARNING):
        opened = Opened(path)
    assert opened.dense.engine == "exact"
    assert str(file) in caplog.text
    assert "nearfar doctor" in caplog.text
    for query in QUERIES:
        (numbers, cosines), (expected, scores) = opened.search(query, 10), exact.search(query, 10)
        assert numbers.tolist() == expected.tolist()
        assert cosines.tolist() == scores.tolist()
    opened.close()
    exact.close()
    report = index(path, HERE)
    assert report.derived == [FILES[engine]]
    assert report.unchanged == len(HERE)
    opened = Opened(path)
    assert opened.dense.engine == engine
    opened.close()


@pytest.mark.parametrize("engine", ["scan", "hnsw"])
def test_bits_that_flipped_in_a_file_change_no_score_and_bring_back_nothing(stores, tmp_path, engine):
    path = tmp_path / "i"
    shutil.copytree(stores[engine], path)
    (file,) = path.glob(f"derived-*.{FILES[engine]}")
    whole, rng = file.read_bytes(), np.random.default_rng(0)
    exact = Opened(stores["exact"])
    truth = [dict(zip(*(part.tolist() for part in exact.search(query, 10**6)), strict=True)) for query in QUERIES]
    exact.close()
    usable = 0
    for _ in range(15):
        content = bytearray(whole)
        for at in rng.integers(0, len(content), 3):
            content[at] ^= 1 << rng.integers(8)
        file.write_bytes(content)
        opened = Opened(path)
        usable += opened.dense.engine == engine
        for query, scores in zip(QUERIES[:5], truth, strict=False):
            for allowed in (None, HERE[HERE > 700]):
                numbers, cosines = opened.search(query, 10, allowed)
                assert [scores[number] for number in numbers.tolist()] == cosines.tolist()
                assert len(numbers) == 10
                assert allowed is None or np.isin(numbers, allowed).all()
        opened.close()
    assert usable > 0


@pytest.mark.parametrize("engine", ["scan", "hnsw"])
def test_alike_vectors_are_found_as_many_as_asked_for(bundle, tmp_path, engine):
    """Hundreds of the same vector: the links of a graph lead from one to the other, so that it may not find all of them."""

    class Alike(Given):
        def embed(self, items, side="document"):
            return VECTORS[[int(item.split()[-1]) % 3 for item in items]]

    with opened_writer(tmp_path / "i", bundle, DIM) as writer:
        writer.set_engine(engine)
        build_index(writer, Alike(), documents(*range(1500)), threads=1)
    opened = Opened(tmp_path / "i")
    assert opened.dense.engine == engine
    for kind in range(3):
        numbers, cosines = opened.search(VECTORS[kind], 50)
        assert len(set(numbers.tolist())) == 50
        assert numbers[0] % 3 == kind
        if engine == "scan":
            assert (numbers % 3 == kind).all()
            assert len(set(cosines.tolist())) == 1
    opened.close()


@pytest.mark.parametrize("engine", ENGINES)
def test_an_open_search_follows_what_is_written(index, tmp_path, engine):
    path = tmp_path / "i"
    with pytest.MonkeyPatch.context() as patch:
        if engine == "exact":
            patch.setattr(derive, "EXACT_UP_TO", 10**6)
        index(path, range(1200), "hnsw" if engine == "hnsw" else "scan")
        opened = Opened(path)
        for wanted in (
            range(1300),
            range(100, 1300),
            [*range(100, 1250), *range(1400, 1420)],
            range(2000, 3100),
            range(40),
            range(1100),
        ):
            index(path, wanted)
            opened.refresh()
            assert opened.dense.total == len(wanted)
            numbers, _ = opened.search(QUERIES[0], 10**6)
            assert np.sort(numbers).tolist() == sorted(wanted)
            among = np.array(wanted)
            found = np.array([opened.search(query, 10)[0] for query in QUERIES])
            assert np.isin(found, among).all()
            assert recall(found, nearest(among, 10)) >= 0.95
        assert opened.dense.engine == engine
        opened.close()


@pytest.mark.parametrize("engine", ["scan", "hnsw"])
def test_a_file_that_is_replaced_and_deleted_under_an_open_search(stores, index, tmp_path, engine, caplog):
    """Inside a snapshot the old state goes on to answer; the next snapshot has the new one."""
    path = tmp_path / "i"
    shutil.copytree(stores[engine], path)
    opened = Opened(path)
    (before,) = path.glob(f"derived-*.{FILES[engine]}")
    with caplog.at_level(logging.WARNING):
        with opened.reader.snapshot():
            expected = [rows.tolist() for rows, _ in (opened.dense.search(query, 10) for query in QUERIES)]
            index(path, range(1000, COUNT + NEWER), engine)
            assert not before.exists()
            assert [rows.tolist() for rows, _ in (opened.dense.search(query, 10) for query in QUERIES)] == expected
        opened.refresh()
    assert opened.dense.engine == engine
    found = np.array([opened.search(query, 10)[0] for query in QUERIES])
    assert (found >= 1000).all()
    assert caplog.text == ""
    opened.close()


def test_searches_never_see_two_states_while_one_writes(bundle, index, tmp_path):
    """Each state holds even or odd numbers only, and files come and go with them."""
    path = tmp_path / "i"
    index(path, range(0, 2400, 2))
    problems, stop, seen = [], threading.Event(), set()

    def search(seed):
        with SearchIndex.open(path) as opened:
            turn = seed
            while not stop.is_set() and not problems:
                turn += 1
                hits = opened.search(
                    "number", 5 if turn % 2 else 3000, "dense" if turn % 3 else "hybrid", distinct="none"
                )
                parities = {hit.metadata["number"] % 2 for hit in hits}
                seen.update(parities)
                if len(parities) != 1 or (turn % 2 == 0 and len(hits) not in {1200, 400}):
                    problems.append((turn, parities, len(hits)))

    def guarded(seed):
        try:
            search(seed)
        except BaseException as error:
            problems.append(error)
            raise

    threads = [threading.Thread(target=guarded, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    try:
        for turn in range(1, 7):
            # All of a state in one transaction: its documents in one batch, and no other document to be removed later.
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("nearfar.edge.prepared.BATCH", 10**6)
                exchange(path, bundle, turn)
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
    assert problems == []
    assert seen == {0, 1}


def exchange(path, bundle, turn):
    """Replace all documents in one transaction, and then renew the derived files."""
    numbers = range(turn % 2, 2400 if turn % 3 else 800, 2)
    vectors = Given().embed([f"number {number}" for number in numbers])
    with opened_writer(path, bundle, DIM) as writer:
        old = writer.known([f"d{number}" for number in range(2400)])
        new = [
            NewDocument(cut(document, Cutting()), bytes(16), vectors[place : place + 1])
            for place, document in enumerate(documents(*numbers))
        ]
        writer.write(new, replaced=[known.doc for known in old.values()])
        derive.renew_derived(writer, threads=1)


def test_a_row_without_a_vector_is_left_out(stores, tmp_path):
    path = tmp_path / "i"
    shutil.copytree(stores["scan"], path)
    with sqlite3.connect(path / "store.sqlite") as connection:
        connection.execute("DELETE FROM vectors WHERE row = 12")
        connection.execute("UPDATE meta SET value = value + 1 WHERE key = 'generation'")
    connection.close()
    opened = Opened(path)
    with opened.reader.snapshot():
        rows, _ = opened.dense.search(VECTORS[11], 10)
    assert 12 not in rows
    assert len(rows) == 10
    opened.close()
