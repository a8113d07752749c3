"""Figures of retrieval across modalities, against rankings made by hand and against what chance gives."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearfar.errors import DataError
from nearfar.evaluate.cross_modal import (
    Kept,
    Partners,
    chance_precision,
    chance_recall,
    first_ranks,
    precision_at,
    summarise_ranks,
)
from nearfar.evaluate.mixed_gallery import Scale, mixed_recall, modality_gap, rank_mixed, score_scale


def units(rng: np.random.Generator, *shape: int) -> np.ndarray:
    vectors = rng.normal(size=shape)
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def kept(*keys: list[int]) -> Kept:
    """The keys of each item."""
    pairs = [(place, key) for place, own in enumerate(keys) for key in own]
    places, flat = np.array(pairs, np.int64).reshape(-1, 2).T
    return Kept(places, flat)


def one_to_one(count: int) -> Partners:
    keys = kept(*([number] for number in range(count)))
    return Partners(keys, keys, asked=count, found=count)


def among_themselves(count: int) -> Partners:
    keys = kept(*([number] for number in range(count)))
    return Partners(keys, keys, asked=count, found=count, own=np.arange(count))


def test_partners_share_a_key():
    partners = Partners(kept([0, 7], [1], []), kept([7], [0, 1], [1], [2], [0, 7]), asked=3, found=5)
    assert [partners.of(query).tolist() for query in range(3)] == [[0, 1, 4], [1, 2], []]
    assert partners.counts().tolist() == [3, 2, 0]
    assert (len(partners), partners.gallery) == (3, 5)


@given(st.lists(st.sets(st.integers(0, 6)), max_size=8), st.lists(st.sets(st.integers(0, 6)), max_size=8))
def test_partners_are_those_of_the_definition(queries, gallery):
    partners = Partners(kept(*map(list, queries)), kept(*map(list, gallery)), asked=len(queries), found=len(gallery))
    for query, keys in enumerate(queries):
        assert partners.of(query).tolist() == [place for place, other in enumerate(gallery) if keys & other]


def test_places_out_of_range_are_refused():
    with pytest.raises(ValueError, match="gallery: places must be 0 to 1"):
        Partners(kept([0]), kept([0], [0], [0]), asked=1, found=2)
    with pytest.raises(ValueError, match="keys"):
        Partners(Kept(np.zeros(2, np.int64), np.zeros(1, np.int64)), kept([0]), asked=1, found=1)


def test_ranks_are_those_of_a_sorted_row():
    rng = np.random.default_rng(0)
    queries, gallery = units(rng, 600, 5), units(rng, 40, 5)
    gallery[20] = gallery[10]  # ties
    wanted = [rng.choice(40, size=rng.integers(1, 4), replace=False) for _ in queries]
    partners = Partners(
        kept(*([number] for number in range(600))),
        kept(*([query for query, places in enumerate(wanted) if place in places] for place in range(40))),
        asked=600,
        found=40,
    )
    order = np.argsort(-(queries @ gallery.T), axis=1, kind="stable")
    expected = [min(list(row).index(place) for place in places) + 1 for row, places in zip(order, wanted, strict=True)]
    assert first_ranks(queries, gallery, partners).tolist() == expected


def test_an_item_does_not_find_itself():
    """Two captions a row, among all captions."""
    rng = np.random.default_rng(0)
    texts = np.repeat(units(rng, 10, 8), 2, axis=0)
    keys = kept(*([number // 2] for number in range(20)))
    partners = Partners(keys, keys, asked=20, found=20, own=np.arange(20))
    assert partners.of(4).tolist() == [5]
    assert (first_ranks(texts, texts, partners) == 1).all()
    assert precision_at(texts, texts, partners, 1).tolist() == [1.0] * 20
    assert chance_recall(partners, 1) == pytest.approx(1 / 19)
    assert chance_precision(partners, 10) == pytest.approx(10 / 19)
    own = (texts @ texts.T)[~np.eye(10, dtype=bool).repeat(2, 0).repeat(2, 1)]
    assert score_scale(texts, texts, partners).mean == pytest.approx(own.mean(), abs=1e-6)


def test_vectors_that_are_all_the_same_give_chance_and_no_more():
    same = np.tile(units(np.random.default_rng(0), 1, 4), (100, 1))
    ranks = first_ranks(same, same, one_to_one(100))
    assert sorted(ranks) == list(range(1, 101))
    assert summarise_ranks(ranks).recall_at_10.value == pytest.approx(chance_recall(one_to_one(100), 10))


def test_a_query_without_a_partner_is_refused():
    partners = Partners(kept([0], [5]), kept([0]), asked=2, found=1)
    with pytest.raises(DataError, match="query 1 has no partner"):
        first_ranks(np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32)[:1], partners)
    with pytest.raises(ValueError, match="2 queries"):
        first_ranks(np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32)[:1], partners)


def test_figures_of_ranks():
    found = summarise_ranks(np.array([1, 2, 5, 10, 11, 40]), resamples=200)
    assert found.recall_at_1.value == pytest.approx(1 / 6)
    assert found.recall_at_5.value == pytest.approx(3 / 6)
    assert found.recall_at_10.value == pytest.approx(4 / 6)
    assert found.mrr_at_10.value == pytest.approx((1 + 1 / 2 + 1 / 5 + 1 / 10) / 6)
    assert found.median_rank.value == 7.5
    assert found.recall_at_5.low <= 0.5 <= found.recall_at_5.high
    with pytest.raises(DataError):
        summarise_ranks(np.empty(0, np.int64))


def test_chance_is_what_random_orders_give():
    partners = Partners(
        kept(*([query] for query in range(6))), kept([0, 1], [0], [2], [3, 4], [0], [5]), asked=6, found=6
    )
    exact = [1 - math.comb(6 - count, 2) / math.comb(6, 2) for count in partners.counts()]
    assert chance_recall(partners, 2) == pytest.approx(np.mean(exact))
    assert chance_recall(partners, 100) == pytest.approx(1)
    rng = np.random.default_rng(0)
    drawn = [(first_ranks(units(rng, 6, 50), units(rng, 6, 50), partners) <= 2).mean() for _ in range(600)]
    assert np.mean(drawn) == pytest.approx(chance_recall(partners, 2), abs=0.03)
    precise = [precision_at(units(rng, 6, 50), units(rng, 6, 50), partners, 2).mean() for _ in range(600)]
    assert np.mean(precise) == pytest.approx(chance_precision(partners, 2), abs=0.03)


def test_precision_is_of_the_first_k_or_of_as_many_as_belong():
    gallery = np.eye(4, dtype=np.float32)
    queries = np.array([[3, 2, 1, 0]] * 3, np.float32)
    partners = Partners(kept([0], [1], [2]), kept([0, 2], [1, 2], [2], [2]), asked=3, found=4)
    assert precision_at(queries, gallery, partners, 2).tolist() == [1.0, 1.0, 1.0]
    assert precision_at(queries, gallery, partners, 1).tolist() == [1.0, 0.0, 1.0]


def made_gap(rng: np.random.Generator, count: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Two modalities that know of each other, each pushed to a side of its own."""
    shared, away = rng.normal(size=(count, 16)), np.zeros(16)
    away[0] = 8
    left, right = shared + away, shared + rng.normal(size=(count, 16)) * 0.3 - away
    return tuple((v / np.linalg.norm(v, axis=1, keepdims=True)).astype(np.float32) for v in (left, right))


