import errno
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made_vectors import mixture, recall

from nearfar.errors import StoreError
from nearfar.index import HnswIndex, exact_search
from nearfar.index.faiss_threads import faiss

ROWS, DIM = 8000, 48
VECTORS, QUERIES = mixture(ROWS, 0), mixture(200, 1)
IDS = np.arange(ROWS, dtype=np.int64) * 3 + 7


def blocks(begin=0, end=ROWS, size=3000):
    return ((IDS[at : min(end, at + size)], VECTORS[at : min(end, at + size)]) for at in range(begin, end, size))


def built():
    return HnswIndex.build(blocks(), sample=VECTORS[::4])


def saved(graph):
    file = io.BytesIO()
    graph.save(file)
    return file.getvalue()


def as_array(content):
    return np.frombuffer(bytes(content), dtype=np.uint8)


@pytest.fixture(scope="module")
def graph():
    return built()


@pytest.fixture
def file(graph, tmp_path):
    path = tmp_path / "a.graph"
    path.write_bytes(saved(graph))
    return path


def test_recall_at_10_is_at_least_95_percent(graph):
    _, nearest = exact_search(QUERIES, VECTORS, 10)
    _, found = graph.search(QUERIES, 10)
    assert recall(found, IDS[nearest]) >= 0.95


