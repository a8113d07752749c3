"""One file of samples as an item: the windows of its frames, the same in training and on the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nearfar.frontend.item_error import ItemError
from nearfar.frontend.join import Samples, Sensor, Times, join
from nearfar.frontend.settings import SeriesSettings

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

LEAST_PRESENT = 0.5
"""Share of its values that a window must have; the monitor scores no others either."""


class WindowError(ItemError):
    """One file of samples cannot be used; who reads many may count by `reason` and go on."""


@dataclass(frozen=True)
class FileSamples:
    """Samples of a file, as `frontend.join.Samples` has them."""

    machine: str
    channels: Sequence[Sensor]
    times: Times
    values: Floats
    location: str = ""
    labels: npt.NDArray[np.int8] | None = None
    regime: npt.NDArray[np.str_] | None = None


def window_of(recordings: Sequence[Samples], settings: SeriesSettings) -> Floats:
    """The window that stands for a file: what the device embeds of it, as `Encoder.embed` takes it.

    It is the last that has enough values. Who wants more of a long file gives `frontend.window` more frames, or cuts the file.

    Args:
        recordings: of the file, as `nearfar.sources.series.open_series(path).recordings()` gives them.
        settings: of the frontend.

    Returns:
        float32 (T, F) in physical units, NaN where missing.

    Raises:
        WindowError: the file has no value of the settings' channels, or is of several machines.
        DataError: it gives a channel in another unit than the settings.
    """
    frames = frames_of(recordings, settings)
    end = int(window_ends(frames, settings.window)[-1])
    return frames[end - settings.window : end]


def frames_of(recordings: Sequence[Samples], settings: SeriesSettings) -> Floats:
    """The frames of a file. What is shorter than a window begins with frames in which all is missing, so that its end is where
    encoders expect now.

    Args:
        recordings: of the file.
        settings: of the frontend.

    Returns:
        float32 (m, F), m of T or more, in physical units, NaN where missing.

    Raises:
        WindowError: the file has no value of the settings' channels, or is of several machines.
        DataError: it gives a channel in another unit than the settings.
    """
    frames = join(from_zero(recordings), settings).values
    if not np.isfinite(frames).any():
        named = [channel.name for recording in recordings for channel in recording.channels]
        wanted = [channel.name for channel in settings.channels]
        if set(named) & set(wanted):
            raise WindowError(
                "too few values", f"of {_some(wanted)} there is not enough for one frame of {settings.period:g} s"
            )
        raise WindowError("no value of a known channel", f"it has {_some(named)}; known are {_some(wanted)}")
    if len(frames) < settings.window:
        before = np.full((settings.window - len(frames), settings.features), np.nan, np.float32)
        frames = np.concatenate([before, frames])
    return frames


def window_ends(frames: Floats, window: int) -> Ints:
    """Where the windows that have enough values end; of a file without one, where the last of those that have most does.

    Args:
        frames: (m, F), m of `window` or more, NaN where missing.
        window: T, frames of a window.

    Returns:
        (k,) ascending, k of 1 or more: the frame after the last one of each.
    """
    there = np.concatenate([[0], np.cumsum(np.isfinite(frames).sum(axis=1))])
    values = there[window:] - there[:-window]
    enough = np.flatnonzero(values >= LEAST_PRESENT * window * frames.shape[1])
    return (enough if len(enough) else np.flatnonzero(values == values.max())[-1:]) + window


def from_zero(recordings: Sequence[Samples]) -> list[FileSamples]:
    """The recordings of a file on a clock that begins at its first sample. Frames are cut at multiples of the period: those of the
    same samples a moment later would otherwise be others.

    What is labelled as a fault stays: it is what a file may be found by.

    Raises:
        WindowError: the file holds no values, or is of several machines.
    """
    filled = [recording for recording in recordings if np.isfinite(recording.values).any()]
    if not filled:
        raise WindowError("holds no values")
    machines = len({recording.machine for recording in filled})
    if machines > 1:
        raise WindowError("samples of several machines", f"{machines}: give each a file of its own")
    first = min(float(recording.times[0]) for recording in filled)
    return [FileSamples(r.machine, r.channels, r.times - first, r.values, r.location) for r in filled]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
