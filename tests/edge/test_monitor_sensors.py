from __future__ import annotations

import numpy as np
import pytest
from made_monitor import START, healthy, made_settings

from nearfar.edge.monitor.events import SensorFault
from nearfar.edge.monitor.sensors import STUCK_FRAMES, SensorWatch, Verdict
from nearfar.frontend.fit_series import fit_series
from nearfar.frontend.settings import ChannelSettings, SeriesSettings
from nearfar.recipe.series import SeriesFrontendSettings
from nearfar.sources.recording import Channel, Recording

ALL = np.arange(4)


def watch(values: np.ndarray, settings: SeriesSettings | None = None, step: int = 0) -> tuple[SensorWatch, Verdict]:
    """All of `values`, a sample a frame, in one block or in blocks of `step`."""
    sensors = SensorWatch(settings or made_settings())
    times = START + np.arange(len(values)) + 0.25
    hidden, faults, hidings = [], [], []
    step = step or len(values)
    for start in range(0, len(values), step):
        rows = slice(start, start + step)
        sensors.samples.observe(times[rows], values[rows], np.arange(values.shape[1]))
        verdict = sensors.judge(np.floor(times[rows]))
        hidden.append(verdict.hidden)
        faults += [(start + row, fault) for row, fault in verdict.faults]
        hidings += [hiding._replace(row=hiding.row + start) for hiding in verdict.hidings]
    return sensors, Verdict(np.concatenate(hidden), hidings, faults)


def said(verdict: Verdict) -> list[tuple[str, str]]:
    return [(fault.channel, fault.fault) for _, fault in verdict.faults]


def test_healthy_noise_says_nothing() -> None:
    _, verdict = watch(healthy(5000))
    assert not verdict.hidden.any()
    assert verdict.faults == []


def test_a_sensor_that_repeats_itself_is_hidden_at_once_and_stuck_after_a_while() -> None:
    values = healthy(300)
    values[100:200, 2] = values[100, 2]
    sensors, verdict = watch(values[:150])
    assert said(verdict) == [("flow", "stuck")]
    row, fault = verdict.faults[0]
    assert row == 100 + STUCK_FRAMES + 1
    assert fault == SensorFault(START + row + 1, "flow", "stuck", START + 100.25)
    assert np.flatnonzero(verdict.hidden[:, 2])[0] == 101  # at the first repeat
    assert [(hiding.row, hiding.since) for hiding in verdict.hidings] == [(101, START + 100.25)]
    assert sensors.out == {"flow": "stuck"}


def test_a_sensor_that_moves_again_is_back_after_some_good_frames() -> None:
    values = healthy(300)
    values[100:200, 2] = values[100, 2]
    sensors, verdict = watch(values)
    assert said(verdict) == [("flow", "stuck"), ("flow", "ok")]
    row, fault = verdict.faults[1]
    assert (row, fault.since) == (202, START + 200)
    assert not verdict.hidden[202:].any()
    assert verdict.hidden[101:202, 2].all()
    assert sensors.out == {}


def test_a_short_repeat_says_nothing_and_hides_only_for_so_long() -> None:
    values = healthy(300)
    values[100:105, 0] = values[100, 0]
    _, verdict = watch(values)
    assert verdict.faults == []
    assert np.flatnonzero(verdict.hidden[:, 0]).tolist() == [101, 102, 103, 104]


def fitted(values: np.ndarray) -> SeriesSettings:
    """What `fit_series` makes of samples that are a second apart."""
    channels = tuple(Channel(f"sensor {number}") for number in range(values.shape[1]))
    options = SeriesFrontendSettings(kind="series", window=16)
    return fit_series([Recording("", channels, START + np.arange(len(values)), values)], options)


def test_a_value_that_happens_to_come_twice_hides_nothing() -> None:
    digits = np.float32(0.01)  # about one sample in a thousand repeats the one before
    values = np.round(healthy(60_000) / digits) * digits
    repeats = (np.diff(values[2000:], axis=0) == 0).sum()
    assert repeats > 100
    _, verdict = watch(values[2000:], fitted(values[:2000]))
    assert verdict.faults == []
    assert not verdict.hidden.any()


def test_a_sensor_that_gets_stuck_is_hidden_after_a_few_repeats_and_back_to_the_first() -> None:
    values = healthy(3000)
    settings = fitted(values[:2000])
    live = values[2000:].copy()
    live[500:600, 2] = live[500, 2]
    _, verdict = watch(live, settings)
    (hiding,) = verdict.hidings
    assert 502 <= hiding.row <= 505
    assert hiding.since == START + 500.25
    assert said(verdict) == [("sensor 2", "stuck"), ("sensor 2", "ok")]


