"""Recordings as CSV files, as a data logger would have written them."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from contextlib import ExitStack
from io import TextIOWrapper
from pathlib import Path

import numpy as np

from nearfar.errors import DataError
from nearfar.sources.recording import Channel, Recording


def write_csv(recordings: Iterable[Recording], folder: Path) -> tuple[Path, ...]:
    """Write recordings, one file for each machine and set of channels.

    Columns are `time` (UTC, ISO 8601 with microseconds), `name [unit]` of each channel, and `label` and `regime` where the
    recordings have them. A missing value is an empty field.

    Args:
        recordings: in the order of time; only one is held in memory.
        folder: where to; it is made if it does not exist.

    Returns:
        The files, in the order in which they were begun.

    Raises:
        DataError: the folder or a file cannot be written.
    """
    files: dict[tuple[str, tuple[Channel, ...]], tuple[Path, TextIOWrapper]] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            for recording in recordings:
                key = (recording.machine, recording.channels)
                if key not in files:
                    name = recording.machine or "machine"
                    taken = sum(machine == recording.machine for machine, _ in files)
                    path = folder / (f"{name}-{taken + 1}.csv" if taken else f"{name}.csv")
                    files[key] = path, stack.enter_context(path.open("w", encoding="utf-8", newline=""))
                    csv.writer(files[key][1]).writerow(_header(recording))
                _write_rows(recording, files[key][1])
    except OSError as error:
        raise DataError(
            f"{error.filename or folder}: cannot be written ({error.strerror}): choose another folder"
        ) from error
    return tuple(path for path, _ in files.values())


def _header(recording: Recording) -> list[str]:
    columns = [f"{channel.name} [{channel.unit}]" if channel.unit else channel.name for channel in recording.channels]
    marks = [
        name for name in ("label", "regime") if getattr(recording, "labels" if name == "label" else name) is not None
    ]
    return ["time", *columns, *marks]


def _write_rows(recording: Recording, file: TextIOWrapper) -> None:
    # To the nearest microsecond: float64 holds times of today to a quarter of one, and truncation would show.
    moments = np.rint(recording.times * 1e6).astype("datetime64[us]")
    columns: list[list[str]] = [[f"{moment}Z" for moment in np.datetime_as_string(moments)]]
    for values in recording.values.T:
        columns.append(["" if value != value else f"{value:.7g}" for value in values.tolist()])
    if recording.labels is not None:
        columns.append([str(label) for label in recording.labels.tolist()])
    if recording.regime is not None:
        columns.append(recording.regime.tolist())
    csv.writer(file).writerows(zip(*columns, strict=True))
