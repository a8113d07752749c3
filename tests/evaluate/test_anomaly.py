from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, balanced_accuracy_score, f1_score

from nearfar.errors import DataError
from nearfar.evaluate.anomaly import auc_pr, event_scores, false_alarms_per_day, frame_scores, measure_alarms
from nearfar.evaluate.exact_intervals import binomial_interval, poisson_interval
from nearfar.evaluate.vus import vus_pr


def slow_range_pr(labels: list[int], scores: list[float], width: int, thresholds: int) -> float:
    """Area under range-based precision and recall at one width, frame by frame as it is defined."""
    frames, half = len(labels), width // 2
    runs: list[tuple[int, int]] = []
    for t, label in enumerate(labels):
        if label and (t == 0 or not labels[t - 1]):
            runs.append((t, t))
        elif label:
            runs[-1] = (runs[-1][0], t)
    soft = [float(label) for label in labels]
    for start, end in runs:
        for distance in range(1, half + 1):
            for t in (start - distance, end + distance):
                if 0 <= t < frames:
                    soft[t] += math.sqrt(1 - distance / width)
    soft = [min(1.0, value) for value in soft]
    joined = [(runs[0][0] - half, runs[0][1] + half)]
    for start, end in runs[1:]:
        if joined[-1][1] < start - half:
            joined.append((start - half, end + half))
        else:
            joined[-1] = (joined[-1][0], end + half)
    descending = sorted(scores, reverse=True)
    area, recall_before = 0.0, 0.0
    for rank in np.linspace(0, frames - 1, thresholds).astype(int):
        alarmed = [score >= descending[rank] for score in scores]
        hits = sum(soft[t] for t in range(frames) if alarmed[t])
        reachable = sum(1.0 if labels[t] else soft[t] * alarmed[t] for t in range(frames))
        seen = sum(any(alarmed[max(0, start) : end + 1]) for start, end in joined) / len(joined)
        recall = min(1.0, hits / ((sum(labels) + reachable) / 2)) * seen
        area += (recall - recall_before) * hits / sum(alarmed)
        recall_before = recall
    return area


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 24), st.sampled_from([3, 10, 250]))
def test_vus_is_what_it_is_defined_as(seed: int, buffer: int, thresholds: int) -> None:
    rng = np.random.default_rng(seed)
    frames = int(rng.integers(5, 60))
    labels = (rng.random(frames) < 0.3).astype(int)
    labels[:2] = (1, 0)
    scores = rng.integers(0, 12, frames).astype(float)
    slow = np.mean([slow_range_pr(labels.tolist(), scores.tolist(), w, thresholds) for w in range(buffer + 1)])
    assert vus_pr(labels, scores, buffer=buffer, thresholds=thresholds) == pytest.approx(slow, abs=1e-12)


def test_vus_forgives_an_alarm_that_is_a_little_late() -> None:
    labels, scores = np.zeros(500), np.zeros(500)
    labels[200:240] = scores[205:245] = 1
    wrong = np.zeros(500)
    wrong[400:440] = 1
    assert auc_pr(labels, scores) < vus_pr(labels, scores, buffer=40)
    assert vus_pr(labels, wrong, buffer=40) < 0.2 < vus_pr(labels, scores, buffer=40)


@pytest.mark.parametrize("labels", [[0, 0, 0], [1, 1, 1]])
def test_vus_needs_both_kinds_of_frames(labels: list[int]) -> None:
    with pytest.raises(DataError, match="both healthy and faulty"):
        vus_pr(labels, [0.1, 0.2, 0.3])


def test_frames_are_counted_as_sklearn_counts_them() -> None:
    rng = np.random.default_rng(3)
    labels, alarms = rng.random(400) < 0.4, rng.random(400) < 0.3
    scores = rng.integers(0, 20, 400) + 5 * labels
    counted = frame_scores(labels, alarms)
    assert counted.f1 == pytest.approx(f1_score(labels, alarms))
    assert counted.balanced_accuracy == pytest.approx(balanced_accuracy_score(labels, alarms))
    assert counted.far == pytest.approx(alarms[~labels].mean())
    assert counted.mar == pytest.approx((~alarms)[labels].mean())
    assert auc_pr(labels, scores) == pytest.approx(average_precision_score(labels, scores))