def test_scores_are_inner_products_best_first(graph):
    scores, found = graph.search(QUERIES, 10)
    assert (np.diff(scores, axis=1) <= 0).all()
    true = np.einsum("qd,qkd->qk", QUERIES, VECTORS[(found - 7) // 3])
    assert np.abs(scores - true).max() < 0.02


def test_vectors_left_out_are_not_found_and_the_others_still_are(graph):
    _, first = graph.search(QUERIES, 5)
    without = np.unique(first)
    _, found = graph.search(QUERIES, 10, without=without)
    assert not np.isin(found, without).any()
    rest = np.setdiff1d(IDS, without)
    _, nearest = exact_search(QUERIES, VECTORS[(rest - 7) // 3], 10)
    assert recall(found, rest[nearest]) >= 0.9


@pytest.mark.parametrize("highest", [400, 2000, ROWS])
def test_only_what_is_allowed_is_found_whatever_its_ids(graph, highest):
    """Also where all that is allowed has small ids: what the graph holds beyond them is not allowed."""
    allowed = np.sort(np.random.default_rng(highest).choice(IDS[:highest], 300, replace=False))
    _, nearest = exact_search(QUERIES, VECTORS[(allowed - 7) // 3], 10)
    _, found = graph.search(QUERIES, 10, ef=3000, allowed=np.union1d(allowed, [0, 8, 10**6]))
    assert np.isin(found[found >= 0], allowed).all()
    assert recall(found, allowed[nearest]) >= 0.95
    _, found = graph.search(QUERIES, 10, ef=3000, allowed=allowed, without=allowed[::2])
    assert np.isin(found[found >= 0], allowed[1::2]).all()
    assert (found >= 0).any()


def test_where_nothing_is_allowed_nothing_is_found(graph):
    nothing = np.empty(0, dtype=np.int64)
    for options in ({"allowed": nothing}, {"allowed": IDS[:5], "without": IDS[:5]}, {"allowed": np.array([8])}):
        assert (graph.search(QUERIES[:3], 5, **options)[1] == -1).all()


def test_the_same_vectors_give_the_same_graph_on_one_thread(graph):
    assert saved(graph) == saved(built())


@pytest.mark.parametrize("way", ["mapped", "writable", "read"])
def test_saved_and_opened_it_answers_the_same(graph, file, way):
    opened = (
        HnswIndex.read(np.fromfile(file, dtype=np.uint8), "a.graph")
        if way == "read"
        else HnswIndex.open(file, writable=way == "writable")
    )
    assert len(opened) == ROWS
    assert opened.dim == DIM
    for before, after in zip(graph.search(QUERIES, 10), opened.search(QUERIES, 10), strict=True):
        np.testing.assert_array_equal(before, after)


def test_vectors_added_to_an_opened_graph_are_found_and_the_old_ones_too(tmp_path):
    path = tmp_path / "a.graph"
    half = ROWS // 2
    path.write_bytes(saved(HnswIndex.build(blocks(end=half), sample=VECTORS[::4])))
    opened = HnswIndex.open(path, writable=True)
    opened.add(blocks(half))
    assert len(opened) == ROWS
    _, nearest = exact_search(QUERIES, VECTORS, 10)
    grown = HnswIndex.read(as_array(saved(opened)), "grown")
    assert recall(grown.search(QUERIES, 10)[1], IDS[nearest]) >= 0.95
    assert len(HnswIndex.open(path)) == half


def test_fewer_than_k_are_padded_with_minus_one():
    small = HnswIndex.build([(IDS[:3], VECTORS[:3])], sample=VECTORS[:3])
    _, found = small.search(QUERIES[:1], 5)
    assert sorted(found[0].tolist()) == [-1, -1, 7, 10, 13]


@pytest.mark.parametrize("damage", ["truncated", "head only", "empty", "missing", "folder", "other", "longer header"])
def test_what_is_no_graph_is_refused(file, damage, capfd):
    content = file.read_bytes()
    file.unlink()
    if damage == "folder":
        file.mkdir()
    elif damage != "missing":
        wrong = {
            "truncated": content[:-100],
            "head only": content[:60],
            "empty": b"",
            "other": b"SQLite format 3\0" * 99,
            "longer header": content[:8] + b"\xff" * 8 + content[16:],
        }[damage]
        file.write_bytes(wrong)
        with pytest.raises(StoreError, match=r"a\.graph"):
            HnswIndex.read(as_array(wrong), "a.graph")
    for writable in (False, True):
        with pytest.raises(StoreError, match=r"a\.graph"):
            HnswIndex.open(file, writable=writable)
    assert capfd.readouterr() == ("", ""), "faiss talks to the terminal"


def test_a_graph_of_another_kind_is_refused():
    library = faiss()
    others = [
        library.IndexFlatIP(DIM),
        library.IndexIDMap(library.IndexFlatIP(DIM)),
        library.IndexIDMap(library.IndexHNSWFlat(DIM, 8, library.METRIC_INNER_PRODUCT)),
        library.IndexIDMap(library.IndexHNSWSQ(DIM, library.ScalarQuantizer.QT_8bit, 8, library.METRIC_L2)),
    ]
    for other in others:
        with pytest.raises(StoreError, match=r"a\.graph"):
            HnswIndex.read(library.serialize_index(other), "a.graph")


def viewed(vector):
    return faiss().rev_swig_ptr(vector.data(), vector.size())


def altered(change):
    """The content of a sound graph of 400 vectors after `change(faiss graph, its hnsw part)`."""
    graph = HnswIndex.build([(IDS[:400], VECTORS[:400])], sample=VECTORS[:400])
    inner = faiss().downcast_index(graph._graph.index)
    change(inner, inner.hnsw)
    return saved(graph)


def upper_links_to_the_last_vector(_, hnsw):
    """It is on the lowest layer only, so that what it links to above would be read behind the end of all links."""
    levels, offsets, links = viewed(hnsw.levels), viewed(hnsw.offsets), viewed(hnsw.neighbors)
    upper = viewed(hnsw.cum_nneighbor_per_level)[1:3]
    lowest = int(np.flatnonzero(levels == 1)[-1])
    for place in np.flatnonzero(levels > 1).tolist():
        links[int(offsets[place]) + int(upper[0]) : int(offsets[place]) + int(upper[1])] = lowest


CHANGES = {
    "a link leads outside": lambda _, hnsw: viewed(hnsw.neighbors).__setitem__(50, 400),
    "a link is negative": lambda _, hnsw: viewed(hnsw.neighbors).__setitem__(50, -2),
    "links above lead below": upper_links_to_the_last_vector,
    "a vector is on no layer": lambda _, hnsw: viewed(hnsw.levels).__setitem__(7, 0),
    "a vector is on too many layers": lambda _, hnsw: viewed(hnsw.levels).__setitem__(7, 90),
    "links begin elsewhere": lambda _, hnsw: viewed(hnsw.offsets).__setitem__(7, 10**9),
    "a layer has too many links": lambda _, hnsw: viewed(hnsw.cum_nneighbor_per_level).__setitem__(1, 10**6),
    "a layer has links before its beginning": lambda _, hnsw: viewed(hnsw.cum_nneighbor_per_level).__setitem__(0, -99),
    "the way in is outside": lambda _, hnsw: setattr(hnsw, "entry_point", 400),
    "there is no way in": lambda _, hnsw: setattr(hnsw, "entry_point", -1),
    "the way in is too high": lambda _, hnsw: setattr(hnsw, "max_level", hnsw.max_level + 3),
    "distances are others": lambda inner, _: setattr(inner, "metric_type", faiss().METRIC_L1),
    "it is not trained": lambda inner, _: setattr(inner, "is_trained", False),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_graph_that_faiss_would_follow_out_of_it_is_refused(change, tmp_path):
    content = altered(CHANGES[change])
    assert content != altered(lambda *_: None)
    path = tmp_path / "a.graph"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"a\.graph"):
        HnswIndex.open(path)
    with pytest.raises(StoreError, match=r"a\.graph"):
        HnswIndex.read(as_array(content), "a.graph")


FUZZ = """
import sys
from pathlib import Path
import numpy as np
from nearfar.errors import StoreError
from nearfar.index import HnswIndex
path = Path(sys.argv[1])
whole = path.read_bytes()
rng = np.random.default_rng(int(sys.argv[2]))
queries = rng.standard_normal((5, 48)).astype(np.float32)
refused = 0
for turn in range(400):
    content = bytearray(whole)
    for _ in range(rng.integers(1, 4)):
        # The tables are at both ends; in between are the codes.
        at = rng.choice([rng.integers(400), -1 - rng.integers(6000), rng.integers(len(content))])
        content[at] = rng.choice([0, 1, 127, 128, 255, rng.integers(256)])
    path.write_bytes(content)
    try:
        if turn % 3 == 0:
            graph = HnswIndex.read(np.frombuffer(bytes(content), dtype=np.uint8), "a")
        else:
            graph = HnswIndex.open(path, writable=turn % 3 == 1)
    except StoreError:
        refused += 1
        continue
    graph.search(queries, 10)
    graph.search(queries, 10, allowed=np.arange(50, 500), without=np.arange(60, 70))
    if turn % 3 == 1:
        graph.add([(np.arange(10**4, 10**4 + 5), queries)])
    del graph
print(refused)
"""


@pytest.mark.parametrize("seed", [1, 2])
def test_an_altered_graph_is_refused_or_searched_without_harm(tmp_path, seed):
    """In a process of its own: harm would be its end."""
    path = tmp_path / "a.graph"
    path.write_bytes(altered(lambda *_: None))
    command = [sys.executable, "-c", FUZZ, str(path), str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert 50 < int(done.stdout) < 400


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a file that is always full")
@pytest.mark.parametrize("size", [300, ROWS])
def test_no_room_is_an_oserror_whether_faiss_writes_at_once_or_later(graph, size, capfd):
    some = graph if size == ROWS else HnswIndex.build(blocks(end=size), sample=VECTORS[:size])
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(OSError, match="No space") as caught:
        some.save(full)
    assert caught.value.errno == errno.ENOSPC
    assert capfd.readouterr() == ("", "")


def test_whatever_stops_the_writing_is_raised_and_does_not_end_the_process(graph):
    class Closing(io.BytesIO):
        def write(self, data):
            raise KeyError("shelf")

    with pytest.raises(KeyError, match="shelf"):
        graph.save(Closing())
