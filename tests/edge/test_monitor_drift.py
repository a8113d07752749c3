from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from made_monitor import SPREADS, START, healthy, made_detector, made_record, made_settings

from nearfar.edge.monitor.adapt import Adaptation
from nearfar.edge.monitor.drift import BLOCKS, LEVEL, DriftWatch
from nearfar.edge.monitor.events import Drift
from nearfar.edge.monitor.monitor import Monitor
from nearfar.edge.monitor.ranks import rank_sum_p_value

DAY = 86_400.0


def seconds(count: int, start: float = START) -> np.ndarray:
    return start + np.arange(count, dtype=np.float64)


def drifts(monitor: Monitor) -> list[Drift]:
    return [event for event in monitor.drain() if isinstance(event, Drift)]


def watch(maxima: np.ndarray, **changes: Any) -> DriftWatch:
    return DriftWatch(np.sort(maxima).astype(np.float32), made_record(block=4.0, **changes), 1.0)


def feed(drift: DriftWatch, maxima: np.ndarray, alarmed: bool = False, start: float = 0.0) -> list[Drift]:
    """Blocks of four frames with these maxima."""
    statistic = np.repeat(np.asarray(maxima, np.float32), 4)
    blocks = drift.push(seconds(len(statistic), start), statistic, np.full(len(statistic), alarmed), 6.0)
    return [block.drift for block in blocks if block.drift]


def test_ranks_agree_with_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    for n, m, move in [(24, 50, 0.0), (24, 8, 1.0), (5, 30, 0.3)]:
        first, second = rng.integers(0, 20, n) + move, rng.integers(0, 20, m).astype(float)
        expected = stats.mannwhitneyu(first, second, alternative="two-sided", method="asymptotic").pvalue
        assert rank_sum_p_value(first, second) == pytest.approx(expected)
    assert rank_sum_p_value(np.ones(5), np.ones(7)) == 1.0


@pytest.mark.parametrize("calibration", [8, 20, 200])
def test_drift_is_announced_no_more_often_than_said(calibration: int) -> None:
    rng = np.random.default_rng(0)
    trials = 4000
    found = sum(
        rank_sum_p_value(rng.gamma(3, size=BLOCKS), rng.gamma(3, size=calibration)) < LEVEL for _ in range(trials)
    )
    assert found <= trials * LEVEL + 3 * math.sqrt(trials * LEVEL)


def test_blocks_that_rose_are_drift_and_told_once_a_day() -> None:
    rng = np.random.default_rng(1)
    drift = watch(3 + 0.3 * rng.standard_normal(100))
    assert feed(drift, 3 + 0.3 * rng.standard_normal(5 * BLOCKS)) == []
    (event,) = feed(drift, 4 + 0.3 * rng.standard_normal(3 * BLOCKS), start=1000.0)
    assert event.ratio == pytest.approx(4 / 3, rel=0.1)
    assert event.rate > 0.8
    assert not event.adapted
    assert drift.report().drifted
    (later,) = feed(drift, 4 + 0.3 * rng.standard_normal(BLOCKS), start=1000.0 + DAY)
    assert later.time - event.time >= DAY


def test_scores_that_fell_are_drift_too() -> None:
    rng = np.random.default_rng(2)
    (event,) = feed(watch(3 + 0.3 * rng.standard_normal(100)), 2 + 0.3 * rng.standard_normal(BLOCKS))
    assert event.ratio < 0.8


def test_blocks_with_an_alarm_and_those_after_it_do_not_count() -> None:
    rng = np.random.default_rng(3)
    drift = watch(3 + 0.3 * rng.standard_normal(100), cool_down=10.0)
    assert feed(drift, np.full(200, 5.0), alarmed=True) == []
    report = drift.report()
    assert (report.blocks, report.blocks_above) == (200, 0)
    assert math.isnan(report.ratio)
    blocks = drift.push(seconds(20, 5000), np.full(20, 5.0, np.float32), np.zeros(20, np.bool_), 6.0)
    assert [block.quiet for block in blocks] == [False, False, False, True, True]  # ten frames


def test_too_few_blocks_at_calibration_say_nothing() -> None:
    assert feed(watch(np.linspace(1, 2, 7)), np.full(200, 5.0)) == []


