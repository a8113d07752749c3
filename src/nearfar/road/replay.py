"""Stored streams through the monitor that ships, as if they came now."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from nearfar.bundle.bundle import Bundle
from nearfar.edge.monitor.detector import Detector
from nearfar.edge.monitor.events import Event
from nearfar.edge.monitor.monitor import Monitor
from nearfar.errors import DataError
from nearfar.frontend.join import frame_labels, in_order
from nearfar.frontend.settings import SeriesSettings
from nearfar.progress import Stages, silent
from nearfar.road.trace import Flags, Times, Trace
from nearfar.sources.recording import Recording


def replay(
    bundle: str | Path | Bundle,
    recordings: Iterable[Recording],
    *,
    threshold: float | None = None,
    stages: Stages = silent,
) -> list[Trace]:
    """Put recordings through a monitor, each machine through one of its own.

    Args:
        bundle: a directory, or a bundle that is already open; of kind `series-monitor`.
        recordings: of one machine or of many; those of a machine are joined in the order of time.
        threshold: in place of that of the bundle.
        stages: told how far it is.

    Returns:
        A trace for each machine, in the order of the first recording of each.

    Raises:
        BundleError: the bundle is no monitor.
        DataError: a recording has none of its channels, or is too short to make one frame.
    """
    detector = Detector.open(bundle)
    machines: dict[str, list[Recording]] = {}
    for recording in recordings:
        machines.setdefault(recording.machine, []).append(recording)
    total = sum(len(recording.times) for some in machines.values() for recording in some)
    tick = stages("replaying", total)
    traces = []
    for name, some in machines.items():
        traces.append(_replayed(detector, name, some, threshold))
        tick(sum(len(recording.times) for recording in some), name)
    return traces


def _replayed(detector: Detector, machine: str, recordings: Sequence[Recording], threshold: float | None) -> Trace:
    monitor, settings = Monitor(detector, threshold=threshold), detector.settings
    _check_channels(recordings, monitor.channels)
    parts = [monitor.trace(part.values, part.times, part.channels) for part in in_order(recordings, settings)]
    parts.append(monitor.flush())
    times = np.concatenate([part.times for part in parts])
    if not len(times):
        where = recordings[0].location or machine
        raise DataError(f"{where}: not one frame of {settings.period:g} seconds in it: give more data")
    events: list[Event] = [event for part in parts for event in part.events]
    return Trace(
        machine=machine,
        settings=settings,
        threshold=monitor.threshold,
        times=times,
        frames=np.concatenate([part.values for part in parts]),
        scores=np.concatenate([part.scores for part in parts]),
        alarmed=np.concatenate([part.alarmed for part in parts]),
        labels=_labels(recordings, times, settings),
        events=tuple(events),
    )


def _labels(recordings: Sequence[Recording], times: Times, settings: SeriesSettings) -> Flags | None:
    """Which frames belong to a fault; None where no recording has labels."""
    if all(recording.labels is None for recording in recordings):
        return None
    return frame_labels(times, recordings, settings).astype(np.bool_)


def _check_channels(recordings: Sequence[Recording], channels: Sequence[str]) -> None:
    """Refuse a recording that the monitor could make nothing of."""
    for recording in recordings:
        names = [channel.name for channel in recording.channels]
        if not set(names) & set(channels):
            raise DataError(
                f"{recording.location or recording.machine}: no column is a channel of the bundle. "
                f"Columns: {', '.join(names)}. Channels: {', '.join(channels)}"
            )


def missing_channels(recordings: Sequence[Recording], channels: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Channels that a monitor expects and a machine does not have in any of its recordings, by machine; empty where all are there.

    Args:
        recordings: of any machines.
        channels: what the monitor knows, in its order.
    """
    present: dict[str, set[str]] = {}
    for recording in recordings:
        present.setdefault(recording.machine, set()).update(channel.name for channel in recording.channels)
    lacking = {machine: tuple(name for name in channels if name not in names) for machine, names in present.items()}
    return {machine: names for machine, names in lacking.items() if names}
