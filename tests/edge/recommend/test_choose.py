"""Choosing from scores: the true best, ties by name, what may not be shown, conditions, diversity."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.edge.tiny_recommender_bundle import GENRES, made_facts, made_vectors

from nearfar.edge.recommend.catalogue import Catalogue
from nearfar.edge.recommend.catalogue_files import fact_line, round_vectors
from nearfar.edge.recommend.choose import best, choose, in_order
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
