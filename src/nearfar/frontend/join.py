"""Recordings of one machine, of whatever channels and rates, to frames: what `Grid` makes of them in the order of time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from nearfar.errors import DataError
from nearfar.frontend.grid import Frames, Grid
from nearfar.frontend.settings import SeriesSettings

_ROWS = 50_000  # of each recording at a time
_CLOCK = 1e-6  # seconds; float64 does not hold times since 1970 more exactly

Times = npt.NDArray[np.float64]


class Part(NamedTuple):
    """Samples that follow each other.

    Attributes:
        times: float64 (n,) seconds, ascending.
        values: float32 (n, c), NaN where one of the channels has no sample at that time.
        channels: numbers of the c channels in the settings.
    """

    times: Times
    values: npt.NDArray[np.float32]
    channels: list[int]


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
    made = []
    for times, values, channels in in_order(recordings, settings):
        made.append(grid.push(times, values, channels))
        grid.notices.clear()
    made.append(grid.flush())
    return Frames(np.concatenate([m.times for m in made]), np.concatenate([m.values for m in made]))


def in_order(recordings: Sequence[Samples], settings: SeriesSettings) -> Iterator[Part]:
    """Yield the samples of one machine in the order of time, block by block, whatever recordings they are in.

    Args:
        recordings: of one machine; those of other rates may lie beside each other in time.
        settings: of the frontend; channels that they do not name are passed over.

    Raises:
        DataError: a recording gives a channel in another unit than the settings.
    """
    numbers = {channel.name: number for number, channel in enumerate(settings.channels)}
    parts = [_chosen(recording, settings, numbers) for recording in recordings]
    parts = [part for part in parts if len(part.times) and part.channels]
    at = [0] * len(parts)
    while any(position < len(part.times) for position, part in zip(at, parts, strict=True)):
        until = min(
            float(part.times[min(position + _ROWS, len(part.times) - 1)])
            for position, part in zip(at, parts, strict=True)
            if position < len(part.times)
        )
        cuts: list[Part] = []
        for number, (times, values, channels) in enumerate(parts):
            end = int(np.searchsorted(times, until, side="right"))
            if end > at[number]:
                cuts.append(Part(times[at[number] : end], values[at[number] : end], channels))
                at[number] = end
        yield cuts[0] if len(cuts) == 1 else _merged(cuts)


def frame_labels(times: Times, recordings: Sequence[Samples], settings: SeriesSettings) -> npt.NDArray[np.int8]:
    """Tell which frames belong to a labelled fault.

    These are the frames with a sample that is labelled. A frame without samples follows the labels around it: between two
    faulty samples it is faulty however long nothing came, or every second that a logger has missed would cut a fault in two;
    after a faulty sample it is so for `max_gap`, because until then its values are those of that sample.

    Recordings of the same channels follow each other in time, as the files of a logger do. Those of other channels are judged
    on their own, so that a slow one may be faulty between two samples of a fast one that is not.

    Args:
        times: (k,) when the frames begin, as `join` gives them.
        recordings: those that the frames were made of; one without labels says nothing.
        settings: that the frames were made with.

    Returns:
        int8 (k,), 1 or 0; all 0 where nothing is labelled.
    """
    faulty = np.zeros(len(times), np.bool_)
    loggers: dict[tuple[str, ...], list[tuple[Times, npt.NDArray[np.bool_]]]] = {}
    for recording in recordings:
        if recording.labels is not None:
            names = tuple(channel.name for channel in recording.channels)
            loggers.setdefault(names, []).append((recording.times, recording.labels != 0))
    for parts in loggers.values():
        sampled, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        if labels.any():
            order = np.argsort(sampled, kind="stable")
            faulty |= _faulty(times, sampled[order], labels[order], settings)
    return faulty.astype(np.int8)


def _faulty(
    times: Times, sampled: Times, labels: npt.NDArray[np.bool_], settings: SeriesSettings
) -> npt.NDArray[np.bool_]:
    """Which frames are faulty by the labels (n,) of one logger's samples, at times (n,) that ascend."""
    tolerance = min(_CLOCK, settings.period / 100)
    first, after = (
        np.searchsorted(sampled, edges - tolerance, side="left") for edges in (times, times + settings.period)
    )
    count = np.concatenate(([0], np.cumsum(labels)))
    before = np.maximum(first - 1, 0)
    held = times <= sampled[before] + settings.max_gap + tolerance
    goes_on = labels[np.minimum(after, len(labels) - 1)] & (after < len(labels))
    between = (first == after) & (first > 0) & labels[before] & (held | goes_on)
    return np.asarray((count[after] > count[first]) | between, np.bool_)


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
    tolerance = min(_CLOCK, period / 100)
    rows = np.searchsorted(times, samples + tolerance, side="right") - 1
    inside = (rows >= 0) & (samples < times[np.maximum(rows, 0)] + period)
    return np.where(inside, rows, -1)


def _chosen(recording: Samples, settings: SeriesSettings, numbers: dict[str, int]) -> Part:
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
    return Part(recording.times, values, [numbers[recording.channels[column].name] for column in columns])


def _merged(cuts: list[Part]) -> Part:
    """Samples of several recordings as one block; rows of one have NaN for the channels of the others."""
    channels = sorted({channel for cut in cuts for channel in cut.channels})
    place = {channel: column for column, channel in enumerate(channels)}
    times = np.concatenate([cut.times for cut in cuts])
    values = np.full((len(times), len(channels)), np.nan, np.float32)
    row = 0
    for some_times, some_values, of in cuts:
        values[row : row + len(some_times), [place[channel] for channel in of]] = some_values
        row += len(some_times)
    order = np.argsort(times, kind="stable")
    return Part(times[order], values[order], channels)
