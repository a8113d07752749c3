from __future__ import annotations

import csv
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from nearfar.errors import DataError
from nearfar.simulate import Disturbance, Plant, RotatingMachine, Upset, simulate_machine, simulate_plant, write_csv
from nearfar.simulate.noise import Remembering
from nearfar.simulate.rotating_machine import EPOCH
from nearfar.sources.recording import Recording


def joined(recordings: list[Recording]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([r.times for r in recordings]), np.concatenate([r.values for r in recordings])


@pytest.mark.parametrize("seconds", [0.0, 0.5, 5.0, 60.0])
def test_noise_remembers_as_long_as_it_should_however_it_is_drawn(seconds: float) -> None:
    noise = Remembering([seconds], 1.0, np.random.default_rng(0))
    values = np.concatenate([noise.draw(n) for n in (1, 3, 50_000, 999, 50_000)])[:, 0]
    assert values.std() == pytest.approx(1.0, rel=0.05)
    lag = max(1, round(seconds))
    seen = np.corrcoef(values[lag:], values[:-lag])[0, 1]
    assert seen == pytest.approx(np.exp(-lag / seconds) if seconds else 0.0, abs=0.03)


def test_a_plant_is_stationary_unless_it_drifts() -> None:
    steady, drifting = (
        joined(list(simulate_plant(Plant(drift=drift), 4 * 86_400, seed=1)))[1].astype(np.float64)
        for drift in (0.0, 2.0)
    )
    spread = steady.std(axis=0)
    days = [(values[-86_400:].mean(axis=0) - values[:86_400].mean(axis=0)) / spread for values in (steady, drifting)]
    assert np.abs(days[0]).max() < 1.0
    assert np.abs(days[1]).min() > 3.0


def test_an_upset_moves_its_channels_and_is_labelled() -> None:
    calm, upset = (
        list(simulate_plant(Plant(), 2000, seed=1, upsets=upsets, block=300))
        for upsets in ([], [Upset(500, 900, (2, 4), strength=4.0, growth=100.0)])
    )
    moved = (joined(upset)[1] != joined(calm)[1]).any(axis=1)
    labels = np.concatenate([r.labels for r in upset if r.labels is not None])
    assert np.flatnonzero(labels).tolist() == list(range(500, 900))
    assert (labels[moved] == 1).all()
    assert moved.sum() >= 398
    assert (joined(upset)[1][:, [0, 1, 3, 5, 6, 7]] == joined(calm)[1][:, [0, 1, 3, 5, 6, 7]]).all()


def test_disturbances_are_seen_but_not_labelled() -> None:
    disturbances = (
        Disturbance("stuck", 100, 700, channel="flow"),
        Disturbance("unplugged", 200, 250, channel="level"),
        Disturbance("missing", 300, 310, channel="current"),
        Disturbance("gap", 400, 500),
    )
    recordings = list(simulate_plant(Plant(), 1000, seed=1, disturbances=disturbances, block=260))
    times, values = joined(recordings)
    since = times - EPOCH
    assert np.diff(since).max() == 101
    assert len(since) == 900
    assert np.ptp(values[(since >= 100) & (since < 700), 3]) == 0
    assert (values[(since >= 200) & (since < 250), 6] == 0).all()
    assert np.flatnonzero(np.isnan(values[:, 4])).tolist() == list(range(300, 310))
    assert all(r.labels is not None and not r.labels.any() for r in recordings)


@pytest.mark.parametrize("seconds", [-30.0, 500.0])
def test_a_clock_that_is_set_back_starts_a_new_recording(seconds: float) -> None:
    disturbances = [Disturbance("jump", 150, seconds=seconds)]
    recordings = list(simulate_plant(Plant(), 300, seed=1, disturbances=disturbances, block=300))
    assert len(recordings) == (2 if seconds < 0 else 1)
    assert all((np.diff(r.times) > 0).all() for r in recordings)
    times, _ = joined(recordings)
    assert times[150] - times[149] == 1 + seconds


def test_csv_files_say_what_was_recorded(tmp_path: Path) -> None:
    disturbances = [Disturbance("missing", 2, 3, channel="flow")]
    machine = RotatingMachine(name="pump", rate=50, resonance=20)
    recordings = list(simulate_machine(machine, 5, seed=1, disturbances=disturbances, block=2))
    files = write_csv(recordings, tmp_path / "made")
    assert [file.name for file in files] == ["pump.csv", "pump-2.csv"]
    with files[1].open(encoding="utf-8") as opened:
        rows = list(csv.DictReader(opened))
    assert list(rows[0])[:3] == ["time", "speed [rpm]", "current [A]"]
    assert [row["flow [l/min]"] == "" for row in rows] == [False, False, True, False, False]
    assert rows[0]["regime"] in ("idle", "half", "full")
    with files[0].open(encoding="utf-8") as opened:
        fast = list(csv.DictReader(opened))
    assert len(fast) == 250
    assert datetime.fromisoformat(fast[1]["time"]).timestamp() == pytest.approx(EPOCH + 0.02, abs=1e-6)
    written = np.array([float(row["vibration axial [m/s²]"]) for row in fast])
    assert written == pytest.approx(
        np.concatenate([r.values for r in recordings if len(r.channels) == 2])[:, 1], rel=1e-6
    )


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file.*cannot be written"):
        write_csv(simulate_plant(Plant(), 5, seed=1), tmp_path / "file")
