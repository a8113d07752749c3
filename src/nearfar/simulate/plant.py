"""A made plant at one sample a second: many days in seconds, for figures about false alarms.

Eight channels follow three hidden states that remember for a minute, ten minutes and two hours, each with noise of its own that
remembers a little, and a small daily cycle. Scores of such data are strongly correlated in time, as those of real machines are,
and healthy days differ, but not systematically unless `drift` says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from nearfar.simulate.disturbance import Disturbance, Disturbed
from nearfar.simulate.noise import Remembering
from nearfar.simulate.rotating_machine import EPOCH
from nearfar.sources.recording import Channel, Recording

DAY: Final = 86_400

CHANNELS: Final = (
    *(Channel("inlet temperature", "°C"), Channel("outlet temperature", "°C"), Channel("pressure", "bar")),
    *(Channel("flow", "l/min"), Channel("current", "A"), Channel("voltage", "V"), Channel("level", "%")),
    Channel("vibration", "mm/s"),
)

_CENTRE: Final = np.array([21.0, 58.0, 4.2, 118.0, 9.5, 230.0, 64.0, 1.8])
_SPREAD: Final = np.array([0.6, 1.2, 0.05, 1.5, 0.12, 0.9, 0.8, 0.07])
_HIDDEN: Final = (60.0, 600.0, 7200.0)
_OWN: Final = (20.0, 20.0, 2.0, 2.0, 1.0, 5.0, 60.0, 0.0)


@dataclass(frozen=True, slots=True)
class Upset:
    """A fault of the plant: some channels move away.

    Attributes:
        start: seconds after the beginning of the data.
        end: when it is over.
        channels: numbers of the channels that move.
        strength: how far, in spreads of a channel.
        growth: seconds until they are there.
    """

    start: float
    end: float
    channels: tuple[int, ...]
    strength: float = 3.0
    growth: float = 0.0


@dataclass(frozen=True, slots=True)
class Plant:
    """One plant.

    Attributes:
        name: for the column of machines.
        daily: amplitude of the daily cycle, in spreads of a channel.
        drift: how far all channels move a day, in their spreads; ageing that is no fault.
    """

    name: str = "plant"
    daily: float = 0.3
    drift: float = 0.0


def simulate_plant(
    plant: Plant,
    seconds: int,
    *,
    seed: int,
    upsets: Sequence[Upset] = (),
    disturbances: Sequence[Disturbance] = (),
    block: int = DAY // 4,
) -> Iterator[Recording]:
    """Make data of one plant, one sample a second.

    Args:
        plant: what it is. Plants of other seeds differ in how their channels depend on each other.
        seconds: how long.
        seed: the same seed gives the same data.
        upsets: faults; samples during one are labelled.
        disturbances: what goes wrong though the plant is well; they are not labelled.
        block: seconds of each recording, which bounds the memory.
    """
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((len(_HIDDEN), len(CHANNELS)))
    mixing /= np.linalg.norm(mixing, axis=0)
    phases = rng.uniform(0, 2 * np.pi, len(CHANNELS))
    directions = rng.choice([-1.0, 1.0], len(CHANNELS))
    hidden, own = Remembering(_HIDDEN, 1.0, rng), Remembering(_OWN, 1.0, rng)
    disturbed = Disturbed(disturbances, EPOCH)
    for start in range(0, seconds, block):
        since = start + np.arange(min(block, seconds - start), dtype=np.float64)
        scaled = np.sqrt(0.6) * hidden.draw(len(since)) @ mixing + np.sqrt(0.4) * own.draw(len(since))
        scaled += plant.daily * np.sin(2 * np.pi * since[:, None] / DAY + phases)
        scaled += plant.drift * directions * (since / DAY)[:, None]
        for upset in upsets:
            scaled[:, list(upset.channels)] += _moved(upset, since)[:, None]
        recording = Recording(
            machine=plant.name,
            channels=CHANNELS,
            times=EPOCH + since,
            values=(_CENTRE + _SPREAD * scaled).astype(np.float32),
            labels=sum((_during(upset, since) for upset in upsets), np.zeros(len(since), np.bool_)).astype(np.int8),
        )
        yield from disturbed.apply(recording)


def _during(upset: Upset, since: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    return (since >= upset.start) & (since < upset.end)


def _moved(upset: Upset, since: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """How far the channels of an upset are away, (n,)."""
    grown = np.clip((since - upset.start) / upset.growth, 0.0, 1.0) if upset.growth > 0 else 1.0
    return np.where(_during(upset, since), upset.strength * grown, 0.0)
