"""SKAB, a test rig with pumps, valves and water: 34 labelled files, and how a detector is measured on them.

The protocol is the benchmark's own: of each file the first 400 rows are for training and the rest is tested, all files are pooled,
one rule for all. Nothing may look ahead, other than where a row says so, and no labels are used other than to measure. (Training
rows of `other/2` have 296 faulty ones; they are used like the others, as everybody does.)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nearfar.evaluate import Interval
from nearfar.evaluate.anomaly import auc_pr, frame_scores
from nearfar.evaluate.vus import vus_pr
from tools.results import Figures, figure

TRAIN_ROWS = 400
_RESAMPLES = 1000
NOT_CHANNELS = ("group", "file", "datetime", "anomaly", "changepoint")

Rows = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SkabFile:
    """One experiment.

    Attributes:
        name: such as `valve1/3.csv`.
        channels: names of the 8 sensors.
        train_times, test_times: seconds, about one apart, with gaps.
        train: (400, 8).
        test: (m, 8), the rows that follow.
        labels: (m,), of the test rows.
    """

    name: str
    channels: tuple[str, ...]
    train_times: Rows
    train: Rows
    test_times: Rows
    test: Rows
    labels: npt.NDArray[np.int8]


class Verdict(NamedTuple):
    """What a detector says of the test rows of one file.

    Attributes:
        scores: (m,), higher is more alarming, on one scale for all files; NaN counts as not alarming.
        alarms: (m,), True while an alarm is on.
    """

    scores: Rows
    alarms: npt.NDArray[np.bool_]


Detect = Callable[[Sequence[SkabFile]], Sequence[Verdict]]
"""Looks at all files, as a detector may be trained on the training rows of all of them; one verdict a file."""


def each(detect: Callable[[Rows, Rows], Verdict]) -> Detect:
    """A detector that looks at one file at a time, by its training rows and its test rows."""
    return lambda files: [detect(file.train, file.test) for file in files]


def read_skab(path: Path) -> list[SkabFile]:
    """The labelled files in the order of their names."""
    table = pq.read_table(path)
    table = table.filter(pc.not_equal(table.column("group"), "anomaly-free"))
    channels = tuple(name for name in table.column_names if name not in NOT_CHANNELS)
    names = np.asarray(table.column("file").to_pylist())
    times = np.array(table.column("datetime").to_pylist(), "datetime64[s]").astype(np.float64)
    values = np.stack([table.column(name).to_numpy() for name in channels], axis=1).astype(np.float64)
    labels = table.column("anomaly").to_numpy().astype(np.int8)
    files = []
    for name in sorted(set(names.tolist())):
        rows = np.flatnonzero(names == name)
        train, test = rows[:TRAIN_ROWS], rows[TRAIN_ROWS:]
        files.append(SkabFile(name, channels, times[train], values[train], times[test], values[test], labels[test]))
    return files


@dataclass(frozen=True)
class Measured:
    """Figures of one detector.

    Attributes:
        values: figure -> what it is.
        drawn: figure -> what it would be with other experiments (r,), the same draws for every detector.
        seconds: that detection took.
    """

    values: dict[str, float]
    drawn: dict[str, Rows]
    seconds: float

    def figures(self, name: str) -> Figures:
        """With 95 % intervals, keys ending in `name` if there is one."""
        suffix = f"_{name}" if name else ""
        found = {f"skab_{key}{suffix}": _with_interval(value, self.drawn[key]) for key, value in self.values.items()}
        return found | {f"skab_seconds{suffix}": figure(self.seconds, "s")}

    def minus(self, other: Measured, name: str) -> Figures:
        """Differences, on the same experiments."""
        return {
            f"skab_{key}_minus_{name}": _with_interval(value - other.values[key], self.drawn[key] - other.drawn[key])
            for key, value in self.values.items()
        }


def measure_on_skab(detect: Detect, files: Sequence[SkabFile]) -> Measured:
    """All test rows pooled; VUS-PR is the mean over files, as its edges must not cross from one to another.

    Whole files are drawn anew for intervals: rows of one experiment are alike.
    """
    started = time.perf_counter()
    verdicts = detect(files)
    seconds = time.perf_counter() - started
    volumes = np.array([vus_pr(file.labels, verdict.scores) for file, verdict in zip(files, verdicts, strict=True)])

    def pooled(chosen: npt.NDArray[np.int64]) -> dict[str, float]:
        labels = np.concatenate([files[i].labels for i in chosen])
        counted = frame_scores(labels, np.concatenate([verdicts[i].alarms for i in chosen]))
        return {
            "f1": counted.f1,
            "far": counted.far,
            "mar": counted.mar,
            "balanced_accuracy": counted.balanced_accuracy,
            "auc_pr": auc_pr(labels, np.concatenate([verdicts[i].scores for i in chosen])),
            "vus_pr": float(volumes[chosen].mean()),
        }

    rng = np.random.default_rng(0)
    draws = [pooled(rng.integers(len(files), size=len(files))) for _ in range(_RESAMPLES)]
    values = pooled(np.arange(len(files)))
    return Measured(values, {key: np.array([draw[key] for draw in draws]) for key in values}, seconds)


def _with_interval(value: float, drawn: Rows) -> dict[str, float | str | None]:
    low, high = np.percentile(drawn, [2.5, 97.5])
    return figure(Interval(value, float(low), float(high)))
