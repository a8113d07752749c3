"""Which windows share a batch, which belong together, and which faults they are kept apart from: a function of seed and step."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from nearfar.errors import DataError
from nearfar.evaluate.faults import inject_windows
from nearfar.frontend.windows import LEAST_PRESENT
from nearfar.learn.data.batches import Share
from nearfar.learn.data.frames import MachineFrames, SeriesCorpus
from nearfar.learn.data.split import TRAIN
from nearfar.learn.data.window_batch import DrawnBatch, WindowBatch
from nearfar.learn.views.series import WindowViews
from nearfar.recipe.series import FaultContrast, Faults, HealthyPairing

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

_ROWS_A_WINDOW = 8  # windows that overlap by more than seven eighths share a row of an epoch


@dataclass(frozen=True)
class Windows:
    """Healthy windows of one side, in the order of machine, operating point and time.

    Attributes:
        corpus: the frames.
        machines: (w,) number of the machine.
        groups: (w,) number of machine and operating point.
        ends: (w,) the frame after the last one.
        left_out: why windows are not among them -> how many.
    """

    corpus: SeriesCorpus
    machines: Ints
    groups: Ints
    ends: Ints
    left_out: dict[str, int]

    @classmethod
    def of(cls, corpus: SeriesCorpus, side: int) -> Windows:
        """All windows that lie within a side, without frames that are labelled as faults, and with enough values."""
        counted = {"labelled as faults": 0, "too much missing": 0}
        ends, regimes = zip(*(_ends(m, side, corpus.settings.window, counted) for m in corpus.machines), strict=True)
        machines = np.repeat(np.arange(len(ends)), [len(own) for own in ends])
        end, regime = np.concatenate(ends), np.concatenate(regimes)
        order = np.lexsort((end, regime, machines))
        _, groups = np.unique(machines * (len(corpus.counts.regimes) + 1) + regime + 1, return_inverse=True)
        return cls(corpus, machines[order], groups[order], end[order], counted)

    def __len__(self) -> int:
        return len(self.ends)

    def frames(self, numbers: Ints) -> Floats:
        """Windows (n, T, F) in physical units, NaN where missing."""
        length = self.corpus.settings.window
        taken = np.empty((len(numbers), length, self.corpus.settings.features), np.float32)
        for place, number in enumerate(numbers.tolist()):
            end = int(self.ends[number])
            taken[place] = self.corpus.machines[int(self.machines[number])].frames[end - length : end]
        return taken

    def scaled(self, numbers: Ints) -> tuple[Floats, Floats]:
        """Windows by the scales of their machines: values (n, T, F), 0 where missing, and 1 or 0 for there or not."""
        frames = self.frames(numbers)
        values, present = np.empty_like(frames), np.empty_like(frames)
        for machine in np.unique(self.machines[numbers]).tolist():
            rows = self.machines[numbers] == machine
            values[rows], present[rows] = self.corpus.frontends[machine].scaled(frames[rows])
        return values, present

    def evenly(self, most: int) -> Ints:
        """The numbers of at most so many windows, spread evenly."""
        return np.unique(np.linspace(0, len(self) - 1, min(most, len(self))).round().astype(np.int64))


def _ends(
    machine: MachineFrames, side: int, length: int, counted: dict[str, int]
) -> tuple[Ints, npt.NDArray[np.int32]]:
    """The ends of the windows of one machine, and the operating point of each at its end."""
    if len(machine.side) < length:
        return np.zeros(0, np.int64), np.zeros(0, np.int32)

    def within(flags: npt.NDArray[np.generic]) -> Ints:
        sums = np.concatenate([[0], np.cumsum(flags, dtype=np.int64)])
        counts: Ints = sums[length:] - sums[:-length]
        return counts

    whole = within(machine.side == side) == length
    healthy = within(machine.labels != 0) == 0
    least = LEAST_PRESENT * length * machine.frames.shape[1]
    enough = within(np.isfinite(machine.frames).sum(axis=1)) >= least
    counted["labelled as faults"] += int((whole & ~healthy).sum())
    counted["too much missing"] += int((whole & healthy & ~enough).sum())
    ends = np.flatnonzero(whole & healthy & enough) + length
    return ends, machine.regimes[ends - 1]


@dataclass(frozen=True)
class WindowRows(Dataset[DrawnBatch]):
    """Rows to train on; an index is a `Share`, the item is that share as a batch.

    Each machine has as many rows as any other. A row stands for some windows of its machine that follow each other; one of them is
    drawn at each step. What is drawn is drawn for the whole batch, so that all ranks together hold what one would.
    """

    windows: Windows
    views: WindowViews
    pairing: HealthyPairing
    faults: Faults
    per_window: int
    recovered: float
    seed: int
    rows_each: int
    bounds: Ints
    """(m + 1,) where the windows of each machine that has some begin and end."""
    keys: Ints
    """(w,) ascending: the group of each window times `stride`, and its end."""
    stride: int

    @classmethod
    def of(
        cls, corpus: SeriesCorpus, views: WindowViews, *, pairing: HealthyPairing, method: FaultContrast, seed: int
    ) -> WindowRows:
        """The training rows of a corpus.

        Args:
            corpus: the frames.
            views: how windows are changed.
            pairing: which windows belong together.
            method: what faults are injected.
            seed: of the recipe.

        Raises:
            DataError: too little is left to train on.
        """
        windows = Windows.of(corpus, TRAIN)
        if len(windows) < 2:
            raise DataError(_too_few(corpus, windows))
        present = np.unique(windows.machines)
        bounds = np.searchsorted(windows.machines, np.concatenate([present, present[-1:] + 1]))
        step = max(1, corpus.settings.window // _ROWS_A_WINDOW)
        rows_each = max(1, math.ceil(len(windows) / len(present) / step))
        # Two at least, or there would be no batch.
        rows_each = max(rows_each, math.ceil(2 / len(present)))
        stride = int(windows.ends.max()) + 1
        return cls(
            windows,
            views,
            pairing,
            method.faults,
            method.per_window,
            method.recovered,
            seed,
            rows_each,
            bounds,
            windows.groups * stride + windows.ends,
            stride,
        )

    def __len__(self) -> int:
        return self.rows_each * (len(self.bounds) - 1)

    def __getitem__(self, index: Share) -> DrawnBatch:
        step, rows, rank, world = index
        rng = np.random.default_rng([self.seed, 1, step])
        first = self._first(rows, rng.random(len(rows)))
        second = self._second(first, rng.random(len(rows)), rng.random(len(rows)))
        pairs = [self._healthy(first, rng), self._healthy(second, rng)]
        windows, present = [values for values, _ in pairs], [there for _, there in pairs]
        for number in range(self.per_window):
            values, there = pairs[number % 2]
            windows.append(self._faulty(values, there, rng))
            present.append(there)
        stacked, known = np.stack(windows, axis=1), np.stack(present, axis=1)
        draws = self.views.draw((len(rows), *stacked.shape[1:]), rng)
        own = slice(rank, None, world)
        batch = WindowBatch(
            torch.from_numpy(stacked[own]),
            torch.from_numpy(known[own]),
            torch.from_numpy(self.windows.machines[first][own]),
            torch.from_numpy(self.windows.groups[first][own]),
        )
        return DrawnBatch(batch, draws if world == 1 else draws.rows(own))

    def _first(self, rows: Ints, draws: npt.NDArray[np.float64]) -> Ints:
        """A window for each row."""
        machines = len(self.bounds) - 1
        begin, end = self.bounds[:-1][rows % machines], self.bounds[1:][rows % machines]
        share = (rows // machines + draws) / self.rows_each
        return np.minimum(begin + (share * (end - begin)).astype(np.int64), end - 1)

    def _second(self, first: Ints, kinds: npt.NDArray[np.float64], draws: npt.NDArray[np.float64]) -> Ints:
        """For each window another of its group: a neighbour in time, or any."""
        groups, ends = self.windows.groups[first], self.windows.ends[first]
        reach = np.where(
            kinds < self.pairing.near, round(self.pairing.reach * self.windows.corpus.settings.window), self.stride
        )
        low = np.searchsorted(self.keys, groups * self.stride + np.maximum(ends - reach, 0))
        high = np.searchsorted(self.keys, groups * self.stride + np.minimum(ends + reach, self.stride - 1), "right")
        return low + (draws * (high - low)).astype(np.int64)

    def _healthy(self, numbers: Ints, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Windows that are healthy at their end; in some a fault came and went."""
        values, present = self.windows.scaled(numbers)
        over = np.flatnonzero(rng.random(len(numbers)) < self.recovered)
        if len(over):
            length = values.shape[1]
            faulty = self._faulty(values[over], present[over], rng)
            healthy_from = length - rng.integers(max(1, length // 8), length // 2, len(over), endpoint=True)
            passed = np.arange(length) >= healthy_from[:, None]
            values[over] = np.where(passed[:, :, None], values[over], faulty)
        return values, present

    def _faulty(self, values: Floats, present: Floats, rng: np.random.Generator) -> Floats:
        """The same windows with a fault each."""
        settings = self.windows.corpus.settings
        return faulty_windows(values, present, self.faults, rng, settings.channel_of_feature, settings.clip)


def faulty_windows(
    values: Floats,
    present: Floats,
    faults: Faults,
    rng: np.random.Generator,
    channel_of_feature: tuple[int, ...],
    clip: float,
) -> Floats:
    """Scaled windows (n, T, F) with a fault each, 0 where a value is missing, as `SeriesFrontend.scaled` has it."""
    missing = present == 0
    changed, _, _ = inject_windows(
        np.where(missing, np.float32(np.nan), values).astype(np.float32), faults, rng, channel_of_feature
    )
    changed[missing] = 0.0
    return changed.clip(-clip, clip)


def _too_few(corpus: SeriesCorpus, windows: Windows) -> str:
    counts = corpus.counts
    why = "; ".join(f"{number:,} windows {reason}" for reason, number in windows.left_out.items() if number)
    return (
        f"only {len(windows)} healthy windows of {corpus.settings.window} frames to train on ({counts.frames:,} frames of "
        f"{len(counts.machines)} machines, {counts.train:,} of them to train on{'; left out: ' + why if why else ''}): add data, "
        "lower frontend.window, or lower data.split"
    )
