"""Scores on the device: the stated sum of the parts, from the files of the bundle."""

from __future__ import annotations

import numpy as np
import pytest
from tests.edge.tiny_recommender_bundle import made_vectors, write_tiny_recommender_bundle

from nearfar.edge.recommend.catalogue import Catalogue
from nearfar.edge.recommend.profile import Profile
from nearfar.edge.recommend.ranker import DeviceRanker
from nearfar.edge.recommend.scorer import Scorer, Weights
from nearfar.errors import BundleError, DataError
from nearfar.evaluate.ranking import RankingTask

NOW = 1000.0


@pytest.fixture(scope="module")
def scorer(tmp_path_factory) -> Scorer:
    bundle = write_tiny_recommender_bundle(tmp_path_factory.mktemp("films") / "bundle")
    return Scorer(bundle, Catalogue.open(bundle))


def after(scorer: Scorer, *items: int) -> Profile:
    profile = scorer.new_profile()
    for place, item in enumerate(items):
        profile = profile.after(item, 10.0 * place, 1.0 + place, scorer.catalogue.vector(item))
    return profile


def encoder_by_hand(catalogue: Catalogue, items: list[int]) -> np.ndarray:
    table = catalogue.vectors(np.arange(len(catalogue))).astype(np.float64)
    ages = np.arange(len(items))[::-1]
    shares = 0.8**ages * (1.0 + np.arange(len(items)))
    return table @ (shares @ table[items] / len(items))


def test_scores_are_the_weighted_sum_of_what_each_part_says(scorer):
    items = [4, 8, 13]
    profile, catalogue = after(scorer, *items), scorer.catalogue
    expected = encoder_by_hand(catalogue, items) + 0.25 * catalogue.popularity.astype(np.float64)
    numbers, parts = catalogue.prior.part(profile.items, profile.times)
    expected[numbers] += 0.5 * parts
    np.testing.assert_allclose(scorer.scores(profile, NOW), expected, rtol=2e-3, atol=2e-3)
    parts = scorer.parts(profile, NOW)
    joined = sum(weight * part for weight, part in zip(scorer.weights, parts, strict=True))
    np.testing.assert_allclose(scorer.scores(profile, NOW), joined, rtol=1e-5, atol=1e-5)


def test_the_parts_of_one_item_are_those_of_all(scorer):
    profile = after(scorer, 4, 8, 13)
    parts = scorer.parts(profile, NOW)
    for number in range(len(scorer.catalogue)):
        found = scorer.parts_of(number, profile, NOW)
        expected = [weight * float(part[number]) for weight, part in zip(scorer.weights, parts, strict=True)]
        assert list(found) == expected


def test_a_new_user_gets_what_is_popular(scorer):
    scores = scorer.scores(scorer.new_profile(), NOW)
    np.testing.assert_allclose(scores, 0.25 * scorer.catalogue.popularity.astype(np.float32))
    assert np.argmax(scores) == 0
    assert not scorer.parts(scorer.new_profile(), NOW).encoder.any()


@pytest.mark.parametrize("weight", [0.0, -0.5])
def test_a_new_user_gets_what_is_popular_also_where_popularity_does_not_count(scorer, weight):
    other = Scorer(scorer.bundle, scorer.catalogue, weights=Weights(1.0, 1.0, weight))
    found = other.scores(other.new_profile(), 0.0)
    np.testing.assert_array_equal(found, scorer.catalogue.popularity.astype(np.float32))
    assert sum(other.parts_of(3, other.new_profile(), 0.0)) == pytest.approx(found[3])


def test_the_same_profile_gives_the_same_bits_on_any_number_of_threads(scorer):
    profile = after(scorer, 1, 2, 3)
    again = Scorer(scorer.bundle, Catalogue.open(scorer.bundle), threads=3)
    np.testing.assert_array_equal(scorer.scores(profile, NOW), again.scores(profile, NOW))


