"""Rolling bearings: how often a defect is rolled over, and what that sounds like."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

BearingPart = Literal["outer race", "inner race", "ball", "cage"]

_SLIP = 0.01  # of a passage, its standard deviation: balls do not roll without slipping (Randall and Antoni, 2011)
_SCATTER = 0.15  # of the strength of single impacts


@dataclass(frozen=True, slots=True)
class Bearing:
    """Geometry of a ball bearing with a turning inner and a standing outer ring; by default a 6205.

    Attributes:
        balls: how many.
        ball: diameter of a ball in mm.
        pitch: diameter of the circle of their centres in mm.
        contact: contact angle in degrees.
    """

    balls: int = 9
    ball: float = 7.94
    pitch: float = 39.04
    contact: float = 0.0

    def order(self, part: BearingPart) -> float:
        """Impacts per turn of the shaft of a defect on a part.

        With r = ball / pitch * cos(contact): cage FTF = (1 - r) / 2, outer race BPFO = balls * FTF, inner race BPFI = balls *
        (1 + r) / 2, and a ball meets both races in a turn of its own, twice BSF = (1 - r^2) * pitch / (2 ball).

        Source: Randall and Antoni, Rolling element bearing diagnostics - a tutorial, 2011, equations 1 to 4.
        """
        ratio = self.ball / self.pitch * math.cos(math.radians(self.contact))
        match part:
            case "cage":
                return (1 - ratio) / 2
            case "outer race":
                return self.balls * (1 - ratio) / 2
            case "inner race":
                return self.balls * (1 + ratio) / 2
            case "ball":
                return self.pitch / self.ball * (1 - ratio**2)


class Impacts:
    """A defect of a bearing that is rolled over: impacts that set the housing ringing.

    Every impact excites a resonance that decays, `exp(-damping * w * t) * sin(w * sqrt(1 - damping^2) * t)`. A defect of the inner
    race passes through the load zone once a turn of the shaft, one of a ball once a turn of the cage; that of the outer race
    lies in the load zone all the time.

    Args:
        bearing: its geometry.
        part: where the defect is.
        rate: samples a second.
        resonance: of the housing, in Hz.
        damping: ratio of the resonance.
        rng: where randomness comes from.
    """

    def __init__(
        self,
        bearing: Bearing,
        part: BearingPart,
        *,
        rate: float,
        resonance: float,
        damping: float,
        rng: np.random.Generator,
    ) -> None:
        self._part = part
        self._order, self._cage = bearing.order(part), bearing.order("cage")
        self._rng = rng
        turn = 2 * math.pi * resonance
        times = np.arange(int(6 / (damping * turn) * rate) + 1) / rate
        self._ringing = np.exp(-damping * turn * times) * np.sin(turn * math.sqrt(1 - damping**2) * times)
        self._rest = np.zeros(len(times) - 1)

    def draw(self, turns: npt.NDArray[np.float64], strength: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The acceleration of the next samples.

        Args:
            turns: (n,) angle of the shaft in turns, ascending; each call continues where the last one ended.
            strength: (n,) of an impact at the time, in m/s^2.

        Returns:
            (n,) in m/s^2.
        """
        n = len(turns)
        passages = np.arange(math.ceil(turns[0] * self._order), math.floor(turns[-1] * self._order) + 1)
        slipped = (passages + _SLIP * self._rng.standard_normal(len(passages))) / self._order
        at = np.clip(np.interp(slipped, turns, np.arange(n)), 0, n - 1)
        before = at.astype(np.int64)
        height = strength[before] * self._zone(slipped) * (1 + _SCATTER * self._rng.standard_normal(len(passages)))
        impulses = np.zeros(n)
        # An impact between two samples is shared out, so that the rate of sampling does not beat with the bearing.
        np.add.at(impulses, before, height * (1 - (at - before)))
        np.add.at(impulses, np.minimum(before + 1, n - 1), height * (at - before))
        ringing = np.convolve(impulses, self._ringing)
        ringing[: len(self._rest)] += self._rest
        self._rest = ringing[n:]
        return np.asarray(ringing[:n])

    def _zone(self, turns: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """How much load a defect carries when it is rolled over, from 0 to 1."""
        if self._part == "outer race":
            return np.ones(len(turns))
        around = turns if self._part == "inner race" else turns * self._cage
        return 0.2 + 0.8 * np.maximum(0.0, np.cos(2 * np.pi * around))
