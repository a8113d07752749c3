"""Which links share a batch: every row once a pass, no row twice in a batch, the same for the same seed and step."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_links import made_corpus, pairs_corpus

from nearfar.errors import DataError
from nearfar.learn.data.batches import Share
from nearfar.learn.data.joint import Stream
from nearfar.learn.data.joint_batches import JointRows, Links, Members, shared_out
from nearfar.learn.data.split import VALIDATION


def share(step: int, rank: int = 0, world: int = 1) -> Share:
    return Share(step, np.zeros(0, np.int64), rank, world)


def equal(one: Links, other: Links) -> bool:
    return all(bool((a == b).all()) for a, b in zip(one[1:5], other[1:5], strict=True))


@given(
    st.integers(2, 3000),
    st.lists(st.tuples(st.floats(0.01, 50), st.sampled_from([0, 2, 3, 7, 100, 10_000])), min_size=1, max_size=7),
)
def test_a_batch_is_shared_out_by_weight_and_room(total: int, streams: list[tuple[float, int]]) -> None:
    weights, room = (np.array(part) for part in zip(*streams, strict=True))
    weights, used = weights * (room > 0), int((room > 0).sum())
    if not used or total < 2 * used:
        return
    shares = shared_out(total, weights, room)
    assert shares.sum() == min(total, room.sum())
    assert (shares <= room).all()
    assert (shares[room > 0] >= 2).all()
    free = (shares > 2) & (shares < room)
    if free.sum() > 1:  # among those that neither least nor room binds, as weights have it
        expected = weights[free] / weights[free].sum() * shares[free].sum()
        assert np.abs(shares[free] - expected).max() <= len(streams) + 2


def test_shares_are_those_of_the_weights_where_nothing_binds() -> None:
    weights, room = np.array([1.0, 2.0, 0.5]), np.array([1000, 1000, 1000])
    assert shared_out(70, weights, room).tolist() == [20, 40, 10]
    assert shared_out(100, np.array([1.0, 1.0]), np.array([30, 1000])).tolist() == [30, 70]


def test_links_are_of_their_rows_and_no_row_is_twice_in_a_batch_of_a_stream() -> None:
    corpus = pairs_corpus(41)
    rows = JointRows.of(corpus, batch_size=20, seed=3)
    assert rows.sizes == [8, 8, 4]
    assert len(rows) == 41 + 21 + 41
    for step in range(30):
        links = rows[share(step)]
        for stream, row, left, right in zip(*(part.tolist() for part in links[1:5]), strict=True):
            names = corpus.counts.streams[stream]
            for tower, item in ((names.left, left), (names.right, right)):
                sides = corpus.sides[tower]
                assert item in sides.items[sides.starts[row] : sides.starts[row + 1]]
            assert names.left != names.right or left != right
        for stream in range(3):
            own = links.rows[links.streams == stream]
            assert len(own.unique()) == len(own) == rows.sizes[stream]


def test_every_row_comes_once_in_a_pass_and_each_caption_in_time() -> None:
    corpus = pairs_corpus(40)
    rows = JointRows.of(corpus, batch_size=20, seed=0)
    passes = [np.concatenate([rows[share(s)].rows[:8].numpy() for s in range(5 * e, 5 * e + 5)]) for e in range(12)]
    assert all(sorted(some) == list(range(40)) for some in passes)
    assert len({tuple(some) for some in passes}) == 12, "another order each time"
    texts = np.concatenate([rows[share(s)].left[:8].numpy() for s in range(60)])
    assert len(np.unique(texts)) == 80


def test_a_row_can_have_several_links_with_other_items_each() -> None:
    captions = {row: [3 * row, 3 * row + 1, 3 * row + 2] for row in range(20)}
    corpus = made_corpus(
        [{"text": items, "image": [row]} for row, items in captions.items()], [Stream(0, "text", "image", 1.0)]
    )
    rows = JointRows.of(corpus, batch_size=15, seed=0, per_row=3)
    assert len(rows) == 3 * 20, "a pass shows each row three times"
    seen = []
    for step in range(40):
        links = rows[share(step)]
        own, counts = links.rows.unique(return_counts=True)
        assert counts.tolist() == [3] * 5
        assert sorted(links.left.tolist()) == sorted(item for row in own.tolist() for item in captions[row])
        seen += own.tolist()
    assert np.bincount(seen).tolist() == [10] * 20
    more = JointRows.of(corpus, batch_size=50, seed=0, per_row=2)
    assert more.sizes == [40], "all rows, twice"
    odd = JointRows.of(corpus, batch_size=8, seed=0, per_row=3)[share(0)]
    assert sorted(odd.rows.unique(return_counts=True)[1].tolist()) == [4, 4]


def test_a_step_is_a_function_of_seed_and_step_on_any_rank() -> None:
    corpus = pairs_corpus(40)
    rows, again, other = (JointRows.of(corpus, batch_size=20, seed=seed) for seed in (1, 1, 2))
    for step in (7, 3, 12, 0, 7):
        whole = rows[share(step)]
        assert equal(whole, again[share(step)])
        assert not equal(whole, other[share(step)])
        parts = [rows[share(step, rank, 3)] for rank in range(3)]
        assert all(equal(whole, part) for part in parts)
        own = [np.stack(part.own) for part in parts]
        assert sorted(np.concatenate(own, axis=1).T.tolist()) == sorted(np.stack(whole.own).T.tolist())
        assert all((np.bincount(some[0]) >= 1).all() for some in own), "each rank has its share of each stream"


def test_only_training_rows_with_both_sides_of_the_file_are_drawn() -> None:
    rows = [{"text": [i], "image": [i]} for i in range(12)] + [{"text": [20]}, {"image": [21]}, {"audio": [0]}]
    files, side = [0] * 6 + [1] * 9, [0] * 5 + [VALIDATION] + [0] * 4 + [3, 0] + [0] * 3
    corpus = made_corpus(
        rows, [Stream(0, "text", "image", 1.0), Stream(1, "text", "image", 3.0)], files=files, side=side
    )
    drawn = JointRows.of(corpus, batch_size=8, seed=0)
    assert [some.rows.tolist() for some in drawn.streams] == [[0, 1, 2, 3, 4], [6, 7, 8, 9, 11]]
    assert drawn.sizes == [3, 5]


def test_a_stream_with_less_than_two_rows_is_left_out_and_none_at_all_is_an_error() -> None:
    rows = [{"text": [i], "image": [i]} for i in range(6)]
    streams = [Stream(0, "text", "image", 1.0), Stream(0, "text", "audio", 1.0), Stream(0, "text", "text", 1.0)]
    drawn = JointRows.of(made_corpus([*rows, {"text": [9, 9], "audio": [0]}], streams), batch_size=4, seed=0)
    assert drawn.sizes == [4, 0, 0]
    assert len(drawn) == 6
    with pytest.raises(DataError, match=r"no two training rows .* data\.split"):
        JointRows.of(made_corpus(rows[:1], streams), batch_size=4, seed=0)
    with pytest.raises(DataError, match=r"train\.batch_size is 5, but there are 3 kinds of pairs, .* set it to 6"):
        JointRows.of(pairs_corpus(), batch_size=5, seed=0)


@given(st.lists(st.lists(st.integers(0, 9), max_size=4), min_size=1, max_size=6))
def test_members_of_rows_are_their_different_items(listed: list[list[int]]) -> None:
    corpus = made_corpus([{"text": items} for items in listed], [])
    chosen = np.arange(0, len(listed), 2)
    members = Members.of(corpus.sides["text"], chosen)
    found = [members.items[a:b].tolist() for a, b in zip(members.starts, members.starts[1:], strict=False)]
    assert found == [sorted(set(listed[row])) for row in chosen]
