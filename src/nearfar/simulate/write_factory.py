"""A made factory as files: photos, windows of vibration, and a table that says what belongs together."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from nearfar.errors import DataError, MissingExtraError
from nearfar.progress import Tick
from nearfar.simulate.factory import FactoryRecord
from nearfar.simulate.rotating_machine import EPOCH
from nearfar.sources.recording import Recording

COLUMNS: Final = (
    *("machine", "photo", "vibration", "log", "log_de"),
    *("speed_rpm", "load", "current_a", "temperature_c", "label"),
)


def write_factory(records: Iterable[FactoryRecord], folder: Path, tick: Tick | None = None) -> Path:
    """Write `photos/*.png`, `vibration/*.csv` and `inspections.csv`, a row an inspection; what is missing is an empty cell.

    Args:
        records: one in memory at a time.
        folder: where to; it is made if it does not exist.
        tick: told of every record.

    Returns:
        The table.

    Raises:
        DataError: the folder or a file cannot be written.
        MissingExtraError: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError("images", "writing pictures") from error
    path = folder / "inspections.csv"
    try:
        for name in ("photos", "vibration"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(COLUMNS)
            for number, record in enumerate(records):
                photo = vibration = ""
                if record.photo is not None:
                    photo = f"photos/{number:05}.png"
                    Image.fromarray(record.photo).save(folder / photo)
                if record.vibration is not None:
                    vibration = f"vibration/{number:05}.csv"
                    _write_window(record.vibration, folder / vibration)
                rows.writerow(
                    (
                        *(record.machine, photo, vibration, *(record.log or ("", ""))),
                        *(record.speed, record.load, record.current, record.temperature, record.label),
                    )
                )
                if tick is not None:
                    tick(1)
    except OSError as error:
        raise DataError(
            f"{error.filename or folder}: cannot be written ({error.strerror}): choose another folder"
        ) from error
    return path


def _write_window(recording: Recording, path: Path) -> None:
    """Samples with seconds from the first one, so that a window is the same whenever it was taken."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("time [s]", *(f"{channel.name} [{channel.unit}]" for channel in recording.channels)))
        for time, values in zip((recording.times - EPOCH).tolist(), recording.values.tolist(), strict=True):
            rows.writerow((f"{time:g}", *(f"{value:.4g}" for value in values)))
