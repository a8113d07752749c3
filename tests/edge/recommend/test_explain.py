"""Explanations: parts that add up, reasons that are what the device would say otherwise."""

from __future__ import annotations

import numpy as np
import pytest
from tests.edge.tiny_recommender_bundle import write_tiny_recommender_bundle

from nearfar.edge.recommend.catalogue import Catalogue
from nearfar.edge.recommend.choose import choose
from nearfar.edge.recommend.explain import explain
from nearfar.edge.recommend.scorer import Scorer

NOW = 500.0
HISTORY = (1, 5, 10, 5, 30)


@pytest.fixture(scope="module")
def scorer(tmp_path_factory) -> Scorer:
    bundle = write_tiny_recommender_bundle(tmp_path_factory.mktemp("films") / "bundle")
    return Scorer(bundle, Catalogue.open(bundle))


def profile_of(scorer: Scorer, items: tuple[int, ...], times: list[float] | None = None):
    profile = scorer.new_profile()
    for place, item in enumerate(items):
        time = 10.0 * place if times is None else times[place]
        profile = profile.after(item, time, 1.0, scorer.catalogue.vector(item))
    return profile


def test_the_parts_add_up_to_the_score_that_was_told(scorer):
    profile = profile_of(scorer, HISTORY)
    scores = scorer.scores(profile, NOW)
    for number in range(60):
        found = explain(scorer, profile, number, NOW)
        assert found.score == float(scores[number])
        assert sum(found.parts.values()) == pytest.approx(found.score, rel=1e-5, abs=1e-5)
        assert set(found.parts) == {"encoder", "prior", "popularity"}


def test_a_reason_is_what_a_history_without_the_action_would_not_have_said(scorer):
    profile = profile_of(scorer, HISTORY)
    found = explain(scorer, profile, 31, NOW)
    assert len(found.reasons) == len(HISTORY)
    for reason in found.reasons:
        place = round(reason.time / 10)
        left, times = list(HISTORY), [10.0 * n for n in range(len(HISTORY))]
        del left[place], times[place]
        otherwise = scorer.scores(profile_of(scorer, tuple(left), times), NOW)[31]
        assert reason.score == pytest.approx(found.score - float(otherwise), abs=1e-4)
        assert reason.item == scorer.catalogue.names[HISTORY[place]]
        assert reason.title == f"Film {HISTORY[place]}"
    sizes = [abs(reason.score) for reason in found.reasons]
    assert sizes == sorted(sizes, reverse=True)
    assert found.reasons[0].item == "film-030"  # which 31 mostly follows, and the latest


def test_the_rank_is_the_place_in_what_is_recommended(scorer):
    profile = profile_of(scorer, HISTORY)
    hidden = np.unique(profile.items)
    order = choose(scorer.scores(profile, NOW), scorer.catalogue, 60, hidden=hidden)
    for place, number in enumerate(order, start=1):
        assert explain(scorer, profile, int(number), NOW, hidden=hidden).rank == place
    assert explain(scorer, profile, 5, NOW, hidden=hidden).rank is None


def test_ties_have_ranks_by_name(tmp_path):
    bundle = write_tiny_recommender_bundle(tmp_path / "b", items=6, popularity=np.zeros(6), names=list("fedcba"))
    scorer = Scorer(bundle, Catalogue.open(bundle))
    assert [explain(scorer, scorer.new_profile(), n, NOW).rank for n in range(6)] == [6, 5, 4, 3, 2, 1]


def test_a_new_user_has_no_reasons(scorer):
    found = explain(scorer, scorer.new_profile(), 3, NOW)
    assert found.reasons == ()
    assert found.parts["encoder"] == found.parts["prior"] == 0


def test_it_says_the_same_each_time_and_no_more_than_asked(scorer):
    profile = profile_of(scorer, HISTORY)
    assert explain(scorer, profile, 31, NOW) == explain(scorer, profile, 31, NOW)
    assert len(explain(scorer, profile, 31, NOW, most=2).reasons) == 2
