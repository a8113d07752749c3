from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from nearfar.simulate import Bearing, MachineFault, Regime, RotatingMachine, simulate_machine
from nearfar.simulate.rotating_machine import FAST, SLOW
from nearfar.sources.recording import Recording

STEADY = RotatingMachine(regimes=(Regime("full", 29.0, 0.9),))


def fast(recordings: list[Recording]) -> npt.NDArray[np.float64]:
    return np.concatenate([r.values for r in recordings if r.channels == FAST]).astype(np.float64)


def slow(recordings: list[Recording]) -> npt.NDArray[np.float64]:
    return np.concatenate([r.values for r in recordings if r.channels == SLOW]).astype(np.float64)


def level_at(signal: npt.NDArray[np.float64], frequency: float, rate: float, width: float = 1.5) -> float:
    """The highest amplitude near a frequency."""
    spectrum = np.abs(np.fft.rfft(signal - signal.mean())) * 2 / len(signal)
    frequencies = np.fft.rfftfreq(len(signal), 1 / rate)
    return float(spectrum[np.abs(frequencies - frequency) < width].max())


def envelope(signal: npt.NDArray[np.float64], rate: float, around: float, width: float) -> npt.NDArray[np.float64]:
    """Amplitude of what lies within a band, by the analytic signal."""
    spectrum = np.fft.fft(signal)
    frequencies = np.fft.fftfreq(len(signal), 1 / rate)
    spectrum[np.abs(frequencies - around) > width] = 0
    return np.abs(2 * np.fft.ifft(spectrum))


def test_orders_of_a_6205_are_those_of_the_literature() -> None:
    # Case Western Reserve University Bearing Data Center, drive end bearing, in multiples of the running speed.
    bearing = Bearing()
    assert bearing.order("inner race") == pytest.approx(5.4152, abs=2e-3)
    assert bearing.order("outer race") == pytest.approx(3.5848, abs=2e-3)
    assert bearing.order("cage") == pytest.approx(0.39828, abs=2e-4)
    assert bearing.order("ball") == pytest.approx(4.7135, abs=5e-3)


@pytest.mark.parametrize("part", ["outer race", "inner race", "ball"])
def test_a_bad_bearing_shows_in_the_envelope_at_its_frequency(part: str) -> None:
    sick = fast(list(simulate_machine(STEADY, 10, seed=1, faults=[MachineFault(part, 0.0)])))[:, 0]
    well = fast(list(simulate_machine(STEADY, 10, seed=1)))[:, 0]
    frequency = 29.0 * STEADY.bearing.order(part)
    levels = [level_at(envelope(x, STEADY.rate, 3400, 800), frequency, STEADY.rate) for x in (sick, well)]
    assert levels[0] > 3 * levels[1]


def test_imbalance_is_radial_at_the_speed_and_misalignment_axial_at_twice_the_speed() -> None:
    well, imbalance, misalignment = (
        fast(list(simulate_machine(STEADY, 10, seed=1, faults=faults)))
        for faults in ([], [MachineFault("imbalance", 0.0)], [MachineFault("misalignment", 0.0)])
    )
    assert level_at(imbalance[:, 0], 29, STEADY.rate) > 4 * level_at(well[:, 0], 29, STEADY.rate)
    assert level_at(imbalance[:, 1], 58, STEADY.rate) < 1.2 * level_at(well[:, 1], 58, STEADY.rate)
    assert level_at(misalignment[:, 1], 58, STEADY.rate) > 4 * level_at(well[:, 1], 58, STEADY.rate)
    assert level_at(misalignment[:, 1], 58, STEADY.rate) > 2 * level_at(misalignment[:, 0], 58, STEADY.rate)


def test_gears_sound_at_the_order_of_their_teeth() -> None:
    geared = RotatingMachine(regimes=STEADY.regimes, teeth=23)
    heard = [level_at(fast(list(simulate_machine(m, 5, seed=1)))[:, 0], 23 * 29, m.rate, 10) for m in (geared, STEADY)]
    assert heard[0] > 5 * heard[1]


def test_ringing_goes_on_over_the_edge_of_a_block() -> None:
    faults = [MachineFault("outer race", 0.0)]
    machine = RotatingMachine(regimes=STEADY.regimes, rate=5000, resonance=1200)
    pieces = [fast(list(simulate_machine(machine, 6, seed=3, faults=faults, block=n)))[:, 0] for n in (1, 6)]
    assert pieces[0].shape == pieces[1].shape
    assert pieces[0].std() == pytest.approx(pieces[1].std(), rel=0.05)
    edge = np.abs(np.diff(pieces[0]))[np.arange(5000, 30_000, 5000) - 1]
    assert edge.max() < np.abs(np.diff(pieces[0])).max()


def test_slow_channels_follow_the_operating_point() -> None:
    machine = RotatingMachine(dwell=300, rate=100, resonance=40)
    recordings = list(simulate_machine(machine, 3600, seed=2, block=600))
    regime = np.concatenate([r.regime for r in recordings if r.channels == SLOW and r.regime is not None])
    values = slow(recordings)
    assert set(regime) == {"idle", "half", "full"}
    for name, speed, current in (("idle", 900, 3.1), ("half", 1500, 6.5), ("full", 1740, 9.8)):
        assert np.median(values[regime == name, 0]) == pytest.approx(speed, rel=0.02)
        assert np.median(values[regime == name, 1]) == pytest.approx(current, rel=0.05)
    assert np.abs(np.diff(values[:, 2])).max() < 0.5  # heat takes its time


def test_a_bad_bearing_runs_hot() -> None:
    machine = RotatingMachine(regimes=STEADY.regimes, rate=100, resonance=40)
    well, sick = (
        slow(list(simulate_machine(machine, 3600, seed=2, faults=faults, block=600)))[-300:, 2].mean()
        for faults in ([], [MachineFault("ball", 0.0)])
    )
    assert 4 < sick - well < 9


def test_a_fault_is_labelled_while_it_lasts_and_grows() -> None:
    faults = [MachineFault("imbalance", 4.0, 8.0, growth=2.0)]
    recordings = list(simulate_machine(RotatingMachine(rate=1000, resonance=300), 10, seed=0, faults=faults, block=3))
    labels = np.concatenate([r.labels for r in recordings if r.channels == SLOW and r.labels is not None])
    assert labels.tolist() == [0] * 5 + [1] * 3 + [0] * 2
    assert faults[0].at(np.array([3.0, 5.0, 7.0, 8.0])).tolist() == [0.0, 0.5, 1.0, 0.0]


def test_recordings_are_in_order_and_the_same_for_the_same_seed() -> None:
    machine = RotatingMachine(rate=2000, resonance=700)
    first, again, other = (list(simulate_machine(machine, 7, seed=seed, block=2)) for seed in (1, 1, 2))
    times = np.concatenate([r.times for r in first if r.channels == FAST])
    assert len(times) == 14_000
    assert np.diff(times) == pytest.approx(1 / 2000, abs=1e-6)
    assert all((a.values == b.values).all() for a, b in zip(first, again, strict=True))
    assert (first[0].values != other[0].values).any()
