"""The scan over signs: finds nearly what an exact search finds, among what is allowed, and never trusts its file."""

import io
import struct

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from made_vectors import mixture, recall

from nearfar.errors import StoreError
from nearfar.index import exact_search
from nearfar.index.signs import SignIndex, signs_of, write_signs

ROWS, DIM = 8000, 192
VECTORS, QUERIES = mixture(ROWS, 0, dim=DIM), mixture(100, 1, dim=DIM)
MEAN = VECTORS.mean(axis=0)
IDS = np.concatenate([np.arange(5000), np.arange(6000, 9000)]) + 7
"""With a gap."""
CONSIDERED, RESCORED = 400, 100


def written(rows=IDS, vectors=VECTORS, mean=MEAN, block=3000):
    file = io.BytesIO()
    write_signs(file, mean, rows, (vectors[start : start + block] for start in range(0, len(vectors), block)))
    return file.getvalue()


def read(content):
    return SignIndex.read(np.frombuffer(bytes(content), dtype=np.uint8), "x.signs")


@pytest.fixture(scope="module")
def signs():
    return read(written())


def candidates(signs, **options):
    return [signs.search(query, RESCORED, considered=CONSIDERED, **options) for query in QUERIES]


def test_a_hundred_candidates_hold_the_ten_nearest(signs):
    _, nearest = exact_search(QUERIES, VECTORS, 10)
    found = np.array(candidates(signs))
    assert found.shape == (len(QUERIES), RESCORED)
    assert recall(found, IDS[nearest]) >= 0.98


def test_a_query_s_components_put_the_candidates_in_a_better_order_than_its_bits(signs):
    _, nearest = exact_search(QUERIES, VECTORS, 10)
    by_components = np.array([signs.search(query, 30, considered=CONSIDERED) for query in QUERIES])
    by_bits = np.array([signs.search(query, 30, considered=30) for query in QUERIES])
    assert recall(by_components, IDS[nearest]) > recall(by_bits, IDS[nearest])


def test_every_vector_finds_itself_first(signs):
    for place in range(0, ROWS, 500):
        assert signs.search(VECTORS[place], 1, considered=CONSIDERED).tolist() == [IDS[place]]


def test_only_what_is_allowed_is_found_and_as_much_as_there_is(signs):
    rng = np.random.default_rng(5)
    for count in (1, 50, 300, 5000):
        allowed = np.sort(rng.choice(IDS, count, replace=False))
        strangers = np.array([0, 6, 5500, 10**9])
        asked = np.union1d(allowed, strangers)
        _, nearest = exact_search(QUERIES, VECTORS[np.searchsorted(IDS, allowed)], min(10, count))
        found = candidates(signs, allowed=asked)
        assert all(np.isin(rows, allowed).all() for rows in found)
        assert {len(rows) for rows in found} == {min(count, RESCORED)}
        assert recall(np.array(found), allowed[nearest]) >= 0.98
    assert signs.search(QUERIES[0], 5, considered=9, allowed=np.array([0, 5500])).tolist() == []
    assert signs.search(QUERIES[0], 5, considered=9, allowed=np.empty(0, dtype=np.int64)).tolist() == []


@pytest.mark.parametrize("of", ["all", "allowed"])
def test_what_is_left_out_is_not_found_and_the_rest_is(signs, of):
    first = candidates(signs)
    without = np.unique(np.concatenate([[3, 5500, 10**9], *(rows[:3] for rows in first), IDS[::10]]))
    rest = np.setdiff1d(IDS, without)
    options = {"allowed": IDS} if of == "allowed" else {}
    found = candidates(signs, without=without, **options)
    assert all(not np.isin(rows, without).any() for rows in found)
    _, nearest = exact_search(QUERIES, VECTORS[np.searchsorted(IDS, rest)], 10)
    assert recall(np.array(found), rest[nearest]) >= 0.98


def test_nothing_is_found_twice_or_beyond_what_there_is(signs):
    everything = signs.search(QUERIES[0], 10**6, considered=1)
    assert np.sort(everything).tolist() == IDS.tolist()
    kept = IDS[:-3]
    found = signs.search(QUERIES[0], 10**6, considered=1, without=IDS[-3:])
    assert np.sort(found).tolist() == kept.tolist()
    assert signs.search(QUERIES[0], 5, considered=9, without=IDS).tolist() == []


def test_two_threads_find_the_same(signs):
    for one, two in zip(candidates(signs), candidates(signs, threads=2), strict=True):
        assert one.tolist() == two.tolist()


def test_a_file_is_the_same_whatever_blocks_it_was_written_from_and_opens_mapped(tmp_path):
    assert written(block=17) == written()
    path = tmp_path / "a.signs"
    path.write_bytes(written())
    opened, in_memory = SignIndex.open(path), SignIndex.of(MEAN, IDS, VECTORS)
    assert (len(opened), opened.dim) == (len(in_memory), in_memory.dim) == (ROWS, DIM)
    for one, two in zip(candidates(opened), candidates(in_memory), strict=True):
        assert one.tolist() == two.tolist()


