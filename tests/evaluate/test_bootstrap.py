from __future__ import annotations

import numpy as np
import pytest

from nearfar.errors import DataError
from nearfar.evaluate.bootstrap import Interval, mean_interval, ratio_interval


def covers(interval: Interval, truth: float) -> bool:
    return interval.low <= truth <= interval.high


@pytest.mark.parametrize(("level", "at_least", "at_most"), [(0.95, 0.91, 0.98), (0.5, 0.42, 0.57)])
def test_mean_interval_covers_the_true_mean_as_often_as_it_says(level, at_least, at_most):
    generator = np.random.default_rng(1)
    trials = [generator.normal(3.0, 2.0, size=80) for _ in range(300)]
    covered = [covers(mean_interval(v, resamples=400, seed=i, level=level), 3.0) for i, v in enumerate(trials)]
    assert at_least <= np.mean(covered) <= at_most


def test_ratio_interval_covers_the_true_ratio_as_often_as_it_says():
    generator = np.random.default_rng(2)
    covered = []
    for trial in range(300):
        easy = generator.uniform(0.2, 1.0, size=80)  # shared difficulty, so that pairing matters
        better = easy + generator.normal(0.06, 0.1, size=80)
        covered.append(covers(ratio_interval(better, easy, resamples=400, seed=trial), 0.66 / 0.6))
    assert 0.91 <= np.mean(covered) <= 0.98


def test_interval_is_about_two_standard_errors_wide():
    values = np.random.default_rng(3).normal(size=4000)
    interval = mean_interval(values)
    standard_error = values.std(ddof=1) / np.sqrt(len(values))
    assert interval.value == values.mean()
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * standard_error, rel=0.05)


def test_pairing_makes_a_ratio_sharper_than_the_two_means_apart():
    generator = np.random.default_rng(4)
    difficulty = generator.uniform(size=200)
    paired = ratio_interval(1.1 * difficulty, difficulty)
    apart = ratio_interval(1.1 * difficulty, generator.permutation(difficulty))
    np.testing.assert_allclose([paired.value, paired.low, paired.high], 1.1)
    assert apart.value == pytest.approx(1.1)
    assert apart.low < 1.05 < 1.15 < apart.high


def test_the_seed_decides_the_interval():
    values = np.random.default_rng(5).uniform(size=50)
    assert mean_interval(values, seed=7) == mean_interval(values, seed=7)
    assert mean_interval(values, seed=7) != mean_interval(values, seed=8)


def test_more_queries_than_fit_in_one_draw():
    values = np.random.default_rng(6).integers(0, 2, size=(1 << 20) + 3).astype(float)
    interval = mean_interval(values, resamples=12)
    assert interval.low < interval.value < interval.high
    assert interval.high - interval.low < 0.01


def test_constant_values_have_no_spread():
    assert mean_interval(np.full(9, 0.25)) == Interval(0.25, 0.25, 0.25)


def test_ratio_is_unbounded_above_where_a_resample_may_miss_the_denominator():
    interval = ratio_interval(np.array([1.0, 1.0, 1.0]), np.array([0.0, 0.0, 1.0]))
    assert interval.value == pytest.approx(3.0)
    assert interval.low == pytest.approx(1.0)
    assert interval.high == np.inf


def test_what_cannot_be_averaged_is_refused():
    with pytest.raises(DataError, match="no queries"):
        mean_interval(np.array([]))
    with pytest.raises(DataError, match="scores 0 on every query"):
        ratio_interval(np.ones(3), np.zeros(3))
    with pytest.raises(ValueError, match="finite"):
        mean_interval(np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match="one-dimensional"):
        mean_interval(np.ones((2, 2)))
    with pytest.raises(ValueError, match="same queries"):
        ratio_interval(np.ones(3), np.ones(4))
    with pytest.raises(ValueError, match="negative"):
        ratio_interval(np.ones(2), np.array([1.0, -1.0]))
    with pytest.raises(ValueError, match="level"):
        mean_interval(np.ones(3), level=95)
    with pytest.raises(ValueError, match="resamples"):
        mean_interval(np.ones(3), resamples=0)


def test_interval_reads_well():
    assert str(Interval(0.41234, 0.4, 0.4255)) == "0.412 [0.400, 0.425]"
