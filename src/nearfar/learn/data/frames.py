"""The sensor data of a run on disk: the frames of each machine in files of their own, split in time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nearfar.errors import DataError
from nearfar.frontend.fit_series import fit_series, rescale
from nearfar.frontend.join import frame_labels, frame_regimes, join
from nearfar.frontend.series import SeriesFrontend
from nearfar.frontend.settings import SeriesSettings
from nearfar.learn.data.split import DROPPED, TEST, TRAIN, VALIDATION
from nearfar.learn.data.whole import write_whole
from nearfar.recipe.data import Data, Split
from nearfar.recipe.series import SeriesFrontendSettings, SeriesSource
from nearfar.sources.document import ReadReport
from nearfar.sources.recording import Recording
from nearfar.sources.series import open_series

Floats = npt.NDArray[np.float32]
Times = npt.NDArray[np.float64]

_ARRAYS = ("frames", "times", "labels", "regimes", "side")


@dataclass(frozen=True)
class SeriesCounts:
    """What the corpus holds; frames, where nothing else is said."""

    machines: list[str]
    regimes: list[str]
    frames: int
    train: int
    validation: int
    test: int
    dropped: int
    """Between two sides, so that no window of one side is the neighbour of one of another."""
    faulty: int
    """Labelled as faults; of those that would train, nothing is learned."""
    missing: float
    """Share of the values."""
    labelled: bool
    """Whether the data says of each sample whether there was a fault."""
    fingerprint: str
    passed_over: dict[str, str] = field(default_factory=dict)
    """Columns that are not read -> why."""
    recognised: dict[str, str] = field(default_factory=dict)
    """Columns that were taken by their name as what nobody said they were -> `label` or `regime`."""
    skipped: dict[str, int] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)


class MachineFrames(NamedTuple):
    """k frames of one machine, in the order in which they were closed.

    Attributes:
        name: of the machine; empty where the data is of one.
        frames: (k, F) in physical units, NaN where missing; memory-mapped.
        times: (k,) seconds, when each begins.
        labels: (k,) int8, 1 where a sample of it is labelled as a fault.
        regimes: (k,) int32, places in `counts.regimes`; -1 where nobody said.
        side: (k,) int8 of TRAIN, VALIDATION, TEST and DROPPED.
    """

    name: str
    frames: Floats
    times: Times
    labels: npt.NDArray[np.int8]
    regimes: npt.NDArray[np.int32]
    side: npt.NDArray[np.int8]


@dataclass(frozen=True)
class SeriesCorpus:
    """Frames by machine.

    Attributes:
        settings: channels and what is normal of them, fitted on the healthy part that trains.
        machines: in the order in which the source has them.
        counts: how many of everything.
    """

    settings: SeriesSettings
    machines: tuple[MachineFrames, ...]
    counts: SeriesCounts

    @cached_property
    def frontends(self) -> tuple[SeriesFrontend, ...]:
        """One for each machine, with the scales of its own healthy training frames: the encoder is shared, what is normal is not.

        They are those of `settings` where there is one machine.
        """
        if len(self.machines) == 1:
            return (SeriesFrontend(self.settings),)
        healthy = [np.flatnonzero((m.side == TRAIN) & (m.labels == 0)) for m in self.machines]
        return tuple(
            SeriesFrontend(rescale(self.settings, np.asarray(machine.frames[rows])))
            for machine, rows in zip(self.machines, healthy, strict=True)
        )

    @classmethod
    def open(cls, directory: Path) -> SeriesCorpus:
        """Open a corpus that `prepare_series` wrote."""
        counts = SeriesCounts(**json.loads((directory / "series.json").read_text("utf-8")))
        settings = SeriesSettings.model_validate_json((directory / "frontend.json").read_bytes())
        machines = [
            MachineFrames(name, *(np.load(_file(directory, number, array), mmap_mode="r") for array in _ARRAYS))
            for number, name in enumerate(counts.machines)
        ]
        return cls(settings, tuple(machines), counts)


def prepare_series(
    data: Data,
    frontend: SeriesFrontendSettings,
    directory: Path,
    progress: Callable[[int], None] = lambda _: None,
) -> SeriesCorpus:
    """Read the source, split each machine in time, fit the frontend on what trains, and leave the frames in `directory`.

    Args:
        data: the recipe's data block.
        frontend: how samples become frames.
        directory: where the files go; an unfinished earlier attempt there is overwritten.
        progress: called with the number of samples just read.

    Returns:
        The corpus, memory-mapped.

    Raises:
        DataError: where nothing could be read, rows were bad and `bad_rows` is `refuse`, or no healthy data is left to train on.
    """
    directory.mkdir(parents=True, exist_ok=True)
    assert isinstance(data.source, SeriesSource)
    settings = data.source
    source = open_series(
        settings.path,
        columns=settings.columns,
        machine=settings.machine,
        units=settings.units,
        rate=settings.rate,
        timezone=settings.timezone,
    )
    machines: dict[str, list[Recording]] = {}
    for recording in source.recordings():
        progress(len(recording.times))
        machines.setdefault(recording.machine, []).append(recording)
    _check_read(data, source.report, machines)
    cuts = {name: _cuts(recordings, data.split) for name, recordings in machines.items()}
    fitted = fit_series(_training_parts(machines, cuts), frontend)
    regimes = sorted({str(n) for r in _all(machines) if r.regime is not None for n in np.unique(r.regime)} - {""})
    digest = hashlib.sha256()
    for number, (name, recordings) in enumerate(machines.items()):
        for recording in recordings:
            _add(digest, recording)
        made = machine_frames(name, recordings, fitted, cuts[name], regimes)
        for array in _ARRAYS:
            np.save(_file(directory, number, array), getattr(made, array))
    counts = _counts(directory, list(machines), regimes)
    counts = replace(
        counts,
        labelled=all(r.labels is not None for r in _all(machines)),
        fingerprint=digest.hexdigest(),
        passed_over=dict(source.report.passed_over),
        recognised=dict(source.report.recognised),
        skipped=dict(source.report.skipped),
        examples=list(source.report.examples),
    )
    write_whole(directory / "frontend.json", fitted.model_dump_json(indent=1))
    # Last: its presence says that the corpus is whole.
    write_whole(directory / "series.json", json.dumps(asdict(counts), indent=1, ensure_ascii=False))
    return SeriesCorpus.open(directory)


def machine_frames(
    name: str,
    recordings: Sequence[Recording],
    settings: SeriesSettings,
    cuts: tuple[float, float],
    regimes: Sequence[str],
) -> MachineFrames:
    """The frames of one machine as its monitor would make them, with what is known of each.

    Args:
        name: of the machine.
        recordings: its samples; recordings that overlap in time are joined on the grid.
        settings: of the frontend.
        cuts: when validation and test begin.
        regimes: the operating points that there are, in ascending order.
    """
    times, frames = join(recordings, settings)
    labels = frame_labels(times, recordings, settings)
    known = frame_regimes(times, recordings, settings.period)
    place = np.searchsorted(np.asarray(regimes, known.dtype), known) if len(regimes) else np.zeros(len(known), np.int64)
    regime = np.where(known == "", -1, place).astype(np.int32)
    return MachineFrames(name, frames, times, labels, regime, _sides(times, cuts, settings))


def _cuts(recordings: Sequence[Recording], split: Split) -> tuple[float, float]:
    """When validation and test begin, by the samples of the slowest recordings: a gap in the data is no share of it."""
    distances = [float(np.median(np.diff(r.times))) if len(r.times) > 1 else 0.0 for r in recordings]
    slowest = [r.times for r, d in zip(recordings, distances, strict=True) if d >= max(distances) / 2]
    times = np.sort(np.concatenate(slowest))

    def at(share: float) -> float:
        place = round(share * len(times))
        return float(times[place]) if place < len(times) else float("inf")

    return at(1 - split.validation - split.test), at(1 - split.test)


def _sides(times: Times, cuts: tuple[float, float], settings: SeriesSettings) -> npt.NDArray[np.int8]:
    side = np.full(len(times), TRAIN, np.int8)
    gap = settings.window * settings.period
    # A frame that begins before a cut holds what comes after it too.
    for number, cut in zip((VALIDATION, TEST), cuts, strict=True):
        begun = times + settings.period > cut
        side[begun] = number
        side[begun & (times < cut + gap)] = DROPPED
    return side


def _training_parts(machines: dict[str, list[Recording]], cuts: dict[str, tuple[float, float]]) -> list[Recording]:
    """What comes before validation begins."""
    parts = []
    for recording in _all(machines):
        rows = slice(0, int(np.searchsorted(recording.times, cuts[recording.machine][0])))
        labels, regime = (None if part is None else part[rows] for part in (recording.labels, recording.regime))
        if rows.stop:
            parts.append(
                replace(
                    recording,
                    times=recording.times[rows],
                    values=recording.values[rows],
                    labels=labels,  # type: ignore[arg-type]  # of two types in one loop
                    regime=regime,  # type: ignore[arg-type]
                )
            )
    return parts


def _all(machines: dict[str, list[Recording]]) -> Iterable[Recording]:
    return (recording for recordings in machines.values() for recording in recordings)


def _check_read(data: Data, report: ReadReport, machines: dict[str, list[Recording]]) -> None:
    if report.skipped and data.bad_rows == "refuse":
        raise DataError(
            f"{report.skipped_total} rows of the series source could not be read, first: {'; '.join(report.examples)}. "
            "Mend them, or set data.bad_rows to skip."
        )
    if not any(len(recording.times) for recording in _all(machines)):
        because = f"; skipped {report.skipped_total}, first: {'; '.join(report.examples)}" if report.skipped else ""
        raise DataError(f"no samples: nothing that is one was found in the series source{because}")


def _counts(directory: Path, names: list[str], regimes: list[str]) -> SeriesCounts:
    """What the files hold; what the reader knows besides is filled in by the caller."""
    sides, faulty, values, missing = np.zeros(4, np.int64), 0, 0, 0
    for number in range(len(names)):
        sides += np.bincount(np.load(_file(directory, number, "side")), minlength=4)
        faulty += int(np.load(_file(directory, number, "labels")).sum())
        frames = np.load(_file(directory, number, "frames"), mmap_mode="r")
        values, missing = values + frames.size, missing + int(np.isnan(frames).sum())
    return SeriesCounts(
        machines=names,
        regimes=regimes,
        frames=int(sides.sum()),
        train=int(sides[TRAIN]),
        validation=int(sides[VALIDATION]),
        test=int(sides[TEST]),
        dropped=int(sides[DROPPED]),
        faulty=faulty,
        missing=missing / max(1, values),
        labelled=False,
        fingerprint="",
    )


def _file(directory: Path, number: int, array: str) -> Path:
    return directory / f"{number:04}.{array}.npy"


def _add(digest: hashlib._Hash, recording: Recording) -> None:
    """Take a recording into the fingerprint of the data."""
    digest.update(json.dumps([recording.machine, [list(channel) for channel in recording.channels]]).encode())
    for part in (recording.times, recording.values, recording.labels):
        if part is not None:
            digest.update(np.ascontiguousarray(part).tobytes())
    if recording.regime is not None:
        digest.update("\0".join(recording.regime.tolist()).encode())
