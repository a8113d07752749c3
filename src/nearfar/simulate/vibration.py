"""Vibration of a turning shaft on its bearings.

It is the sum of

- imbalance: a centrifugal force, 1 x speed, that grows with the square of the speed, radial;
- misalignment: 2 x and 3 x speed, mostly axial;
- a pair of gears, where there is one: the teeth's order, modulated once a turn;
- a defect of a bearing: see `bearing.Impacts`;
- broadband noise that grows with speed and load.

A little imbalance and misalignment is in every machine; a fault adds to it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nearfar.simulate.bearing import BearingPart, Impacts
from nearfar.simulate.machine import BEARING_PARTS, FaultCause, MachineFault, RotatingMachine

_Floats = npt.NDArray[np.float64]


class Vibration:
    """Acceleration of the housing, radial and axial, in m/s^2.

    Args:
        machine: what vibrates.
        faults: what breaks in it, and when.
        rng: where randomness comes from.
    """

    def __init__(self, machine: RotatingMachine, faults: Sequence[MachineFault], rng: np.random.Generator) -> None:
        self._machine, self._rng = machine, rng
        self._top = max(regime.speed for regime in machine.regimes)
        self._turns = 0.0
        self._shaft = [fault for fault in faults if fault.cause not in BEARING_PARTS]
        self._bearing = [
            (fault, self._impacts(part)) for fault in faults for part in BEARING_PARTS if part == fault.cause
        ]

    def _impacts(self, part: BearingPart) -> Impacts:
        m = self._machine
        return Impacts(m.bearing, part, rate=m.rate, resonance=m.resonance, damping=m.damping, rng=self._rng)

    def draw(self, since: _Floats, speed: _Floats, load: _Floats) -> _Floats:
        """The next samples, (n, 2), at `since` seconds after the beginning, of a shaft with `speed` and `load`, each (n,)."""
        turns = self._turns + np.cumsum(speed) / self._machine.rate
        self._turns = float(turns[-1])
        angle = 2 * np.pi * turns
        relative = (speed / self._top) ** 2
        imbalance = 0.8 + 6 * self._severity("imbalance", since)
        misalignment = 0.3 + 4 * self._severity("misalignment", since)
        once, twice, thrice = np.cos(angle), np.cos(2 * angle + 0.7), np.cos(3 * angle + 1.9)
        radial = relative * (imbalance * once + misalignment * (0.4 * twice + 0.1 * thrice))
        axial = relative * (0.15 * imbalance * once + misalignment * (twice + 0.5 * thrice))
        if self._machine.teeth:
            mesh = load * (1 + 0.2 * once) * np.cos(self._machine.teeth * angle)
            radial, axial = radial + 0.8 * mesh, axial + 0.5 * mesh
        for fault, impacts in self._bearing:
            ringing = impacts.draw(turns, 12 * fault.at(since) * relative * (0.3 + 0.7 * load))
            radial, axial = radial + ringing, axial + 0.4 * ringing
        noise = self._rng.standard_normal((len(since), 2)) * (0.3 + 0.5 * relative + 0.2 * load)[:, None]
        return np.stack([radial, axial], axis=1) + noise

    def _severity(self, cause: FaultCause, since: _Floats) -> _Floats:
        return sum((fault.at(since) for fault in self._shaft if fault.cause == cause), np.zeros(len(since)))
