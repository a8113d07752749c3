from __future__ import annotations

import builtins

import numpy as np
import pytest

from nearfar.errors import DataError, MissingExtraError
from nearfar.evaluate import few_label_probe, linear_probe
from nearfar.evaluate.probe import PENALTIES


def clouds(seed: int, count: int, *, dim: int = 20, classes: int = 4, apart: float = 1.0):
    """Gaussian clouds whose components differ in scale by a factor of a thousand."""
    labels = np.random.default_rng(seed).integers(classes, size=count)
    centres = np.random.default_rng(99).normal(size=(classes, dim)) * apart
    vectors = centres[labels] + np.random.default_rng(seed + 1).normal(size=(count, dim))
    return (vectors * np.logspace(-2, 1, dim)).astype(np.float32), labels


def best_possible(vectors: np.ndarray, labels: np.ndarray, *, apart: float) -> float:
    centres = np.random.default_rng(99).normal(size=(4, 20)) * apart
    distances = ((vectors / np.logspace(-2, 1, 20))[:, None] - centres).__pow__(2).sum(axis=2)
    return float((distances.argmin(axis=1) == labels).mean())


def test_the_probe_finds_what_is_linear_whatever_the_scale():
    known, asked = clouds(0, 2000, apart=0.5), clouds(10, 2000, apart=0.5)
    probe = linear_probe(*known, *asked)
    bound = best_possible(*asked, apart=0.5)
    assert probe.correct.shape == (2000,)
    assert probe.penalty in PENALTIES
    assert 0.6 < bound < 0.95
    assert bound - 0.03 < probe.correct.mean() <= bound + 0.02


def test_nothing_is_found_where_labels_say_nothing():
    rng = np.random.default_rng(3)
    vectors, labels = rng.normal(size=(1000, 30)).astype(np.float32), rng.integers(4, size=1000)
    probe = linear_probe(vectors[:500], labels[:500], vectors[500:], labels[500:])
    assert 0.15 < probe.correct.mean() < 0.35
    # Overfitting shows on what is held out, so the strongest penalties win.
    assert probe.penalty >= 0.1


def test_the_penalty_is_chosen_without_the_queries():
    known, asked = clouds(0, 600, apart=0.3), clouds(10, 400, apart=0.3)
    other = linear_probe(*known, asked[0][::-1], (asked[1] + 1) % 4)
    assert linear_probe(*known, *asked).penalty == other.penalty


def test_the_same_seed_gives_the_same_figures():
    known, asked = clouds(0, 600, apart=0.3), clouds(10, 400, apart=0.3)
    np.testing.assert_array_equal(linear_probe(*known, *asked).correct, linear_probe(*known, *asked).correct)
    few = [few_label_probe(*known, *asked, per_class=2, seed=seed) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(few[0], few[1])
    assert (few[0] != few[2]).any()


def test_more_labels_are_better():
    known, asked = clouds(0, 2000, apart=0.5), clouds(10, 1000, apart=0.5)
    few = [few_label_probe(*known, *asked, per_class=per_class).mean() for per_class in (1, 10, 100)]
    assert 0.25 < few[0] < few[1] < few[2] <= linear_probe(*known, *asked).correct.mean() + 0.01


def test_few_labels_count_over_the_draws():
    known, asked = clouds(0, 500), clouds(10, 100)
    found = few_label_probe(*known, *asked, per_class=1, draws=4)
    assert set(found.tolist()) <= {0.0, 0.25, 0.5, 0.75, 1.0}
    assert 0 < found.mean() < 1


def test_one_label_alone_is_what_is_predicted():
    known = np.eye(4, dtype=np.float32)
    assert linear_probe(known, np.full(4, 2), known, np.array([2, 2, 0, 1])).correct.tolist() == [1, 1, 0, 0]


def test_a_component_that_never_changes_is_no_trouble():
    known, asked = clouds(0, 300), clouds(10, 300)
    constant = np.full((300, 1), 7, dtype=np.float32)
    probe = linear_probe(np.hstack([known[0], constant]), known[1], np.hstack([asked[0], constant]), asked[1])
    assert probe.correct.mean() > 0.9


def test_what_cannot_be_fitted_is_refused(monkeypatch):
    empty = np.empty((0, 3), np.float32)
    with pytest.raises(DataError, match="no labelled item"):
        linear_probe(empty, np.empty(0, np.int64), empty, np.empty(0, np.int64))
    with pytest.raises(ValueError, match="vectors must be"):
        few_label_probe(np.ones((2, 3), np.float32), np.array([0]), empty, np.empty(0, np.int64))
    with pytest.raises(ValueError, match="draws"):
        few_label_probe(*clouds(0, 10), *clouds(1, 10), draws=0)
    real = builtins.__import__

    def without_scikit_learn(name, *rest, **named):
        if name.startswith("sklearn"):
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without_scikit_learn)
    with pytest.raises(MissingExtraError, match=r"A linear probe needs .*nearfar\[train\]"):
        linear_probe(*clouds(0, 10), *clouds(1, 10))