def test_an_alarm_that_never_ends_is_told_from_a_good_one_by_all_but_f1() -> None:
    labels = np.arange(100) < 54
    always = frame_scores(labels, np.ones(100))
    assert always.f1 == pytest.approx(0.701, abs=1e-3)
    assert (always.far, always.mar, always.balanced_accuracy) == (1.0, 0.0, 0.5)


def test_events_are_found_late_or_not_at_all() -> None:
    labels, alarms = np.zeros(100), np.zeros(100)
    labels[10:30] = labels[50:60] = labels[80:100] = 1
    alarms[14:20] = alarms[25:31] = alarms[80:82] = alarms[65:66] = 1
    events = event_scores(labels, alarms, period=2.0)
    assert events.events == 3
    assert events.found is not None
    assert events.found.value == pytest.approx(2 / 3)
    assert events.median_delay == pytest.approx((8 + 0) / 2)
    assert events.already == 0


def test_an_alarm_that_was_on_before_an_event_has_not_found_it() -> None:
    labels, alarms = np.zeros(100), np.zeros(100)
    labels[10:20] = labels[50:60] = labels[80:90] = 1
    alarms[8:15] = 1  # and no other in the first
    alarms[45:52] = alarms[55:57] = 1  # and another in the second
    events = event_scores(labels, alarms, period=1.0)
    assert (events.events, events.already) == (3, 1)
    assert events.found is not None
    assert events.found.value == pytest.approx(1 / 3)
    assert events.median_delay == 5.0
    assert false_alarms_per_day(labels, alarms, period=1.0).value == 0.0


def test_an_alarm_that_never_ends_finds_nothing() -> None:
    labels = np.zeros(100)
    labels[10:20] = labels[50:60] = 1
    events = event_scores(labels, np.ones(100), period=1.0)
    assert events.found is not None
    assert (events.found.value, events.already) == (0.0, 2)
    assert np.isnan(events.median_delay)


def test_false_alarms_are_episodes_over_healthy_days() -> None:
    labels, alarms = np.zeros(2000), np.zeros(2000)
    labels[1000:] = 1
    alarms[10:20] = alarms[30:31] = alarms[990:1010] = 1
    rate = false_alarms_per_day(labels, alarms, period=86.4)
    assert rate.value == pytest.approx(2.0)
    assert rate.low < 2.0 < rate.high
    assert rate.high == pytest.approx(7.2247, abs=1e-3)


def test_frames_without_a_score_are_never_alarming() -> None:
    labels, scores = np.array([0, 0, 1, 1]), np.array([np.nan, 0.1, 0.9, 0.8])
    assert auc_pr(labels, scores) == 1.0
    assert vus_pr(labels, scores, buffer=0) == 1.0
    assert np.isfinite(measure_alarms(labels, scores, scores > 0.5, period=1.0).auc_pr)


def test_a_stream_without_faults_has_false_alarms_only() -> None:
    measured = measure_alarms(np.zeros(50), np.zeros(50), np.zeros(50), period=60.0)
    assert measured.events.found is None
    assert np.isnan(measured.auc_pr)
    assert measured.false_alarms_per_day is not None
    assert measured.false_alarms_per_day.value == 0.0
    assert measured.false_alarms_per_day.high > 50


def test_no_frames_are_refused() -> None:
    with pytest.raises(DataError, match="no frames"):
        measure_alarms([], [], [], period=1.0)


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (3, 10), (10, 10), (1, 1000), (480, 900), (0, 1)])
def test_binomial_interval_is_the_quantile_of_the_beta_distribution(successes: int, trials: int) -> None:
    beta = pytest.importorskip("scipy.stats").beta
    found = binomial_interval(successes, trials, level=0.9)
    low = beta.ppf(0.05, successes, trials - successes + 1) if successes else 0.0
    high = beta.ppf(0.95, successes + 1, trials - successes) if successes < trials else 1.0
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-9)


@pytest.mark.parametrize("count", [0, 1, 2, 17, 400, 5000])
def test_poisson_interval_is_the_quantile_of_the_chi_squared_distribution(count: int) -> None:
    chi2 = pytest.importorskip("scipy.stats").chi2
    found = poisson_interval(count, 2.0)
    low = chi2.ppf(0.025, 2 * count) / 4 if count else 0.0
    assert (found.low, found.high) == pytest.approx((low, chi2.ppf(0.975, 2 * count + 2) / 4), rel=1e-7)


def test_intervals_refuse_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="successes"):
        binomial_interval(3, 2)
    with pytest.raises(ValueError, match="exposure"):
        poisson_interval(1, 0.0)
