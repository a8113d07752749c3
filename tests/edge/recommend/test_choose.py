"""Choosing from scores: the true best, ties by name, what may not be shown, conditions, diversity."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.edge.tiny_recommender_bundle import GENRES, made_facts, made_vectors

from nearfar.edge.recommend.catalogue import Catalogue
from nearfar.edge.recommend.catalogue_files import fact_line, round_vectors
from nearfar.edge.recommend.choose import best, choose, choose_with_fresh, in_order
from nearfar.edge.where import parse
from nearfar.errors import DataError


def catalogue_of(count: int, *, facts: bool = True, seed: int = 0) -> Catalogue:
    names = [f"{n:05}" for n in np.random.default_rng(seed).permutation(count)]
    codes, scales = round_vectors(made_vectors(count, 8))
    lines = tuple(fact_line(fact) for fact in made_facts(count)) if facts else ()
    return Catalogue(tuple(names), codes, scales, np.zeros(count, dtype=np.float16), None, lines)


LARGE = catalogue_of(5003)


@settings(deadline=None, max_examples=25)
@given(
    st.integers(1, 300),
    st.sampled_from([2, 10, 10**6]),  # how many different scores there are
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.0, 0.3, 0.999, 1.0]),
)
def test_it_is_what_sorting_everything_gives(k, different, seed, hidden_share):
    generator = np.random.default_rng(seed)
    scores = generator.integers(0, different, len(LARGE)).astype(np.float32)
    hidden = np.flatnonzero(generator.random(len(LARGE)) < hidden_share)
    order = np.lexsort((np.array(LARGE.names), -scores))
    expected = order[~np.isin(order, hidden)][:k].tolist()
    assert choose(scores, LARGE, k, hidden=hidden).tolist() == expected


def test_scores_stay_as_they_were():
    scores = np.arange(len(LARGE), dtype=np.float32)
    choose(scores, LARGE, 5, hidden=np.array([1, 2]))
    np.testing.assert_array_equal(scores, np.arange(len(LARGE), dtype=np.float32))


def test_fewer_are_given_where_fewer_may_be_shown():
    small = catalogue_of(5)
    scores = np.arange(5, dtype=np.float32)
    assert choose(scores, small, 10, hidden=np.array([4, 4, 2])).tolist() == [3, 1, 0]
    assert best(np.full(5, -np.inf, dtype=np.float32), small, 3).tolist() == []


@pytest.mark.parametrize(
    ("where", "right"),
    [
        ("genres = 'drama'", lambda n: n % 4 == 1),
        ("genres = 'long' AND year >= 2000", lambda n: n % 3 != 0 and n >= 50),
        ("NOT genres = 'comedy'", lambda n: n % 4 != 0),
    ],
)
def test_only_what_satisfies_the_condition_is_given(where, right):
    scores = np.random.default_rng(3).normal(size=len(LARGE)).astype(np.float32)
    expected = sorted(filter(right, range(len(LARGE))), key=lambda n: -scores[n])[:25]
    assert choose(scores, LARGE, 25, where=parse(where)).tolist() == expected


def test_a_condition_that_few_satisfy_gives_those_few():
    scores = np.zeros(len(LARGE), dtype=np.float32)
    assert choose(scores, LARGE, 10, where=parse("year = 1957 OR year = 1950")).tolist() in ([0, 7], [7, 0])
    assert choose(scores, LARGE, 10, where=parse("year < 0")).tolist() == []


def test_a_condition_on_what_no_item_says_is_refused():
    scores = np.zeros(len(LARGE), dtype=np.float32)
    with pytest.raises(DataError, match=r"no item says 'colour'.*genres, title, year"):
        choose(scores, LARGE, 5, where=parse("colour = 'red'"))
    with pytest.raises(DataError, match=r"items say nothing: train with data\.source\.items"):
        choose(scores[:4], catalogue_of(4, facts=False), 2, where=parse("year = 1"))


def test_diversity_brings_other_kinds_and_keeps_the_best_first():
    scores = np.zeros(len(LARGE), dtype=np.float32)
    scores[-60:] = 9 + np.linspace(0, 0.1, 60)
    scores[-60:][np.arange(len(LARGE))[-60:] % 4 == 2] += 1
    alike, unlike = (choose(scores, LARGE, 10, diversity=diversity) for diversity in (0.0, 0.6))
    assert {GENRES[n % 4] for n in alike} == {"horror"}
    assert {GENRES[n % 4] for n in unlike} == set(GENRES)
    assert unlike[0] == alike[0]


@pytest.mark.parametrize("changes", [{"k": 0}, {"k": -1}, {"diversity": 1.5}, {"diversity": -0.1}])
def test_what_cannot_be_asked_for_is_refused(changes):
    with pytest.raises(DataError, match=r"k is|diversity is"):
        choose(np.zeros(len(LARGE), dtype=np.float32), LARGE, **{"k": 3, **changes})


def test_candidates_are_put_in_order_ties_by_name():
    scores = np.zeros(len(LARGE), dtype=np.float32)
    scores[77] = 1
    given = np.array([5, 77, 3, 9])
    ordered = in_order(scores, LARGE, given).tolist()
    assert ordered[0] == 77
    assert ordered[1:] == sorted([5, 3, 9], key=LARGE.names.__getitem__)


def test_unknown_names_are_refused_by_name():
    with pytest.raises(
        DataError, match="not in the catalogue of 5,003 items: '00x01', 'b', 'c', 'd', 'e' and 1 more; did"
    ):
        LARGE.numbers_of(["00001", "00x01", "b", "c", "d", "e", "f"])
    assert LARGE.numbers_of(LARGE.names[:3]).tolist() == [0, 1, 2]
    assert LARGE.number_of("nothing") is None


@pytest.mark.parametrize(
    ("fresh", "expected"),
    [
        (0, [0, 1, 2, 3]),  # by score alone
        (1, [0, 1, 2, 7]),  # the best of those that nobody had acted on comes last
        (2, [0, 1, 7, 8]),
        (4, [7, 8, 9]),  # there are three of them, and one place for another
    ],
)
def test_places_are_kept_for_items_that_nobody_had_acted_on(fresh, expected):
    some = replace(catalogue_of(10), popularity=np.array([-1.0] * 7 + [-9.0] * 3, dtype=np.float16))
    scores = -np.arange(10, dtype=np.float32)
    found = choose_with_fresh(scores, some, 4, fresh).tolist()
    assert found == (expected if fresh < 4 else [0, *expected])


def test_what_comes_forward_by_itself_fills_the_places_and_hidden_ones_do_not():
    some = replace(catalogue_of(10), popularity=np.array([-1.0] * 7 + [-9.0] * 3, dtype=np.float16))
    scores = np.array([5, 4, 3, 2, 1, 0, 0, 9, -1, -2], dtype=np.float32)
    assert choose_with_fresh(scores, some, 3, 1).tolist() == [7, 0, 1]
    assert choose_with_fresh(scores, some, 3, 2).tolist() == [7, 0, 8]
    scores[8] = -np.inf
    assert choose_with_fresh(scores, some, 3, 2).tolist() == [7, 0, 9]
    with pytest.raises(DataError, match="fresh is 4"):
        choose_with_fresh(scores, some, 3, 4)
