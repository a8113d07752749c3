"""What a reader of sensor data yields: samples of some channels of one machine, in the order of time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from nearfar.sources.document import ReadReport


class Channel(NamedTuple):
    """One sensor.

    Attributes:
        name: as in the data, without its unit.
        unit: such as `°C`; empty where nobody said.
    """

    name: str
    unit: str = ""


@dataclass(frozen=True)
class Recording:
    """Samples that were taken together, at times that ascend but need not be even.

    Channels of other rates of the same machine are recordings of their own with the same `machine`.

    Attributes:
        machine: whose they are; empty where the data is of one.
        channels: c sensors.
        times: float64 (n,), seconds since 1970-01-01 UTC, ascending; seconds since the first sample where the data has no clock.
        values: float32 (n, c), NaN where a value is missing.
        labels: int8 (n,), 1 where somebody marked a fault, else 0; None without labels.
        regime: (n,) operating points by name, as text; None where they are unknown.
        location: the file, for messages.
    """

    machine: str
    channels: tuple[Channel, ...]
    times: npt.NDArray[np.float64]
    values: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int8] | None = None
    regime: npt.NDArray[np.str_] | None = None
    location: str = ""


class RecordingSource(Protocol):
    """A place that recordings come from."""

    @property
    def report(self) -> ReadReport:
        """What was passed over, and why, as far as it has been read."""
        ...

    def recordings(self) -> Iterator[Recording]:
        """Yield the recordings in a fixed order; a second call starts again from the first."""
        ...
