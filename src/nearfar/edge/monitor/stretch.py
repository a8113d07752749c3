"""Healthy data as it is fitted to: frames of one machine in a row."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class Stretch(NamedTuple):
    """Consecutive frames of one machine.

    Attributes:
        machine: whose.
        times: float64 (k,) seconds, ascending by one period.
        frames: float32 (k, F) in physical units, NaN where a value is missing.
    """

    machine: str
    times: npt.NDArray[np.float64]
    frames: npt.NDArray[np.float32]

    def part(self, start: int, stop: int) -> Stretch:
        """Frames from `start` to before `stop`."""
        return Stretch(self.machine, self.times[start:stop], self.frames[start:stop])


def in_stretches(
    machine: str, times: npt.NDArray[np.float64], frames: npt.NDArray[np.float32], period: float
) -> list[Stretch]:
    """Cut frames (k, F) where time does not go on by one period."""
    cuts = np.flatnonzero(np.abs(np.diff(times) - period) > period / 2) + 1
    bounds = [0, *cuts.tolist(), len(times)]
    return [Stretch(machine, times[a:b], frames[a:b]) for a, b in pairwise(bounds) if b > a]


def in_time(stretches: Sequence[Stretch], shares: Sequence[float], gap: int) -> tuple[list[Stretch], ...]:
    """Divide the data of each machine in the order of time.

    Args:
        stretches: in the order of time.
        shares: of the frames of each machine, adding up to 1.
        gap: frames that are left out between two parts, so that no window lies in both.

    Returns:
        The stretches of each part.
    """
    parts: tuple[list[Stretch], ...] = tuple([] for _ in shares)
    for machine in dict.fromkeys(stretch.machine for stretch in stretches):
        own = [stretch for stretch in stretches if stretch.machine == machine]
        total = sum(len(stretch.times) for stretch in own)
        bounds = np.concatenate([[0], np.rint(np.cumsum(shares) * total)]).astype(int)
        passed = 0
        for stretch in own:
            for number, part in enumerate(parts):
                begin = bounds[number] + (gap if number else 0) - passed
                end = bounds[number + 1] - passed
                piece = stretch.part(max(0, begin), max(0, min(len(stretch.times), end)))
                if len(piece.times):
                    part.append(piece)
            passed += len(stretch.times)
    return parts