def test_a_block_of_which_little_is_known_does_not_count() -> None:
    drift = watch(np.linspace(1, 2, 20))
    statistic = np.array([3, -np.inf, -np.inf, -np.inf, 4, 4, -np.inf, -np.inf], np.float32)
    first, second = drift.push(seconds(8), statistic, np.zeros(8, np.bool_), 6.0)
    assert math.isnan(first.maximum)
    assert not first.quiet
    assert (second.maximum, second.quiet) == (4.0, True)
    assert drift.report().blocks == 1


def test_the_report_holds_the_realised_rate_against_the_promise() -> None:
    monitor = Monitor(made_detector())
    values = healthy(7200, seed=1)
    for begin in (1000, 3000, 5000):
        values[begin : begin + 100, 2] += 8
    monitor.update(values, seconds(7200))
    report = monitor.report()
    assert report.alarms == 3
    assert report.days == pytest.approx(7200 / DAY, rel=0.01)
    assert report.alarms_per_day == pytest.approx(3 / report.days)
    assert report.promised_per_day == 1.0
    assert report.promised_share == pytest.approx(120 / DAY)
    assert report.blocks == 59
    assert 3 <= report.blocks_above <= 6  # an alarm may lie in two blocks
    assert len(report.recent) == 59


def test_nothing_adapts_unless_it_is_asked_for() -> None:
    monitor = Monitor(made_detector())
    values = healthy(20_000, seed=1)
    values[:, 0] += 0.6 * SPREADS[0]
    monitor.update(values, seconds(20_000))
    assert not any(event.adapted for event in drifts(monitor))


def test_adaptation_follows_slowly_within_its_limit_and_says_so() -> None:
    detector = made_detector(record=made_record(adapt=True, adapt_limit=0.4, block=600.0))
    monitor = Monitor(detector)
    rows = 200_000
    values = healthy(rows, seed=1)
    values[:, 0] += 0.7 * SPREADS[0]
    trace = monitor.trace(values, seconds(rows))
    told = [event for event in trace.events if isinstance(event, Drift) and event.adapted]
    assert 4 <= len(told) <= 30
    assert not [event for event in trace.events if event.kind == "alarm"]
    assert np.nanmean(trace.scores[-50_000:]) < np.nanmean(trace.scores[:20_000]) - 0.05
    stopped = Monitor(detector)
    far = values.copy()
    far[:, 0] += 0.6 * SPREADS[0]
    stopped.update(far, seconds(rows))
    state = stopped._watch.adaptation
    assert state is not None
    assert np.abs(state.moved).max() <= 0.4
    assert np.abs(state.moved).argmax() == 0


@pytest.mark.parametrize("step", [1, 777])
def test_adaptation_does_not_depend_on_how_the_stream_is_cut(step: int) -> None:
    settings = made_settings(period=90.0, max_gap=450.0)
    detector = made_detector(settings, made_record(adapt=True, block=5400.0, smooth=4), rows=2000)
    values, times = healthy(2400, seed=1), START + 90.0 * np.arange(2400)
    values[:, 1] += 0.7 * SPREADS[1]
    whole = Monitor(detector).trace(values, times)
    monitor = Monitor(detector)
    parts = [monitor.trace(values[i : i + step], times[i : i + step]) for i in range(0, 2400, step)]
    assert any(event.kind == "drift" for event in whole.events)
    assert [event.time for part in parts for event in part.events] == [event.time for event in whole.events]
    np.testing.assert_allclose(np.concatenate([part.scores for part in parts]), whole.scores, rtol=1e-4)


def test_adaptation_learns_nothing_of_a_fault() -> None:
    monitor = Monitor(made_detector(record=made_record(adapt=True, block=60.0)))
    values = healthy(20_000, seed=1)
    values[2000:, 2] += 8
    monitor.update(values[:2000], seconds(2000))
    assert monitor._watch.adaptation is not None
    before = monitor._watch.adaptation.moved.copy()
    monitor.update(values[2000:], seconds(18_000, START + 2000))
    assert monitor.alarmed
    np.testing.assert_allclose(monitor._watch.adaptation.moved[2], before[2], atol=0.06)


def test_a_channel_that_is_missing_does_not_move_its_centre() -> None:
    adaptation = Adaptation(np.zeros(2, np.float32), np.ones(2, np.float32), 1.0, 7200.0)
    frames = np.full((60, 2), np.nan, np.float32)
    frames[:, 0] = 1.0
    for _ in range(200):
        adaptation.see(frames)
        adaptation.end_block(True)
    assert adaptation.moved[0] == pytest.approx(1.0, abs=0.06)
    assert adaptation.moved[1] == 0.0
