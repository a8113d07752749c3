from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made_monitor import START, healthy, made_bundle, made_detector, made_encoder_bundle, made_record, made_settings

from nearfar.bundle import Bundle
from nearfar.edge.monitor.events import Alarm, ClockEvent, Drift, SensorFault, Share, as_record
from nearfar.edge.monitor.monitor import Monitor, Trace
from nearfar.edge.monitor.state import event_of, read_state, write_state
from nearfar.errors import DataError, StoreError


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    record = made_record(adapt=True, block=60.0)
    return made_bundle(tmp_path_factory.mktemp("made") / "bundle", made_detector(record=record))


def stream() -> tuple[np.ndarray, np.ndarray]:
    """Everything that a state must remember: faults, lost sensors, gaps, a clock set back, missing values."""
    values = healthy(2000, seed=4)
    values[300:420, 2] += 8
    values[500:620, 0] = values[500, 0]
    values[700:760, 1] = np.nan
    values[900:, 3] += 0.05
    values[1500:1700, 2] += 8
    times = START + np.arange(2000.0)
    times[1200:] += 5000
    times[1600:] -= 9000
    return values, times


def same(one: list[Trace], other: list[Trace]) -> None:
    for ours, theirs in zip(one, other, strict=True):
        for mine, yours in zip(ours[:5], theirs[:5], strict=True):
            assert mine.tobytes() == yours.tobytes()
        assert ours.events == theirs.events


@pytest.mark.parametrize("stop", [3, 305, 418, 504, 517, 615, 730, 1100, 1200, 1210, 1550, 1603, 1604, 1650])
def test_a_restart_changes_no_bit_of_what_follows(bundle: Bundle, tmp_path: Path, stop: int) -> None:
    values, times = stream()
    steady = Monitor.open(bundle)
    stopped = Monitor.open(bundle, state=tmp_path / "state", state_every=1e9)
    for monitor in (steady, stopped):
        monitor.update(values[:stop], times[:stop])
    stopped.save()
    again = Monitor.open(bundle, state=tmp_path / "state", state_every=1e9)
    for name in ("score", "statistic", "threshold", "alarmed", "time", "sensors_out"):
        np.testing.assert_equal(getattr(again, name), getattr(steady, name))
    assert again.drain() == steady.drain()
    expected, found = [], []
    for start in range(stop, len(values), 37):
        rows = slice(start, start + 37)
        expected.append(steady.trace(values[rows], times[rows]))
        found.append(again.trace(values[rows], times[rows]))
    same(found, expected)
    assert repr(again.report()) == repr(steady.report())


def test_a_restart_between_any_two_samples(bundle: Bundle, tmp_path: Path) -> None:
    values, times = stream()
    rows = [*range(290, 330), *range(495, 530), *range(1590, 1610)]
    steady, monitor = Monitor.open(bundle), Monitor.open(bundle, state=tmp_path / "state", state_every=1e9)
    expected, found = [], []
    for row in rows:
        expected.append(steady.trace(values[row], times[row]))
        found.append(monitor.trace(values[row], times[row]))
        monitor.save()
        monitor = Monitor.open(bundle, state=tmp_path / "state", state_every=1e9)
    same(found, expected)


def test_a_restart_of_one_with_an_encoder(tmp_path: Path) -> None:
    record = made_record(features="embedding", by="prototypes", smooth=1)
    bundle = made_encoder_bundle(tmp_path / "bundle", made_settings(), record)
    values, times = stream()
    steady, stopped = Monitor.open(bundle), Monitor.open(bundle, state=tmp_path / "state", state_every=1e9)
    for monitor in (steady, stopped):
        monitor.update(values[:600], times[:600])
    stopped.save()
    again = Monitor.open(bundle, state=tmp_path / "state", state_every=1e9)
    same([again.trace(values[600:], times[600:])], [steady.trace(values[600:], times[600:])])


def test_counted_time_goes_on_counting(bundle: Bundle, tmp_path: Path) -> None:
    values = healthy(60)
    monitor = Monitor.open(bundle, state=tmp_path / "state")
    monitor.update(values[:30])
    monitor.save()
    again = Monitor.open(bundle, state=tmp_path / "state")
    again.update(values[30:])
    assert again.time == 59.0
    assert again.drain() == []


def test_a_threshold_that_was_set_is_kept_unless_another_is_given(bundle: Bundle, tmp_path: Path) -> None:
    monitor = Monitor.open(bundle, state=tmp_path / "state")
    monitor.threshold = 7.5
    monitor.save()
    assert Monitor.open(bundle, state=tmp_path / "state").threshold == 7.5
    assert Monitor.open(bundle, state=tmp_path / "state", threshold=9.0).threshold == 9.0


