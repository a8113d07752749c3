"""Recordings of one machine, of whatever channels and rates, to frames: what `Grid` makes of them in the order of time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from nearfar.errors import DataError
from nearfar.frontend.grid import Frames, Grid
from nearfar.frontend.settings import SeriesSettings

_ROWS = 50_000  # of each recording at a time

Times = npt.NDArray[np.float64]


class Sensor(Protocol):
    """A channel of a recording."""

    @property
    def name(self) -> str:
        """As in the settings."""
        ...

    @property
    def unit(self) -> str:
        """Such as `°C`; may be empty."""
        ...


class Samples(Protocol):
    """What of a recording is needed to make frames: `nearfar.sources.recording.Recording` is one."""

    @property
    def machine(self) -> str:
        """Whose samples they are."""
        ...

    @property
    def channels(self) -> Sequence[Sensor]:
        """The c sensors."""
        ...

    @property
    def times(self) -> Times:
        """(n,) seconds, ascending."""
        ...

    @property
    def values(self) -> npt.NDArray[np.float32]:
        """(n, c), NaN where missing."""
        ...

    @property
    def labels(self) -> npt.NDArray[np.int8] | None:
        """(n,), 1 where a fault is known."""
        ...

    @property
    def regime(self) -> npt.NDArray[np.str_] | None:
        """(n,) names of operating points."""
        ...

    @property
    def location(self) -> str:
        """The file, for messages."""
        ...


def join(recordings: Sequence[Samples], settings: SeriesSettings) -> Frames:
    """Make the frames of one machine.

    Samples of all recordings are taken in the order of time, so the frames are those that a `Grid` on the device makes of a
    stream that is in order. Channels that the settings do not name are passed over.

    Args:
        recordings: of one machine; they may overlap in time.
        settings: of the frontend.

    Returns:
        k frames, the last one included although its time may not be over.

    Raises:
        DataError: a recording gives a channel in another unit than the settings.
    """
    grid = Grid(settings)
    numbers = {channel.name: number for number, channel in enumerate(settings.channels)}
    made = []
    for times, values, channels in _in_order([_chosen(recording, settings, numbers) for recording in recordings]):
        made.append(grid.push(times, values, channels))
        grid.notices.clear()
    made.append(grid.flush())
    return Frames(np.concatenate([m.times for m in made]), np.concatenate([m.values for m in made]))


def frame_labels(times: Times, recordings: Sequence[Samples], period: float) -> npt.NDArray[np.int8]:
    """Tell which frames hold a sample that is labelled as a fault.

    Args:
        times: (k,) when the frames begin, as `join` gives them.
        recordings: those that the frames were made of.
        period: of the frames, in seconds.

    Returns:
        int8 (k,), 1 or 0; all 0 where nothing is labelled.
    """
    faulty = np.zeros(len(times), np.int8)
    for recording in recordings:
        if recording.labels is not None and recording.labels.any():
            marked = recording.times[recording.labels != 0]
            rows = _rows(times, marked, period)
            faulty[rows[rows >= 0]] = 1
    return faulty


def frame_regimes(times: Times, recordings: Sequence[Samples], period: float) -> npt.NDArray[np.str_]:
    """Tell the operating point of each frame: that of its last sample which has one.

    Args:
        times: (k,) when the frames begin, as `join` gives them.
        recordings: those that the frames were made of.
        period: of the frames, in seconds.

    Returns:
        str (k,), empty where it is unknown.
    """
    known: dict[str, int] = {"": 0}
    codes = np.zeros(len(times), np.int64)
    for recording in recordings:
        if recording.regime is None or not len(recording.regime):
            continue
        found, inverse = np.unique(recording.regime, return_inverse=True)
        for name in found.tolist():
            known.setdefault(name, len(known))
        mapped = np.array([known[name] for name in found.tolist()])[inverse]
        rows = _rows(times, recording.times, period)
        kept = (rows >= 0) & (mapped > 0)
        codes[rows[kept]] = mapped[kept]  # the last of several assignments to one row stays
    return np.array(list(known))[codes]


def _rows(times: Times, samples: Times, period: float) -> npt.NDArray[np.int64]:
    """The frame of each sample as a row of `times`, or -1 where there is none."""
    if not len(times):
        return np.full(len(samples), -1)
    tolerance = min(1e-6, period / 100)
    rows = np.searchsorted(times, samples + tolerance, side="right") - 1
    inside = (rows >= 0) & (samples < times[np.maximum(rows, 0)] + period)
    return np.where(inside, rows, -1)


_Part = tuple[Times, npt.NDArray[np.float32], list[int]]


def _chosen(recording: Samples, settings: SeriesSettings, numbers: dict[str, int]) -> _Part:
    """The columns that the settings name."""
    columns = [column for column, channel in enumerate(recording.channels) if channel.name in numbers]
    for column in columns:
        channel = recording.channels[column]
        wanted = settings.channels[numbers[channel.name]].unit
        if channel.unit and wanted and channel.unit != wanted:
            raise DataError(
                f'{recording.location or "the recording"}: channel "{channel.name}" is in {channel.unit}, but {wanted} is '
                "expected: convert it, or give the channel another name"
            )
    values = recording.values if len(columns) == len(recording.channels) else recording.values[:, columns]
    return recording.times, values, [numbers[recording.channels[column].name] for column in columns]


def _in_order(parts: list[_Part]) -> Iterator[_Part]:
    """Yield the samples of all parts in the order of time, in blocks; rows of several parts have NaN for the others' channels."""
    parts = [part for part in parts if len(part[0]) and part[2]]
    at = [0] * len(parts)
    while any(position < len(part[0]) for position, part in zip(at, parts, strict=True)):
        nexts = [
            float(part[0][min(position + _ROWS, len(part[0]) - 1)])
            for position, part in zip(at, parts, strict=True)
            if position < len(part[0])
        ]
        until = min(nexts)
        cuts: list[_Part] = []
        for number, (times, values, channels) in enumerate(parts):
            end = int(np.searchsorted(times, until, side="right"))
            if end > at[number]:
                cuts.append((times[at[number] : end], values[at[number] : end], channels))
                at[number] = end
        yield cuts[0] if len(cuts) == 1 else _merged(cuts)


def _merged(cuts: list[_Part]) -> _Part:
    channels = sorted({channel for _, _, of in cuts for channel in of})
    place = {channel: column for column, channel in enumerate(channels)}
    times = np.concatenate([cut[0] for cut in cuts])
    values = np.full((len(times), len(channels)), np.nan, np.float32)
    row = 0
    for some_times, some_values, of in cuts:
        values[row : row + len(some_times), [place[channel] for channel in of]] = some_values
        row += len(some_times)
    order = np.argsort(times, kind="stable")
    return times[order], values[order], channels
