import resource
import subprocess
import sys

import numpy as np
import pytest

from nearfar.errors import StoreError
from nearfar.index import HnswIndex, exact_search

ROWS, DIM = 8000, 48


def mixture(count, seed):
    """Unit vectors that lie together in groups, as embeddings of text do."""
    shared, rng = np.random.default_rng(99), np.random.default_rng(seed)
    centres, basis = shared.standard_normal((50, DIM)), shared.standard_normal((24, DIM))
    vectors = centres[rng.integers(0, 50, count)] + 0.5 * rng.standard_normal((count, 24)) @ basis
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


VECTORS, QUERIES = mixture(ROWS, 0), mixture(200, 1)
IDS = np.arange(ROWS, dtype=np.int64) * 3 + 7


def built():
    blocks = ((IDS[start : start + 3000], VECTORS[start : start + 3000]) for start in range(0, ROWS, 3000))
    return HnswIndex.build(blocks, sample=VECTORS[::4])


@pytest.fixture(scope="module")
def graph():
    return built()


def recall(found, expected):
    return np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found.tolist(), expected.tolist(), strict=True)])


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


def test_the_same_vectors_give_the_same_graph_on_one_thread(graph, tmp_path):
    assert graph.save(tmp_path / "a.hnsw") == built().save(tmp_path / "b.hnsw")


def test_saved_and_opened_it_answers_the_same(graph, tmp_path):
    digest = graph.save(tmp_path / "a.hnsw")
    opened = HnswIndex.open(tmp_path / "a.hnsw", sha256=digest)
    assert len(opened) == ROWS
    assert opened.dim == DIM
    for before, after in zip(graph.search(QUERIES, 10), opened.search(QUERIES, 10), strict=True):
        np.testing.assert_array_equal(before, after)
    assert [path.name for path in tmp_path.iterdir()] == ["a.hnsw"]


def test_fewer_than_k_are_padded_with_minus_one():
    small = HnswIndex.build([(IDS[:3], VECTORS[:3])], sample=VECTORS[:3])
    _, found = small.search(QUERIES[:1], 5)
    assert sorted(found[0].tolist()) == [-1, -1, 7, 10, 13]


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "missing"])
def test_a_damaged_file_is_refused_before_faiss_sees_it(graph, tmp_path, damage):
    path = tmp_path / "a.hnsw"
    digest = graph.save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes({"truncated": content[:-100], "flipped": content, "empty": b""}[damage])
    with pytest.raises(StoreError, match=r"a\.hnsw"):
        HnswIndex.open(path, sha256=digest)


FULL_DISK = """
import resource, sys
from pathlib import Path
import numpy as np
from nearfar.index import HnswIndex
vectors = np.random.default_rng(0).standard_normal((2000, 64)).astype(np.float32)
graph = HnswIndex.build([(np.arange(2000), vectors)], sample=vectors)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
try:
    graph.save(Path(sys.argv[1]))
except OSError as error:
    print("OSError", error.errno)
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="needs a limit on file size")
def test_no_room_is_an_oserror_and_leaves_the_old_file(graph, tmp_path):
    path = tmp_path / "a.hnsw"
    path.write_bytes(b"old")
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("OSError")
    assert path.read_bytes() == b"old"
    assert [child.name for child in tmp_path.iterdir()] == ["a.hnsw"]
