from __future__ import annotations

import gc
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from made_monitor import (
    NAMES,
    START,
    healthy,
    made_bundle,
    made_detector,
    made_encoder_bundle,
    made_record,
    made_settings,
)

from nearfar.edge.monitor.detector import Detector
from nearfar.edge.monitor.distance import Distance
from nearfar.edge.monitor.events import Alarm, Cleared, ClockEvent, SensorFault
from nearfar.edge.monitor.monitor import QUEUE, Monitor, Trace
from nearfar.errors import BundleError, DataError
from nearfar.frontend.settings import ChannelSettings, SeriesSettings


@pytest.fixture(scope="module")
def detector() -> Detector:
    return made_detector()


def seconds(count: int, start: float = START) -> np.ndarray:
    return start + np.arange(count, dtype=np.float64)


def faulty(rows: int = 1200, begin: int = 600, end: int = 800) -> np.ndarray:
    """A flow that is too high for a while."""
    values = healthy(rows, seed=1)
    values[begin:end, 2] += 8
    return values


def kinds(monitor: Monitor) -> list[str]:
    return [event.kind for event in monitor.drain()]


def test_healthy_data_raises_nothing(detector: Detector) -> None:
    monitor = Monitor(detector)
    assert monitor.update(healthy(4000, seed=5), seconds(4000)) is None
    assert monitor.drain() == []
    assert 0 < monitor.score < monitor.threshold


def test_a_fault_raises_one_alarm_that_names_the_channel_and_ends(detector: Detector) -> None:
    monitor = Monitor(detector)
    alarm = monitor.update(faulty(), seconds(1200))
    raised, cleared = monitor.drain()
    assert raised == alarm
    assert isinstance(raised, Alarm)
    assert START + 600 < raised.since <= raised.time < START + 620
    assert raised.score > raised.threshold == 6.0
    assert raised.p_value == pytest.approx(1 / (len(detector.block_maxima) + 1))
    assert raised.channels[0].channel == "flow"
    assert raised.channels[0].share > 0.8
    assert sum(share.share for share in raised.channels) == pytest.approx(1)
    assert isinstance(cleared, Cleared)
    assert START + 800 < cleared.time < START + 830
    assert cleared.since == raised.time
    assert cleared.peak > raised.score
    assert not monitor.alarmed


@pytest.mark.parametrize("step", [1, 13, 500])
def test_any_cut_of_the_stream_gives_the_same(detector: Detector, step: int) -> None:
    values = faulty()
    values[200:260, 0] = values[200, 0]
    values[300:302, 1] = values[300, 1]
    values[900:960, 3] = np.nan
    whole = Monitor(detector).trace(values, seconds(1200))
    monitor, parts = Monitor(detector), []
    for start in range(0, 1200, step):
        parts.append(monitor.trace(values[start : start + step], seconds(1200)[start : start + step]))
    np.testing.assert_array_equal(np.concatenate([part.values for part in parts]), whole.values)
    np.testing.assert_allclose(np.concatenate([part.scores for part in parts]), whole.scores, rtol=1e-4)
    np.testing.assert_array_equal(np.concatenate([part.alarmed for part in parts]), whole.alarmed)
    events = [event for part in parts for event in part.events]
    assert [(event.kind, event.time) for event in events] == [(event.kind, event.time) for event in whole.events]
    assert [event.kind for event in events].count("sensor") == 4


def test_scores_are_those_of_the_detector(detector: Detector) -> None:
    values = healthy(300, seed=3)
    trace = Monitor(detector).trace(values, seconds(300))
    np.testing.assert_array_equal(trace.scores, detector.score(values[:-1]))
    np.testing.assert_array_equal(trace.times, seconds(299))


@pytest.mark.parametrize(
    "broken",
    [{"value": None}, {"value": 0.0}, {"value": 1e6}, {"value": float("nan")}],
    ids=["stuck", "zero", "rail", "gone"],
)
@pytest.mark.parametrize("channel", range(4))
def test_a_sensor_that_fails_is_no_fault_of_the_machine(
    detector: Detector, channel: int, broken: dict[str, float | None]
) -> None:
    values = healthy(1500, seed=7)
    value = values[500, channel] if broken["value"] is None else broken["value"]
    values[500:1000, channel] = value
    monitor = Monitor(detector)
    assert monitor.update(values, seconds(1500)) is None
    lost, back = monitor.drain()
    assert isinstance(lost, SensorFault)
    assert isinstance(back, SensorFault)
    assert (lost.channel, back.channel, back.fault) == (NAMES[channel], NAMES[channel], "ok")
    assert lost.fault == ("stuck" if broken["value"] is None else "unplugged")


def test_a_machine_fault_is_seen_while_a_sensor_is_out(detector: Detector) -> None:
    values = faulty()
    values[400:1100, 0] = values[400, 0]
    monitor = Monitor(detector)
    alarm = monitor.update(values[:700], seconds(700))
    assert alarm is not None
    assert alarm.channels[0].channel == "flow"
    assert [share.share for share in alarm.channels if share.channel == "temperature"] == [0.0]
    assert monitor.sensors_out == {"temperature": "stuck"}


