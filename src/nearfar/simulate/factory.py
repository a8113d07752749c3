"""A made factory: machines of which there is a photo of a part, a window of vibration, readings, and an entry in the log."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from nearfar.simulate.factory_words import log_of
from nearfar.simulate.machine import FaultCause, MachineFault, Regime, RotatingMachine
from nearfar.simulate.part_photo import COLOURS, Condition, Part, photo_of
from nearfar.simulate.rotating_machine import EPOCH, FAST
from nearfar.simulate.vibration import Vibration
from nearfar.sources.recording import Recording

RATE: Final = 1000.0
"""Samples of vibration a second."""
SECONDS: Final = 3.0
"""Length of a window of vibration."""


class _Drive(NamedTuple):
    """How the machine of a part turns: turns a second, teeth (or vanes) on its shaft, rated current in A."""

    speed: float
    teeth: int
    current: float


_DRIVES: Final[dict[Part, _Drive]] = {
    "gear": _Drive(21.0, 14, 11.0),
    "bearing": _Drive(29.0, 0, 7.0),
    "impeller": _Drive(47.0, 6, 15.0),
    "coupling": _Drive(14.0, 0, 9.0),
}

_FAULTS: Final[dict[tuple[Part, Condition], FaultCause]] = {
    ("gear", "broken tooth"): "imbalance",
    ("bearing", "pitted outer ring"): "outer race",
    ("bearing", "pitted inner ring"): "inner race",
    ("impeller", "lost vane"): "imbalance",
    ("coupling", "offset halves"): "misalignment",
}

CASES: Final[tuple[tuple[Part, Condition], ...]] = (
    *((part, "sound") for part in _DRIVES),
    *_FAULTS,
)
"""What there is to see and to hear: every part, sound and with each of its faults."""


@dataclass(frozen=True)
class FactoryRecord:
    """One inspection of a machine. What is missing is None: not every inspection has it all.

    Attributes:
        machine: its name.
        part: what was looked at.
        condition: how it was.
        colour: of its paint.
        photo: uint8 (h, w, 3).
        vibration: `SECONDS` of two channels at `RATE`.
        log: the entry, in English and in German.
        speed: revolutions a minute.
        load: share of the rated load.
        current: in A.
        temperature: in °C.
    """

    machine: str
    part: Part
    condition: Condition
    colour: str
    photo: npt.NDArray[np.uint8] | None
    vibration: Recording | None
    log: tuple[str, str] | None
    speed: float
    load: float
    current: float
    temperature: float

    @property
    def label(self) -> str:
        """Part and condition: what photo, vibration and log agree on."""
        return f"{self.part}, {self.condition}"


def simulate_factory(
    records: int, *, seed: int, size: int = 64, inspections: int = 4, missing: float = 0.05
) -> Iterator[FactoryRecord]:
    """Make inspections.

    The photo shows part, condition and paint; the vibration follows part and condition by the physics of `vibration`; the log says all
    of it, in changing words. Load, light, angle and place of the camera differ from inspection to inspection.

    Args:
        records: how many.
        seed: of all that is drawn; a record is the same whatever the number of others.
        size: height and width of a photo in pixels.
        inspections: of each machine, one after the other.
        missing: share of photos, of windows and of log entries that are not there.

    Raises:
        MissingExtraError: Pillow is not installed.
    """
    names = list(COLOURS)
    for number in range(records):
        own = np.random.default_rng([seed, 1, number // inspections])
        rng = np.random.default_rng([seed, 2, number])
        colour = names[int(own.integers(len(names)))]
        part, condition = CASES[int(own.integers(len(CASES)))]
        drive, load = _DRIVES[part], float(rng.uniform(0.4, 1.0))
        speed = drive.speed * float(rng.uniform(0.97, 1.03))
        there = rng.random(3) >= missing
        if there.sum() < 2:
            there[:] = True
        machine = f"M{number // inspections + 101}"
        faulty = condition != "sound"
        photo = photo_of(part, condition, colour, rng, size=size)
        vibration = _vibration(machine, part, condition, speed, load, rng)
        log = log_of(machine, part, condition, colour, rng)
        yield FactoryRecord(
            machine=machine,
            part=part,
            condition=condition,
            colour=colour,
            photo=photo if there[0] else None,
            vibration=vibration if there[1] else None,
            log=log if there[2] else None,
            speed=round(60 * speed, 1),
            load=round(load, 3),
            current=round(drive.current * (0.35 + 0.65 * load) + float(rng.normal(0, 0.2)), 2),
            temperature=round(38 + 22 * load + 7 * faulty + float(rng.normal(0, 2)), 1),
        )


def _vibration(
    machine: str, part: Part, condition: Condition, speed: float, load: float, rng: np.random.Generator
) -> Recording:
    drive = _DRIVES[part]
    made = RotatingMachine(
        name=machine,
        regimes=(Regime("only", drive.speed, 1.0),),
        rate=RATE,
        resonance=0.3 * RATE,
        teeth=drive.teeth,
    )
    cause = _FAULTS.get((part, condition))
    faults = [] if cause is None else [MachineFault(cause, 0.0, severity=float(rng.uniform(0.6, 1.2)))]
    since = np.arange(round(SECONDS * RATE)) / RATE
    samples = Vibration(made, faults, rng).draw(since, np.full(len(since), speed), np.full(len(since), load))
    return Recording(machine, FAST, EPOCH + since, samples.astype(np.float32))