@pytest.mark.parametrize("dim", [1, 7, 8, 9, 63, 65, 100])
def test_any_number_of_components(dim):
    vectors = np.random.default_rng(dim).standard_normal((40, dim)).astype(np.float32)
    signs = read(written(np.arange(40), vectors, vectors.mean(axis=0)))
    assert signs.dim == dim
    assert signs_of(vectors, signs.mean).shape == (40, (dim + 7) // 8)
    assert np.sort(signs.search(vectors[3], 40, considered=40)).tolist() == list(range(40))
    assert 3 in signs.search(vectors[3], 20, considered=40)


def test_as_many_vectors_as_ids():
    with pytest.raises(ValueError, match="8000 ids were given, but 7990 vectors"):
        written(vectors=VECTORS[:-10])


@pytest.mark.parametrize("keep", [0, 3, 31, 32, 64, 200, 300, 5000, -64, -1])
def test_a_torn_file_is_refused(tmp_path, keep):
    path = tmp_path / "a.signs"
    path.write_bytes(written()[:keep])
    with pytest.raises(StoreError, match=r"a\.signs: "):
        SignIndex.open(path)


def test_what_is_missing_longer_or_another_file_is_refused(tmp_path):
    with pytest.raises(StoreError, match=r"none\.signs: cannot read"):
        SignIndex.open(tmp_path / "none.signs")
    for content in (written() + b"\0", b"SQLite format 3\0" * 100, b"\xff" * 5000, bytes(5000)):
        with pytest.raises(StoreError, match="damaged"):
            read(content)


SMALL_IDS = np.array([1, 2, 3, 7, 8, 20, 21, 22, 23, 40])
SMALL = written(SMALL_IDS, VECTORS[:10, :48], MEAN[:48])
PLACES_AT, ROWS_AT, BITS_AT = 256, 320, 384
"""Header of 32 bytes, 48 components of 4, 4 stretches of 8; each from a multiple of 64 on."""


def altered(at, kind, *values):
    content = bytearray(SMALL)
    struct.pack_into(kind, content, at, *values)
    return content


def test_where_the_parts_of_a_file_lie():
    # What the next test alters is what it says.
    assert struct.unpack_from("<4q", SMALL, PLACES_AT) == (0, 3, 5, 9)
    assert struct.unpack_from("<4q", SMALL, ROWS_AT) == (1, 7, 20, 40)
    assert len(SMALL) == BITS_AT + 10 * 6


@pytest.mark.parametrize(
    "content",
    [
        altered(8, "<Q", 0),
        altered(8, "<Q", 11),
        altered(8, "<Q", 2**63),
        altered(16, "<Q", 0),
        altered(16, "<Q", 2**60),
        altered(24, "<Q", 0),
        altered(24, "<Q", 11),
        altered(64, "<f", float("nan")),
        altered(64, "<f", float("inf")),
        altered(PLACES_AT, "<q", 1),
        altered(PLACES_AT + 8, "<q", -1),
        altered(PLACES_AT + 8, "<q", 5),
        altered(PLACES_AT + 24, "<q", 10),
        altered(PLACES_AT + 8, "<3q", 2**62, -(2**62), 2**61),
        altered(ROWS_AT, "<q", -1),
        altered(ROWS_AT, "<q", 5),
        altered(ROWS_AT + 8, "<q", 3),
        altered(ROWS_AT + 24, "<q", 0),
        altered(ROWS_AT, "<2q", 2**63 - 2, 5),
        altered(ROWS_AT, "<4q", 2**63 - 4, 4, 6, 10),
    ],
)
def test_a_table_that_leads_outside_is_refused(content):
    with pytest.raises(StoreError, match="damaged"):
        read(content)


@given(st.lists(st.tuples(st.integers(0, len(SMALL) - 1), st.integers(0, 255)), min_size=1, max_size=6))
@settings(max_examples=400, deadline=None)
@example([(ROWS_AT + 31, 127)])
def test_an_altered_file_is_refused_or_searched_without_harm(changes):
    content = bytearray(SMALL)
    for at, value in changes:
        content[at] = value
    try:
        signs = read(content)
    except StoreError:
        return
    for options in (
        {},
        {"allowed": SMALL_IDS[2:]},
        {"without": SMALL_IDS[:4]},
        {"allowed": SMALL_IDS, "without": SMALL_IDS[:4]},
    ):
        for k in (1, 3, 10):
            found = signs.search(QUERIES[0, : signs.dim], k, considered=4, **options)
            assert len(found) == len(set(found.tolist())) <= k
            assert (found >= 0).all()
            assert np.isin(found, options.get("allowed", found)).all()
            assert not np.isin(found, options.get("without", [])).any()