def test_missing_values_raise_nothing_and_hide_nothing(detector: Detector) -> None:
    values = faulty()
    values[np.random.default_rng(0).random(values.shape) < 0.2] = np.nan
    monitor = Monitor(detector)
    monitor.update(values, seconds(1200))
    assert kinds(monitor) == ["alarm", "cleared"]


def test_a_gap_is_told_and_what_was_before_it_forgotten(detector: Detector) -> None:
    monitor = Monitor(detector)
    monitor.update(healthy(400), seconds(400))
    trace = monitor.trace(healthy(400, seed=2), seconds(400, START + 9000))
    gap = next(event for event in monitor.drain() if isinstance(event, ClockEvent))
    assert (gap.what, gap.time, gap.seconds) == ("gap", START + 400, 8601.0)
    after = trace.scores[trace.times >= START + 9000]
    assert np.isnan(after[:4]).all()
    assert np.isfinite(after[10:]).all()
    assert not trace.alarmed.any()


def test_a_clock_that_is_set_back_is_told_and_raises_nothing(detector: Detector) -> None:
    monitor = Monitor(detector)
    monitor.update(faulty()[:700], seconds(700))
    assert kinds(monitor) == ["alarm"]
    values = healthy(700, seed=3)
    monitor.update(values, seconds(700, START - 7200))
    events = monitor.drain()
    assert [event.kind for event in events] == ["clock", "cleared", "clock"]
    jump, cleared, late = events
    assert isinstance(late, ClockEvent)
    assert (late.what, late.samples) == ("late", 4)  # until it was sure that the clock was set
    assert isinstance(jump, ClockEvent)
    assert (jump.what, jump.seconds) == ("jump", pytest.approx(-7899, abs=5))
    assert isinstance(cleared, Cleared)
    assert cleared.since < cleared.time < START - 7200 + 60


def test_late_samples_are_told_together(detector: Detector) -> None:
    monitor = Monitor(detector)
    monitor.update(healthy(100), seconds(100))
    for row in range(10):
        monitor.update(healthy(1)[0], START + 80 + row)
    monitor.update(healthy(40, seed=3), seconds(40, START + 100))
    events = [event for event in monitor.drain() if isinstance(event, ClockEvent)]
    assert [event.what for event in events] == ["late", "late"]
    assert sum(event.samples for event in events) == 10


def test_the_forms_of_a_sample(detector: Detector) -> None:
    values, times = faulty(700), seconds(700)
    traces: dict[str, Trace] = {"block": Monitor(detector).trace(values, times)}
    named = dict(zip(NAMES, values.T, strict=True))
    traces["mapping"] = Monitor(detector).trace(named, times)
    traces["datetime64"] = Monitor(detector).trace(values, (times * 1e3).astype("datetime64[ms]"))
    traces["other order"] = Monitor(detector).trace(values[:, ::-1], times, channels=NAMES[::-1])
    traces["numbers"] = Monitor(detector).trace(values[:, [2, 0, 1, 3]], times, channels=[2, 0, 1, 3])
    for trace in traces.values():
        np.testing.assert_array_equal(trace.scores, traces["block"].scores)
    monitor = Monitor(detector)
    for row in range(700):
        sample = {name: float(values[row, i]) for i, name in enumerate(NAMES)}
        monitor.update(sample, datetime.fromtimestamp(START + row, UTC))
    assert kinds(monitor) == ["alarm"]
    counted = Monitor(detector)
    for sample in values:
        counted.update(sample)
    (alarm,) = counted.drain()
    assert isinstance(alarm, Alarm)
    assert 600 < alarm.time < 620