def test_a_part_of_no_weight_does_not_count(scorer):
    profile = after(scorer, 4, 8, 13)
    parts = scorer.parts(profile, NOW)
    for weights, expected in (
        (Weights(0.0, 2.0, 0.0), 2 * parts.prior),
        (Weights(0.0, 0.0, 1.0), parts.popularity),
        (Weights(1.0, 0.0, 0.0), parts.encoder),
    ):
        other = Scorer(scorer.bundle, scorer.catalogue, weights=weights)
        np.testing.assert_allclose(other.scores(profile, NOW), expected, rtol=1e-6)


def test_its_vectors_are_those_that_were_trained_within_half_a_step(scorer):
    trained = made_vectors(60, 16)
    steps = scorer.catalogue.scales.astype(np.float32)[:, None]
    assert (np.abs(scorer.catalogue.vectors(np.arange(60)) - trained) <= 0.5001 * steps).all()


def test_evaluation_ranks_as_the_device_does(scorer):
    items = np.arange(40) % 17
    task = RankingTask(
        count=60,
        items=items,
        times=np.arange(40.0),
        weights=np.ones(40, dtype=np.float32),
        begin=np.array([0, 30, 5]),
        end=np.array([29, 33, 5]),
        targets=np.array([1, 2, 3]),
        now=np.array([50.0, 60.0, 70.0]),
        users=np.array([0, 1, 2]),
        popularity=np.ones(60),
    )
    ranker = DeviceRanker(scorer)
    scores, parts = ranker.scores(task, np.array([0, 1, 2])), ranker.parts(task, np.array([0, 1, 2]))
    for case in range(3):
        profile = scorer.new_profile()
        for at in range(task.begin[case], task.end[case]):
            profile = profile.after(items[at], task.times[at], 1.0, scorer.catalogue.vector(items[at]))
        np.testing.assert_array_equal(scores[case], scorer.scores(profile, task.now[case]))
        np.testing.assert_array_equal(parts.encoder[case], scorer.parts(profile, task.now[case]).encoder)
        np.testing.assert_array_equal(parts.prior[case], scorer.parts(profile, task.now[case]).prior)


def test_cases_of_another_catalogue_are_refused(scorer):
    nothing = np.zeros(0)
    task = RankingTask(9, *[nothing] * 8, np.ones(9))  # type: ignore[list-item]
    with pytest.raises(DataError, match="has 60 items, but the cases are of 9"):
        DeviceRanker(scorer).scores(task, np.zeros(0, dtype=np.int64))


def test_a_context_is_taken_into_account_where_it_was_learned(tmp_path, scorer):
    with pytest.raises(DataError, match="learned without a context, so weekday cannot"):
        scorer.scores(after(scorer, 1), NOW, {"weekday": "Monday"})
    column = {"type": "category", "name": "weekday", "values": ["Monday", "Sunday"]}
    bundle = write_tiny_recommender_bundle(tmp_path / "bundle", settings={"context": {"columns": [column]}})
    with_context = Scorer(bundle, Catalogue.open(bundle))
    profile = after(with_context, 1, 2)
    monday, sunday = (with_context.scores(profile, NOW, {"weekday": day}) for day in ("Monday", "Sunday"))
    assert np.abs(monday - sunday).max() > 0.1
    assert np.isfinite(with_context.scores(with_context.new_profile(), NOW, {"weekday": "Sunday"})).all()
    with pytest.raises(DataError, match=r'has no "mood": what is known of a moment here is weekday'):
        with_context.scores(profile, NOW, {"mood": "good"})


def test_another_kind_of_bundle_is_refused(tmp_path):
    from tests.edge.tiny_audio_bundle import write_tiny_audio_bundle

    with pytest.raises(BundleError, match="is of kind audio-encoder, and recommends nothing"):
        Catalogue.open(write_tiny_audio_bundle(tmp_path / "bundle"))