def test_how_long_is_too_long_is_learned_from_healthy_data() -> None:
    settings = made_settings()
    coarse = settings.channels[0].model_copy(update={"longest_flat": 40.0})
    settings = settings.model_copy(update={"channels": (coarse, *settings.channels[1:])})
    values = healthy(400)
    values[100:140, 0] = values[100, 0]
    values[200:350, 0] = values[200, 0]
    _, verdict = watch(values, settings)
    assert not verdict.hidden[:200].any()
    assert [(row, fault.fault) for row, fault in verdict.faults] == [(321, "stuck"), (352, "ok")]


def test_zero_far_outside_of_the_healthy_range_is_unplugged_soon() -> None:
    values = healthy(200)
    values[100:150, 3] = 0.0
    _, verdict = watch(values)
    assert said(verdict) == [("current", "unplugged"), ("current", "ok")]
    assert verdict.faults[0][0] == 104
    assert np.flatnonzero(verdict.hidden[:, 3])[0] == 100  # before it has repeated itself


def test_a_value_far_outside_that_moves_is_the_machine() -> None:
    values = healthy(200)
    values[100:150, 3] += 100
    _, verdict = watch(values)
    assert verdict.faults == []
    assert np.flatnonzero(verdict.hidden.any(axis=1)).tolist() == [100]  # held back until it has moved once


def test_a_value_that_creeps_out_of_the_healthy_range_and_back_hides_nothing() -> None:
    values = healthy(400)
    settings = made_settings()
    edge = settings.channels[0].highest + 0.5 * (settings.channels[0].highest - settings.channels[0].lowest)
    values[100:300, 0] = edge + 20 * np.sin(np.arange(200) / 4) + np.arange(200) / 100
    out = np.diff(values[:, 0] > edge).sum()
    assert out > 10
    assert np.abs(np.diff(values[101:299, 0])).max() < 10
    values[90:101, 0] = np.linspace(60, values[100, 0], 11)
    values[299:310, 0] = np.linspace(values[299, 0], 60, 11)
    _, verdict = watch(values)
    assert verdict.faults == []
    assert not verdict.hidden.any()


def test_missing_for_longer_than_is_held_is_unplugged_if_others_go_on() -> None:
    values = healthy(200)
    values[100:150, 1] = np.nan
    _, verdict = watch(values)
    assert said(verdict) == [("pressure", "unplugged"), ("pressure", "ok")]
    row, fault = verdict.faults[0]
    assert row == 99 + 5 + 8 + 1  # max_gap, half a window
    assert fault.since == START + 99.25


def test_a_pause_of_the_whole_stream_is_no_sensor_fault() -> None:
    sensors = SensorWatch(made_settings())
    for start in (START, START + 5000):
        times = start + np.arange(50.0)
        sensors.samples.observe(times, healthy(50), ALL)
        verdict = sensors.judge(times)
        assert verdict.faults == []
    silence = sensors.judge(START + 5050 + np.arange(60.0))  # frames without any sample
    assert silence.faults == []
    assert not silence.hidden.any()


def test_a_set_point_may_stand_still() -> None:
    still = ChannelSettings(
        name="set point", centre=(50.0,), scale=(1.0,), lowest=50.0, highest=50.0, longest_flat=10.0
    )
    settings = made_settings()
    settings = settings.model_copy(update={"channels": (still, *settings.channels[1:])})
    values = healthy(2000)
    values[:, 0] = 50.0
    values[1000:, 0] = 60.0
    _, verdict = watch(values, settings)
    assert not verdict.hidden.any()


@pytest.mark.parametrize("step", [1, 7, 64])
def test_any_cut_of_the_stream_says_the_same(step: int) -> None:
    values = healthy(400)
    values[50:120, 0] = values[50, 0]
    values[100:140, 1] = np.nan
    values[200:203, 2] = values[200, 2]
    values[250:300, 3] = 9999.0
    values[310:330, 3] = 500 + np.arange(20)
    whole, parts = watch(values)[1], watch(values, step=step)[1]
    np.testing.assert_array_equal(parts.hidden, whole.hidden)
    assert parts.faults == sorted(whole.faults, key=lambda fault: fault[0])
    assert sorted(parts.hidings) == sorted(whole.hidings)


def test_a_fast_channel_is_stuck_within_a_frame_or_two() -> None:
    rate = 100.0
    fast = ChannelSettings(
        name="vibration",
        rate=rate,
        bands=((10.0, 40.0),),
        centre=(1.0,) * 4,
        scale=(1.0,) * 4,
        lowest=-9.0,
        highest=9.0,
    )
    sensors = SensorWatch(SeriesSettings(channels=(fast,), period=1.0, window=8, max_gap=2.0))
    values = np.random.default_rng(0).standard_normal((2000, 1)).astype(np.float32)
    values[1000:1500] = values[1000]
    sensors.samples.observe(START + np.arange(2000) / rate, values, np.arange(1))
    verdict = sensors.judge(START + np.arange(20.0))
    assert [(row, fault.fault) for row, fault in verdict.faults] == [(11, "stuck"), (17, "ok")]
    assert np.flatnonzero(verdict.hidden[:, 0]).tolist() == [10, 11, 12, 13, 14, 15, 16]