@pytest.mark.parametrize(
    ("values", "times", "channels", "message"),
    [
        ([1.0, 2.0], None, None, "4 channels"),
        ([[1.0, 2.0, 3.0, 4.0]], [1.0, 2.0], None, "1 samples have 2 times"),
        ({"torque": 1.0}, None, None, "no channel 'torque'"),
        ({"flow": 1.0}, None, ["flow"], "leave nothing"),
        ([1.0], None, [7], "no channel 7"),
        ([1.0, 2.0], None, ["flow", "flow"], "twice"),
        (["warm", "1", "2", "3"], None, None, "not numbers"),
        ([1.0] * 4, float("nan"), None, "finite"),
        ([1.0] * 4, "noon", None, "not numbers or dates"),
        ({"flow": [1.0, 2.0], "current": [1.0]}, [1.0, 2.0], None, "cannot share"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    detector: Detector, values: object, times: object, channels: object, message: str
) -> None:
    monitor = Monitor(detector)
    with pytest.raises(DataError, match=message):
        monitor.update(values, times, channels)  # type: ignore[arg-type]
    assert np.isnan(monitor.time)


def test_channels_of_other_rates_come_on_their_own() -> None:
    rate, rows = 200.0, 600
    rng = np.random.default_rng(0)
    vibration = rng.standard_normal(int(rows * rate)).astype(np.float32)
    vibration[int(400 * rate) : int(460 * rate)] *= 4
    settings = SeriesSettings(
        channels=(
            ChannelSettings(name="temperature", centre=(60.0,), scale=(2.0,), lowest=40.0, highest=80.0),
            ChannelSettings(
                name="vibration", rate=rate, bands=((10.0, 90.0),), lowest=-20.0, highest=20.0,
                centre=(1.0, 3.0, 3.0, -2.0), scale=(0.05, 0.3, 0.3, 0.1),
            ),
        ),
        period=1.0, window=16, max_gap=5.0,
    )  # fmt: skip
    identity = np.eye(5, dtype=np.float32)
    distance = Distance(np.zeros(5, np.float32), identity, identity, np.zeros((1, 5), np.float32))
    detector = Detector(settings, made_record(threshold=20.0), distance, np.linspace(1, 15, 30, dtype=np.float32))
    warm = healthy(rows)[:, 0]
    apart, joined, counted = Monitor(detector), Monitor(detector), Monitor(detector)
    for second in range(rows):
        part = vibration[int(second * rate) : int((second + 1) * rate)]
        apart.update({"temperature": warm[second]}, START + second)
        apart.update({"vibration": part}, START + second + np.arange(len(part)) / rate)
        joined.update({"temperature": warm[second], "vibration": part})
    counted.update({"vibration": vibration, "temperature": warm})
    for monitor in (apart, joined, counted):
        raised, cleared = monitor.drain()
        assert isinstance(raised, Alarm)
        assert isinstance(cleared, Cleared)
        assert raised.channels[0].channel == "vibration"
    assert joined.score == counted.score


def test_the_threshold_may_be_set_at_any_time(detector: Detector) -> None:
    monitor = Monitor(detector, threshold=1000.0)
    values, times = faulty(), seconds(1200)
    assert monitor.update(values[:700], times[:700]) is None
    monitor.threshold = 6.0
    alarm = monitor.update(values[700:], times[700:])
    assert alarm is not None
    assert alarm.time == START + 700  # of the first frame that is complete after that
    with pytest.raises(DataError, match="threshold"):
        monitor.threshold = float("nan")


def test_the_last_frame_is_scored_by_flush(detector: Detector) -> None:
    monitor = Monitor(detector)
    assert len(monitor.trace(healthy(50), seconds(50)).times) == 49
    assert monitor.flush().times.tolist() == [START + 49]


def test_events_that_nobody_drains_do_not_grow(detector: Detector) -> None:
    monitor = Monitor(detector)
    values = healthy(60)
    values[20:40, 0] = 0.0
    monitor.trace(values, seconds(60))
    assert len(monitor.drain()) == 2
    turns = QUEUE // 2 + 10
    monitor.update(np.tile(values, (turns, 1)), seconds(60 * turns, START + 60))
    assert len(monitor.drain()) == QUEUE
    assert 20 <= monitor.lost <= 30  # a sensor that is away so often is a drift, which is told once a day


def test_memory_does_not_grow_with_the_stream(detector: Detector) -> None:
    monitor = Monitor(detector)
    values = healthy(20_000)
    monitor.update(values, seconds(20_000))
    tracemalloc.start()
    try:
        spans = [_grown(monitor, values, START + 20_000 + 300_000 * span) for span in range(3)]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sorted(spans)[1] < 100_000  # bytes, over 300,000 samples; Python itself may grow a table in one of the spans
    assert peak < 40e6


def _grown(monitor: Monitor, values: np.ndarray, start: float) -> int:
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    for turn in range(15):
        monitor.update(values, seconds(20_000, start + 20_000 * turn))
    gc.collect()
    return tracemalloc.get_traced_memory()[0] - before


def test_a_monitor_with_an_encoder(tmp_path: Path) -> None:
    settings = made_settings()
    record = made_record(features="embedding", by="knn", threshold=8.0)
    bundle = made_encoder_bundle(tmp_path / "bundle", settings, record)
    values = faulty()
    values[200:260, 0] = values[200, 0]
    whole, monitor = Monitor.open(bundle.path).trace(values, seconds(1200)), Monitor.open(bundle)
    parts = [monitor.trace(sample, time) for sample, time in zip(values, seconds(1200), strict=True)]
    np.testing.assert_allclose(np.concatenate([part.scores for part in parts]), whole.scores, rtol=1e-4, atol=1e-5)
    assert np.isfinite(whole.scores[16:]).all()
    assert [event.kind for event in whole.events].count("sensor") == 2


def test_a_bundle_that_watches_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no such bundle"):
        Monitor.open(tmp_path / "nothing")


def test_a_raw_monitor_needs_neither_onnxruntime_nor_a_search_engine(tmp_path: Path) -> None:
    import subprocess
    import sys

    path = made_bundle(tmp_path / "bundle").path
    script = (
        "import sys; from nearfar.edge.monitor.monitor import Monitor; m = Monitor.open(sys.argv[1]);"
        "m.update([[60.0, 5.0, 32.0, 2.0]] * 50);"
        "heavy = {'onnxruntime', 'faiss', 'rich', 'typer', 'sqlite3', 'scipy', 'torch', 'tokenizers'} & set(sys.modules);"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