def test_a_common_scale_lets_partners_of_another_modality_be_found():
    rng = np.random.default_rng(0)
    left, right = made_gap(rng)
    partners, places = one_to_one(200), np.arange(200)
    galleries = {"left": left, "right": right}
    plain = rank_mixed(left, galleries, own=("left", places))
    assert (plain.towers == 0).all()
    assert not (plain.places == places[:, None]).any()
    assert mixed_recall(plain, {1: partners}).mean() == 0
    scales = {"left": score_scale(left, left, among_themselves(200)), "right": score_scale(left, right, partners)}
    scaled = rank_mixed(left, galleries, scales=scales, own=("left", places))
    assert 0.3 < (scaled.towers == 1).mean() < 0.7
    assert mixed_recall(scaled, {1: partners}).mean() > 0.6


def test_mixed_ranking_is_one_sorted_row_of_all():
    rng = np.random.default_rng(1)
    queries, left, right = units(rng, 300, 4), units(rng, 30, 4), units(rng, 20, 4)
    own = rng.integers(-1, 30, 300)
    scales = {"left": Scale(0.1, 0.5), "right": Scale(-0.2, 2.0)}
    found = rank_mixed(queries, {"left": left, "right": right}, scales=scales, own=("left", own), k=7)
    for row in range(300):
        scores = np.concatenate([(queries[row] @ left.T - 0.1) / 0.5, (queries[row] @ right.T + 0.2) / 2.0])
        if own[row] >= 0:
            scores[own[row]] = -np.inf
        best = np.argsort(-scores, kind="stable")[:7]
        assert found.towers[row].tolist() == (best >= 30).tolist()
        assert found.places[row].tolist() == np.where(best >= 30, best - 30, best).tolist()


def test_mixed_ranking_of_fewer_items_than_places():
    found = rank_mixed(np.eye(3, dtype=np.float32), {"left": np.eye(3, dtype=np.float32)}, own=("left", np.arange(3)))
    assert found.places.shape == (3, 2)


def test_scale_is_of_what_does_not_belong_together():
    left, right = made_gap(np.random.default_rng(0))
    cosines = (left @ right.T).astype(np.float64)
    apart = cosines[~np.eye(200, dtype=bool)]
    found = score_scale(left, right, one_to_one(200))
    assert found.mean == pytest.approx(apart.mean())
    assert found.spread == pytest.approx(apart.std(), rel=1e-4)
    one_row = Partners(kept([0]), kept([0]), asked=1, found=1)
    with pytest.raises(DataError, match="belong together"):
        score_scale(left[:1], right[:1], one_row)


def test_gap_is_the_distance_of_the_means():
    left, right = made_gap(np.random.default_rng(0))
    found = modality_gap(left, right)
    assert found.value == pytest.approx(np.linalg.norm(left.mean(0) - right.mean(0)), rel=1e-5)
    assert found.low < found.value < found.high
    assert found.high - found.low < 0.1
    none = modality_gap(left, left, resamples=100)
    assert none.value == none.low == 0
    with pytest.raises(DataError):
        modality_gap(left, right[:0])
