"""A made rotating machine: fast vibration beside slow channels, operating points, and faults by their physics.

The shaft turns with the speed of the operating point, which drifts by half a percent, and the housing vibrates as in `vibration`.
Slow channels follow: current by load, temperature as first-order heating by losses (a bad bearing adds some), pressure by the
square of the speed and flow by the speed (pump laws).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from nearfar.simulate.disturbance import Disturbance, Disturbed
from nearfar.simulate.machine import BEARING_PARTS, MachineFault, Regime, RotatingMachine
from nearfar.simulate.noise import Remembering
from nearfar.simulate.vibration import Vibration
from nearfar.sources.recording import Channel, Recording

FAST: Final = (Channel("vibration radial", "m/s²"), Channel("vibration axial", "m/s²"))
SLOW: Final = (
    *(Channel("speed", "rpm"), Channel("current", "A"), Channel("temperature", "°C")),
    *(Channel("pressure", "bar"), Channel("flow", "l/min")),
)

EPOCH: Final = 1_767_225_600.0  # 2026-01-01 00:00 UTC, when all made data begins

_Floats = npt.NDArray[np.float64]


def simulate_machine(
    machine: RotatingMachine,
    seconds: int,
    *,
    seed: int,
    faults: Sequence[MachineFault] = (),
    disturbances: Sequence[Disturbance] = (),
    block: int = 10,
) -> Iterator[Recording]:
    """Make data of one machine.

    Args:
        machine: what it is.
        seconds: how long.
        seed: the same seed gives the same data.
        faults: what breaks, and when; samples during a fault are labelled.
        disturbances: what goes wrong though the machine is well; they are not labelled.
        block: seconds of each recording, which bounds the memory.

    Yields:
        For each block one recording of vibration at `machine.rate`, then one of the slow channels at 1 Hz.
    """
    rng = np.random.default_rng(seed)
    drive, vibration = _Drive(machine, rng), Vibration(machine, faults, rng)
    slow = _SlowChannels(machine, drive.regimes[0], rng)
    disturbed = {name: Disturbed(disturbances, EPOCH) for name in ("fast", "slow")}
    for start in range(0, seconds, block):
        length = min(block, seconds - start)
        since = start + np.arange(length, dtype=np.float64)
        speed, load, regime = drive.draw(length)
        fast = np.arange(round(length * machine.rate)) / machine.rate
        second = np.minimum(fast.astype(np.int64), length - 1)
        recording = Recording(
            machine=machine.name,
            channels=FAST,
            times=EPOCH + start + fast,
            values=vibration.draw(start + fast, speed[second], load[second]).astype(np.float32),
            labels=_labels(faults, start + fast),
            regime=regime[second],
        )
        yield from disturbed["fast"].apply(recording)
        damage = sum((f.at(since) for f in faults if f.cause in BEARING_PARTS), np.zeros(length))
        recording = Recording(
            machine=machine.name,
            channels=SLOW,
            times=EPOCH + since,
            values=slow.draw(speed, load, damage).astype(np.float32),
            labels=_labels(faults, since),
            regime=regime,
        )
        yield from disturbed["slow"].apply(recording)


class _Drive:
    """Speed and load, second by second: an operating point for some time, with drift around it."""

    def __init__(self, machine: RotatingMachine, rng: np.random.Generator) -> None:
        self.regimes = machine.regimes
        self._dwell = machine.dwell
        self._rng = rng
        self._drift = Remembering([120.0, 60.0], 1.0, rng)
        self._now, self._left = 0, self._stay()

    def draw(self, n: int) -> tuple[_Floats, _Floats, npt.NDArray[np.str_]]:
        """Turns a second, share of the rated load and name of the operating point, each (n,)."""
        chosen = np.empty(n, np.int64)
        for t in range(n):
            if self._left <= 0 and len(self.regimes) > 1:
                self._now = (self._now + int(self._rng.integers(1, len(self.regimes)))) % len(self.regimes)
                self._left = self._stay()
            chosen[t] = self._now
            self._left -= 1
        drift = self._drift.draw(n)
        speed = np.array([regime.speed for regime in self.regimes])[chosen] * (1 + 0.005 * drift[:, 0])
        load = np.array([regime.load for regime in self.regimes])[chosen] * (1 + 0.03 * drift[:, 1])
        return speed, load, np.array([regime.name for regime in self.regimes])[chosen]

    def _stay(self) -> int:
        return int(self._dwell * (0.2 + self._rng.exponential(0.8)))


class _SlowChannels:
    """What process sensors say, once a second."""

    _SPREADS: Final = np.array([2.0, 0.08, 0.05, 0.02, 0.6])

    def __init__(self, machine: RotatingMachine, first: Regime, rng: np.random.Generator) -> None:
        self._machine, self._rng = machine, rng
        self._ambient = Remembering([6 * 3600.0], 1.0, rng)
        # Warm at its first operating point, so that data does not begin with an hour of heating up.
        self._temperature = 22.0 + _losses(np.array([first.speed]), np.array([first.load]))[0]

    def draw(self, speed: _Floats, load: _Floats, damage: _Floats) -> _Floats:
        """The next values, (n, 5), in the order of `SLOW`; `damage` is the severity of defects of bearings."""
        target = 22.0 + 1.5 * self._ambient.draw(len(speed))[:, 0] + _losses(speed, load) + 9.0 * damage
        temperature = np.empty(len(speed))
        for t, level in enumerate(target):
            self._temperature += (level - self._temperature) / self._machine.heating
            temperature[t] = self._temperature
        current = 2.0 + 8.0 * load + 0.02 * speed
        true = np.stack([60 * speed, current, temperature, 0.2 + 0.005 * speed**2, 4.0 * speed], axis=1)
        return np.asarray(true + self._SPREADS * self._rng.standard_normal(true.shape))


def _losses(speed: _Floats, load: _Floats) -> _Floats:
    """Rise of the temperature in °C, once it no longer changes."""
    return 0.4 * speed + 28.0 * load**2


def _labels(faults: Sequence[MachineFault], since: _Floats) -> npt.NDArray[np.int8]:
    severity = sum((fault.at(since) for fault in faults), np.zeros(len(since)))
    return (severity > 0).astype(np.int8)
