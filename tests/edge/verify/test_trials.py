"""Trials hold samples against templates that they are no part of."""

from __future__ import annotations

import numpy as np
import pytest

from nearfar.edge.verify.normalise import cohort_statistics, normalised
from nearfar.edge.verify.trials import verification_trials
from nearfar.errors import DataError


def made(identities: int = 6, each: int = 8, *, dim: int = 24, spread: float = 0.3, sessions: int = 2, seed: int = 0):
    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((identities, dim))
    labels = np.repeat(np.arange(identities), each)
    vectors = centres[labels] + spread * np.sqrt(dim / 4) * generator.standard_normal((len(labels), dim))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    number = np.tile(np.arange(each) * sessions // each, identities)
    return vectors.astype(np.float32), labels, number


def test_every_sample_that_is_not_enrolled_is_tried():
    vectors, labels, sessions = made()
    found = verification_trials(vectors, labels, sessions, samples=3, components=24, seed=1)
    assert len(found.genuine) == 6 * 5
    assert len(found.impostor) == 6 * 40
    assert (found.impostor_sample != found.impostor_template).all()
    assert found.genuine.mean() > found.impostor.mean() + 0.4


def test_scores_are_those_of_means_but_for_rounding():
    vectors, labels, sessions = made(identities=3, each=3, sessions=1)
    found = verification_trials(vectors, labels, sessions, samples=2, components=24, seed=1)
    for number, score in zip(found.genuine_of, found.genuine, strict=True):
        own = vectors[labels == number].astype(np.float64)
        possible = []
        for left in range(3):
            mean = np.delete(own, left, axis=0).mean(axis=0)
            possible.append(own[left] @ mean / np.linalg.norm(mean))
        assert min(abs(score - each) for each in possible) < 0.02


def test_people_enrol_in_one_session_where_it_is_long_enough():
    vectors, labels, sessions = made(each=8, sessions=2)
    found = verification_trials(vectors, labels, sessions, samples=3, components=24, seed=1)
    # Of two sessions of four, three samples of one are enrolled: one is left in it, four are in the other.
    assert found.same_session.sum() == 6
    spills = verification_trials(vectors, labels, sessions, samples=5, components=24, seed=1)
    assert spills.same_session.all()


def test_the_same_seed_gives_the_same_trials_and_draws_add_to_them():
    vectors, labels, sessions = made()
    first, again, other = (
        verification_trials(vectors, labels, sessions, samples=3, components=16, seed=seed) for seed in (1, 1, 2)
    )
    assert np.array_equal(first.genuine, again.genuine)
    assert not np.array_equal(first.genuine, other.genuine)
    twice = verification_trials(vectors, labels, sessions, samples=3, components=16, seed=1, draws=2)
    assert len(twice.genuine) == 2 * len(first.genuine)
    assert np.array_equal(twice.genuine[: len(first.genuine)], first.genuine)


def test_who_has_too_few_samples_is_an_impostor_only():
    vectors, labels, sessions = made()
    kept = (labels != 0) | (np.arange(len(labels)) < 2)
    found = verification_trials(vectors[kept], labels[kept], sessions[kept], samples=3, components=24, seed=1)
    assert 0 not in found.genuine_of
    assert 0 not in found.impostor_template
    assert 0 in found.impostor_sample


def test_impostors_are_drawn_where_they_are_many():
    vectors, labels, sessions = made()
    found = verification_trials(vectors, labels, sessions, samples=3, components=24, seed=1, most=60)
    assert len(found.impostor) == 60
    assert len(found.genuine) == 30


def test_nobody_to_try_is_said():
    vectors, labels, sessions = made(each=3)
    with pytest.raises(DataError, match="more than 3 samples"):
        verification_trials(vectors, labels, sessions, samples=3, components=24, seed=1)
    alone = labels == 0
    with pytest.raises(DataError, match="one identity alone"):
        verification_trials(vectors[alone], labels[alone], sessions[alone], samples=2, components=24, seed=1)


def test_a_cohort_mends_templates_that_are_near_to_everybody():
    """One identity lies in the middle of all: its cosines with strangers are high until they are normalised."""
    generator = np.random.default_rng(3)
    common = generator.standard_normal(32)
    centres = generator.standard_normal((40, 32)) + np.linspace(0, 2, 40)[:, None] * common
    labels = np.repeat(np.arange(40), 6)
    vectors = centres[labels] + 0.9 * generator.standard_normal((240, 32))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    strangers = generator.standard_normal((60, 32)) + generator.uniform(0, 2, (60, 1)) * common
    strangers = (strangers / np.linalg.norm(strangers, axis=1, keepdims=True)).astype(np.float32)
    errors = []
    for of in (None, strangers):
        found = verification_trials(vectors, labels, np.zeros(240, int), samples=3, components=32, seed=0, cohort=of)
        threshold = np.quantile(found.impostor, 0.99)
        errors.append((found.genuine < threshold).mean())
    assert errors[1] < 0.8 * errors[0]


def test_normalised_scores_are_by_hand_what_they_should_be():
    template = cohort_statistics(np.array([0.1, 0.3, -0.9], dtype=np.float32), top=2)
    sample = cohort_statistics(np.array([0.0, 0.4, -0.9], dtype=np.float32), top=2)
    assert template.mean[0] == pytest.approx(0.2)
    assert template.deviation[0] == pytest.approx(0.1)
    found = normalised(np.array([0.7], dtype=np.float32), template, sample)
    assert found[0] == pytest.approx(((0.7 - 0.2) / 0.1 + (0.7 - 0.2) / 0.2) / 2)


def test_a_cohort_of_one_does_not_blow_scores_up():
    one = cohort_statistics(np.array([0.2], dtype=np.float32))
    assert np.isfinite(normalised(np.array([0.9], dtype=np.float32), one, one)).all()
