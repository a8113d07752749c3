"""Stored sensor data as the recipe of a bundle has read it, unless something else is said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from nearfar.bundle.bundle import Bundle
from nearfar.edge.monitor.recipe_source import recipe_source
from nearfar.errors import BundleError, DataError
from nearfar.sources.recording import Recording
from nearfar.sources.series import SeriesReader, open_series
from nearfar.sources.series_columns import SeriesColumns
from nearfar.sources.series_table import SeriesReport

MACHINES = ("one", "file", "folder")


@dataclass(frozen=True, slots=True)
class Reading:
    """How to read a table of samples; what is None or empty is as in the recipe.

    Attributes:
        time: column with times.
        machine_column: column that says which machine a row is of.
        channel: of a long table, the column with the name of the channel.
        value: of a long table, the column with the value.
        label: column that is not 0 where a fault is known. It is never taken from the recipe, as new data may have none; a column
            that is named `label` or `anomaly` needs no naming.
        machines: `one`, `file` or `folder`: where there is no such column.
        rate: samples a second of data without times.
        timezone: of times that name none.
    """

    time: str | None = None
    machine_column: str | None = None
    channel: str | None = None
    value: str | None = None
    label: str | None = None
    machines: str | None = None
    rate: float | None = None
    timezone: str | None = None


def open_stored(bundle: Bundle, path: Path, reading: Reading, *, only: str | None = None) -> StoredSeries:
    """Open files with samples.

    Args:
        bundle: of kind `series-monitor`.
        path: a file, or a folder of them.
        reading: what differs from the recipe.
        only: the machine whose recordings are wanted.

    Raises:
        BundleError: the bundle is no monitor.
        DataError: the path cannot be read.
    """
    if bundle.manifest.frontend.kind != "series":
        raise BundleError(
            f"{bundle.path}: this bundle (kind {bundle.manifest.kind}) watches no sensors: give one that was trained from a recipe with "
            "frontend.kind series"
        )
    machines = reading.machines
    if machines is not None and machines not in MACHINES:
        raise DataError(f"there is no way {machines!r} to tell machines apart: choose one of {', '.join(MACHINES)}")
    source = recipe_source(bundle)
    columns: Mapping[str, Any] = source.get("columns") or {}
    series = open_series(
        path,
        columns=SeriesColumns(
            time=reading.time or columns.get("time"),
            machine=reading.machine_column or columns.get("machine"),
            channel=reading.channel or columns.get("channel"),
            value=reading.value or columns.get("value"),
            unit=columns.get("unit"),
            label=reading.label,
            ignore=tuple(columns.get("ignore") or ()),
        ),
        machine=cast("Literal['one', 'file', 'folder']", machines or source.get("machine") or "one"),
        units=source.get("units") or {},
        rate=reading.rate or source.get("rate"),
        timezone=reading.timezone or source.get("timezone") or "UTC",
    )
    return StoredSeries(series, only)


class StoredSeries:
    """Recordings of all machines, or of one.

    Args:
        series: all of them.
        only: the name of the one; None for all.
    """

    def __init__(self, series: SeriesReader, only: str | None) -> None:
        self._series, self._only = series, only

    @property
    def report(self) -> SeriesReport:
        """What was passed over."""
        return self._series.report

    def recordings(self) -> Iterator[Recording]:
        """Yield the recordings.

        Raises:
            DataError: a file cannot be read, or there is no such machine.
        """
        seen: set[str] = set()
        for recording in self._series.recordings():
            seen.add(recording.machine)
            if self._only is None or recording.machine == self._only:
                yield recording
        if self._only is not None and self._only not in seen:
            raise DataError(f"there is no machine {self._only!r} in this data; there are {', '.join(sorted(seen))}")
