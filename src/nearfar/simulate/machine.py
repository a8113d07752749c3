"""What a made rotating machine is, and what can break in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from nearfar.simulate.bearing import Bearing, BearingPart

FaultCause = Literal["imbalance", "misalignment", "outer race", "inner race", "ball", "cage"]
BEARING_PARTS: Final[tuple[BearingPart, ...]] = ("outer race", "inner race", "ball", "cage")

_6205: Final = Bearing()


@dataclass(frozen=True, slots=True)
class Regime:
    """An operating point.

    Attributes:
        name: for the column of regimes.
        speed: of the shaft, in turns a second.
        load: as a share of the rated load.
    """

    name: str
    speed: float
    load: float


REGIMES: Final = (
    Regime("idle", 15.0, 0.1),
    Regime("half", 25.0, 0.5),
    Regime("full", 29.0, 0.9),
)


@dataclass(frozen=True, slots=True)
class MachineFault:
    """Something that breaks.

    Attributes:
        cause: what.
        start: seconds after the beginning of the data.
        end: when it has been mended.
        severity: 1 is plain to see; at 0.1 even an expert would look twice.
        growth: seconds from the first trace to the whole severity.
    """

    cause: FaultCause
    start: float
    end: float = float("inf")
    severity: float = 1.0
    growth: float = 0.0

    def at(self, since: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Severity (n,) at some seconds after the beginning of the data."""
        grown = np.clip((since - self.start) / self.growth, 0.0, 1.0) if self.growth > 0 else np.ones(len(since))
        return np.where((since >= self.start) & (since < self.end), self.severity * grown, 0.0)


@dataclass(frozen=True, slots=True)
class RotatingMachine:
    """One machine and how it is driven.

    Attributes:
        name: for the column of machines.
        regimes: operating points that it changes between, at random.
        dwell: mean seconds at one of them; at least a fifth of it.
        rate: samples a second of vibration.
        bearing: its geometry.
        resonance: of the housing, in Hz; below half of `rate`.
        damping: ratio of the resonance.
        teeth: of the gear on the shaft; 0 without gears.
        heating: time constant of the temperature, in seconds.
    """

    name: str = "machine"
    regimes: tuple[Regime, ...] = REGIMES
    dwell: float = 600.0
    rate: float = 20_000.0
    bearing: Bearing = _6205
    resonance: float = 3_400.0
    damping: float = 0.05
    teeth: int = 0
    heating: float = 900.0
