"""From healthy recordings to the settings of a `SeriesFrontend`: channels, rates, period, and what is normal of each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from nearfar.errors import DataError
from nearfar.frontend.join import Samples, frame_labels, join
from nearfar.frontend.settings import ChannelSettings, SeriesSettings
from nearfar.frontend.spectrum import log_bands

_SHAPES = 3  # rms, crest factor and kurtosis, beside the bands
_MAD_OF_NORMAL = 1.4826  # standard deviation over median absolute deviation of normal noise
_LEAST_OF_CONSTANT = 1e-3  # of the magnitude: see `_scale`
_LEAST_OF_MOVING = 1e-6
_NOTHING = 1e-30  # float32 has no room for scales that are far smaller
_GAP = 5.0  # times the median distance of samples is a gap, and says nothing of the rate
_NEVER_BY_CHANCE = 1e-8  # of runs of equal samples: at one sample a second once in three years
_COARSE = 0.5  # share of samples that repeat the one before
_DISTANCES = 100_000  # of samples of a recording, at most, that rates are estimated from
_RAW = 100.0  # Hz: where no channel is slower, frames are of `_RAW_PERIOD`
_RAW_PERIOD = 1.0


class FastOptions(Protocol):
    """How fast channels are described; `nearfar.recipe.series.FastChannels` is one."""

    @property
    def above(self) -> float:
        """A channel with more samples a frame is fast."""
        ...

    @property
    def bands(self) -> int:
        """Bands of the spectrum."""
        ...

    @property
    def lowest(self) -> float:
        """Lower end of the first band in Hz."""
        ...


class SeriesOptions(Protocol):
    """What a user may choose; `nearfar.recipe.series.SeriesFrontendSettings` is one."""

    @property
    def period(self) -> float | None:
        """Seconds from frame to frame."""
        ...

    @property
    def window(self) -> int:
        """Frames of a window."""
        ...

    @property
    def max_gap(self) -> float | None:
        """Seconds for which the last value is held."""
        ...

    @property
    def lateness(self) -> float:
        """Seconds that a frame is kept open."""
        ...

    @property
    def clip(self) -> float:
        """Spreads that scaled values are cut to."""
        ...

    @property
    def fast(self) -> FastOptions:
        """How fast channels are described."""
        ...


def fit_series(recordings: Sequence[Samples], options: SeriesOptions) -> SeriesSettings:
    """Find out what is normal.

    Samples that are labelled as faults are left out. Of all healthy frames of all machines together, each feature's centre is
    the median and its scale 1.4826 times the median absolute deviation (the standard deviation where more than half of the
    frames are equal). A feature that never changes gets a thousandth of its magnitude as scale (0.001 where that is 0): rounding
    is far less, and a change of 3 % reaches the usual clip of 30. One that changes gets at least a millionth, which is what
    float32 can tell.

    Without a chosen period frames are as far apart as samples of the slowest channel, to three digits; where all channels give
    more than 100 samples a second, one second.

    Args:
        recordings: healthy, of one machine or of several; gone through three times.
        options: period, window and the like.

    Returns:
        The settings, with the channels in the order in which they were first met.

    Raises:
        DataError: there is no recording, a channel has no value at all or comes in two units, a rate cannot be told, or no channel ever
            changes.
    """
    found = _channels(recordings)
    for channel in found.values():
        channel.measure()
    period = options.period if options.period is not None else _period([channel.step for channel in found.values()])
    bare = SeriesSettings(
        channels=tuple(_bare(channel, period, options.fast) for channel in found.values()),
        period=period,
        window=options.window,
        max_gap=options.max_gap if options.max_gap is not None else 5 * period,
        lateness=options.lateness,
        clip=options.clip,
    )
    return _described(bare, found, recordings)


def refit_series(recordings: Sequence[Samples], settings: SeriesSettings) -> SeriesSettings:
    """Find out what is normal of another machine with the same channels: for an encoder that has been trained.

    Args:
        recordings: healthy, of that machine.
        settings: channels, period, window and bands, which stay as they are.

    Returns:
        The settings with the centres, scales and healthy ranges of that machine.

    Raises:
        DataError: a channel is missing, has no value or comes in another unit, or no channel ever changes.
    """
    found = _channels(recordings)
    absent = [channel.name for channel in settings.channels if channel.name not in found]
    if absent:
        raise DataError(
            f"there is no channel {', '.join(absent)} in the data; it has {', '.join(found)}. What was trained needs all of: "
            f"{', '.join(channel.name for channel in settings.channels)}"
        )
    own = {channel.name: found[channel.name] for channel in settings.channels}
    for channel in own.values():
        channel.measure()
    return _described(settings, own, recordings)


def rescale(settings: SeriesSettings, frames: npt.NDArray[np.float32]) -> SeriesSettings:
    """The settings with centres and scales of other healthy frames (k, F): those of one machine of several.

    A feature without a value in any of them keeps what it has.
    """
    centre = [value for channel in settings.channels for value in channel.centre]
    scale = [value for channel in settings.channels for value in channel.scale]
    for number, column in enumerate(frames.T):
        values = column[np.isfinite(column)].astype(np.float64)
        if len(values):
            centre[number] = float(np.median(values))
            scale[number] = _scale(values, centre[number])
    channels, at = [], 0
    for channel in settings.channels:
        end = at + channel.features
        channels.append(channel.model_copy(update={"centre": tuple(centre[at:end]), "scale": tuple(scale[at:end])}))
        at = end
    return settings.model_copy(update={"channels": tuple(channels)})


def _described(bare: SeriesSettings, found: dict[str, _Found], recordings: Sequence[Samples]) -> SeriesSettings:
    """The settings with what is normal of each channel."""
    _check_changes([found[channel.name] for channel in bare.channels])
    centre, scale = _normal(_healthy_frames(recordings, bare), bare)
    channels, at = [], 0
    for settings in bare.channels:
        channel, end = found[settings.name], at + settings.features
        normal = {
            "centre": tuple(centre[at:end]),
            "scale": tuple(scale[at:end]),
            "lowest": channel.lowest,
            "highest": channel.highest,
            "longest_flat": channel.longest_flat(bare.max_gap),
        }
        channels.append(settings.model_copy(update=normal))
        at = end
    return bare.model_copy(update={"channels": tuple(channels)})


def _check_changes(channels: Sequence[_Found]) -> None:
    """Refuse data in which nothing happens: any value but these would be a fault."""
    if all(channel.lowest == channel.highest for channel in channels):
        some = ", ".join(f'"{channel.name}" is always {channel.lowest:g}' for channel in channels[:5])
        raise DataError(
            f"no channel of the healthy data ever changes ({some}{', ...' if len(channels) > 5 else ''}), so it says nothing of what is "
            "normal: did the machine run, and were the sensors read? Give data of its usual work"
        )


@dataclass
class _Found:
    """One channel over all recordings.

    Attributes:
        columns: recording and column.
        step: seconds from sample to sample, the median.
        rate: samples a second apart from gaps.
    """

    name: str
    unit: str = ""
    columns: list[tuple[Samples, int]] = field(default_factory=list)
    step: float = 0.0
    rate: float = 0.0
    lowest: float = 0.0
    highest: float = 0.0

    def measure(self) -> None:
        """Find step, rate and range."""
        steps, lows, highs = [], [], []
        for recording, column in self.columns:
            times, values = _healthy(recording, column)
            if len(values):
                lows.append(values.min())
                highs.append(values.max())
            distances = np.diff(times[:_DISTANCES])
            steps.append(distances[distances > 0])
        if not lows:
            raise DataError(
                f'channel "{self.name}" has no value in any of the {len(self.columns)} recordings (the first is '
                f"{self.columns[0][0].location or 'without a name'}): leave it out with `ignore`, or choose the channels"
            )
        together = np.concatenate(steps)
        if not len(together):
            raise DataError(f'channel "{self.name}" has a single sample in each recording: its rate cannot be told')
        self.step = float(np.median(together))
        self.rate = 1 / float(together[together < _GAP * self.step].mean())
        self.lowest, self.highest = float(min(lows)), float(max(highs))

    def longest_flat(self, max_gap: float) -> float:
        """Seconds for which equal samples, without a gap of more than `max_gap`, are nothing unusual.

        That is the longest run of the data, or what chance alone makes of its repeats where this is longer: short data, or data of
        many digits, may hold no repeat at all, and a sensor is not stuck because two of a million samples round to the same number.
        Of a coarse channel, which repeats itself more often than not, the data holds long runs, and they depend on more than chance.
        """
        longest, repeats, pairs = 0.0, 0, 0
        for recording, column in self.columns:
            times, values = _healthy(recording, column)
            if len(values) > 1:
                apart = np.diff(times) > max(max_gap, _GAP * self.step)
                equal = (np.diff(values) == 0) & ~apart
                repeats, pairs = repeats + int(equal.sum()), pairs + int((~apart).sum())
                ends = np.flatnonzero(~equal)
                begins = np.concatenate(([0], ends + 1))
                ends = np.concatenate((ends, [len(values) - 1]))
                longest = max(longest, float((times[ends] - times[begins]).max()))
        chance = (repeats + 1) / (pairs + 2)
        if chance > _COARSE:
            return longest
        by_chance = math.ceil(math.log(_NEVER_BY_CHANCE) / math.log(chance))
        return max(longest, (by_chance + 0.5) * self.step)


def _channels(recordings: Iterable[Samples]) -> dict[str, _Found]:
    found: dict[str, _Found] = {}
    for recording in recordings:
        for column, channel in enumerate(recording.channels):
            entry = found.setdefault(channel.name, _Found(channel.name))
            if entry.unit and channel.unit and entry.unit != channel.unit:
                raise DataError(
                    f'channel "{channel.name}" is in {channel.unit} in {recording.location or "a recording"}, but in '
                    f"{entry.unit} before: convert one, or give it another name"
                )
            entry.unit = entry.unit or channel.unit
            entry.columns.append((recording, column))
    if not found:
        raise DataError("there is no recording to learn from")
    return found


def _healthy(recording: Samples, column: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]:
    """Times and finite values of a channel where no fault is known."""
    values = recording.values[:, column]
    kept = np.isfinite(values)
    if recording.labels is not None:
        kept &= recording.labels == 0
    return recording.times[kept], values[kept]


def _period(steps: list[float]) -> float:
    slowest = max(steps)
    return _RAW_PERIOD if slowest < 1 / _RAW else float(f"{slowest:.3g}")


def _bare(channel: _Found, period: float, fast: FastOptions) -> ChannelSettings:
    """The channel before anything of it is known to be normal."""
    rate: float | None = float(f"{channel.rate:.6g}")
    bands: tuple[tuple[float, float], ...] = ()
    features = 1
    if rate is not None and rate * period > fast.above:
        bands = log_bands(fast.lowest, rate, fast.bands, int(rate * period))
        features = _SHAPES + len(bands)
    else:
        rate = None
    return ChannelSettings(
        name=channel.name, unit=channel.unit, rate=rate, bands=bands, centre=(0.0,) * features, scale=(1.0,) * features
    )


def _healthy_frames(recordings: Sequence[Samples], settings: SeriesSettings) -> npt.NDArray[np.float32]:
    parts = []
    machines: dict[str, list[Samples]] = {}
    for recording in recordings:
        machines.setdefault(recording.machine, []).append(recording)
    for of_machine in machines.values():
        frames = join(of_machine, settings)
        parts.append(frames.values[frame_labels(frames.times, of_machine, settings) == 0])
    return np.concatenate(parts)


def _normal(frames: npt.NDArray[np.float32], settings: SeriesSettings) -> tuple[list[float], list[float]]:
    centres, scales = [], []
    for name, column in zip(settings.feature_names, frames.T, strict=True):
        values = column[np.isfinite(column)].astype(np.float64)
        if not len(values):
            raise DataError(
                f'"{name}" has no value in any frame of {settings.period:g} s: too few of its samples come together. Choose '
                "a longer period, or leave the channel out"
            )
        centre = float(np.median(values))
        centres.append(centre)
        scales.append(_scale(values, centre))
    return centres, scales


def _scale(values: npt.NDArray[np.float64], centre: float) -> float:
    """Healthy spread of a feature (k,) about its median, and never so small that rounding would look like a change."""
    magnitude = float(np.abs(values).max())
    if magnitude < _NOTHING:
        return _LEAST_OF_CONSTANT
    if float(values.max() - values.min()) <= _LEAST_OF_MOVING * magnitude:
        return _LEAST_OF_CONSTANT * magnitude
    spread = _MAD_OF_NORMAL * float(np.median(np.abs(values - centre)))
    if spread <= _LEAST_OF_MOVING * magnitude:
        spread = float(values.std())
    return max(spread, _LEAST_OF_MOVING * magnitude)