def test_the_state_is_saved_every_so_often_and_stays_small(bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "state"
    monitor = Monitor.open(bundle, state=path, state_every=100.0)
    values, times = healthy(1000), START + np.arange(1000.0)
    written = set()
    for row in range(1000):
        monitor.update(values[row], times[row])
        if path.exists():
            written.add(path.read_bytes())
    assert 9 <= len(written) <= 11
    assert path.stat().st_size < 40_000
    assert list(tmp_path.iterdir()) == [path]
    assert abs(Monitor.open(bundle, state=path).time - monitor.time) <= 100


def test_a_torn_or_foreign_state_is_refused_or_left_behind(bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "state"
    monitor = Monitor.open(bundle, state=path)
    monitor.update(healthy(50), START + np.arange(50.0))
    monitor.save()
    whole = path.read_bytes()
    other = made_bundle(tmp_path / "other")
    broken = {
        "torn or altered": [whole[: len(whole) // 2], whole[:-1], whole.replace(b"score", b"scare", 1)],
        "not the state of a monitor": [b"", b"hello", b"\xff\xfe\x00", whole[10:]],
        "format 9": [whole.replace(b"state 1 ", b"state 9 ", 1)],
    }
    for message, contents in broken.items():
        for content in contents:
            path.write_bytes(content)
            with pytest.raises(StoreError, match=message):
                Monitor.open(bundle, state=path)
    anew = Monitor.open(bundle, state=path, on_bad_state="restart")
    assert np.isnan(anew.time)
    anew.update(healthy(50), START + np.arange(50.0))
    assert Monitor.open(bundle, state=path).time == START + 49
    with pytest.raises(StoreError, match="another bundle"):
        Monitor.open(other, state=path)
    write_state(path, bundle.digest, {"intake": [1.0]})
    with pytest.raises(StoreError, match="does not fit"):
        Monitor.open(bundle, state=path)


def test_a_place_that_cannot_be_written_to_is_noticed_at_once(bundle: Bundle, tmp_path: Path) -> None:
    monitor = Monitor.open(bundle, state=tmp_path / "no such folder" / "state")
    with pytest.raises(StoreError, match="cannot be written"):
        monitor.update(healthy(3), START + np.arange(3.0))
    with pytest.raises(DataError, match="state=PATH"):
        Monitor.open(bundle).save()


def test_arrays_and_events_come_back_as_they_were(tmp_path: Path) -> None:
    arrays = [
        np.array([np.nan, -0.0, np.inf, 1e-45], np.float32),
        np.arange(6).reshape(2, 3),
        np.zeros((0, 4)),
        np.array([True, False]),
    ]
    state = {"arrays": arrays, "number": 0.1 + 0.2, "nothing": None, "endless": float("-inf")}
    write_state(tmp_path / "state", "digest", state)
    found = read_state(tmp_path / "state", "digest")
    for array, back in zip(arrays, found["arrays"], strict=True):
        assert (array.tobytes(), array.dtype, array.shape) == (back.tobytes(), back.dtype, back.shape)
        assert back.flags.writeable
    assert {name: found[name] for name in ("number", "nothing", "endless")} == {k: state[k] for k in list(state)[1:]}
    for event in (
        Alarm(1.0, 2.0, 1.5, 0.01, 0.5, (Share("flow", 0.75), Share("current", 0.25))),
        SensorFault(1.0, "flow", "stuck", 0.0),
        ClockEvent(1.0, "late", 3.0, 7),
        Drift(1.0, 1.2, 0.4, adapted=True),
    ):
        assert event_of(as_record(event)) == event


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_a_kill_at_any_moment_leaves_a_whole_state(bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "state"
    script = (
        "import sys, itertools\nfrom nearfar.edge.monitor.monitor import Monitor\n"
        "m = Monitor.open(sys.argv[1], state=sys.argv[2], state_every=0)\n"
        "for row in itertools.count():\n    m.update([60.0 + row % 3, 5.0, 32.0, 2.0])\n    print(row, flush=True)\n"
    )
    reached = -1.0
    for turn in range(5):
        worker = subprocess.Popen(
            [sys.executable, "-c", script, str(bundle.path), str(path)], stdout=subprocess.PIPE, text=True
        )
        assert worker.stdout is not None
        for _ in range(5 + 7 * turn):
            worker.stdout.readline()
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
        worker.stdout.close()
        time = Monitor.open(bundle, state=path).time
        assert time > reached
        reached = time
