"""Leave one operating point out: what a monitor says of a made rotating machine at a speed and load that it has never seen.

Every operating point in turn is held out. The monitor is fitted to healthy data of the other two (`left_out`) or of all three
(`seen`), and watches healthy data and six faults at the held-out one. Frames are pooled; their scores are counted in units of
each monitor's threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, get_args

import numpy as np

from nearfar.edge.monitor.decide import decision_statistic
from nearfar.edge.monitor.detector import Detector
from nearfar.edge.monitor.fit import Candidate
from nearfar.edge.monitor.scorers import By
from nearfar.evaluate.anomaly import auc_pr, frame_scores
from nearfar.frontend.join import join
from nearfar.recipe.series import Watch
from nearfar.simulate import MachineFault, Regime, RotatingMachine, simulate_machine
from nearfar.simulate.machine import REGIMES, FaultCause
from nearfar.sources.recording import Recording
from tools.anomaly_monitors import Floats, fit_monitor, prepare
from tools.results import Figures, figure

_RATE: Final = 8_000.0
_SMOOTH: Final = 10
_WATCH: Final = Watch(block=20.0, false_alarms_per_day=86.4)  # one in 50 blocks: minutes of data cannot promise less
_SEVERITY: Final = 0.3
_SCORERS: Final[tuple[By, ...]] = ("mahalanobis", "prototypes", "knn")


def measure_regimes(*, quick: bool) -> Figures:
    """AUC-PR of frames and rates at the threshold, by scorer, with the held-out operating point seen and unseen."""
    seconds, tested = (270, 20) if quick else (600, 120)
    healthy = {regime: _run([regime], seconds, seed) for seed, regime in enumerate(REGIMES)}
    watched = {regime: _test_runs(regime, tested) for regime in REGIMES}
    found: Figures = {}
    for name in ("seen", "left_out"):
        pooled: dict[By, list[tuple[bool, Floats]]] = {by: [] for by in _SCORERS}
        for held in REGIMES:
            fitted = prepare(_in_turns([healthy[r] for r in REGIMES if name == "seen" or r != held]))
            detectors = {
                by: fit_monitor(fitted, watch=_WATCH, candidate=Candidate("raw", by, _SMOOTH)) for by in _SCORERS
            }
            for faulty, recordings in watched[held]:
                frames = join(recordings, fitted.settings).values
                for by, detector in detectors.items():
                    pooled[by].append((faulty, _over_threshold(detector, frames)))
        for by, parts in pooled.items():
            labels = np.concatenate([np.full(len(values), faulty) for faulty, values in parts])
            ratios = np.concatenate([values for _, values in parts])
            rates = frame_scores(labels, ratios > 1)
            found[f"regime_auc_pr_{by}_{name}"] = figure(auc_pr(labels, ratios))
            found[f"regime_far_{by}_{name}"] = figure(rates.far)
            found[f"regime_mar_{by}_{name}"] = figure(rates.mar)
    return found


def _test_runs(regime: Regime, seconds: int) -> list[tuple[bool, list[Recording]]]:
    """As many healthy runs as faulty ones, and whether they are faulty."""
    causes = get_args(FaultCause)
    faults = [MachineFault(cause, 0.0, severity=_SEVERITY) for cause in causes]
    chosen: list[list[MachineFault]] = [*([fault] for fault in faults), *([] for _ in faults)]
    return [(bool(each), _run([regime], seconds, 100 + seed, each)) for seed, each in enumerate(chosen)]


def _run(regimes: Sequence[Regime], seconds: int, seed: int, faults: Sequence[MachineFault] = ()) -> list[Recording]:
    machine = RotatingMachine(regimes=tuple(regimes), rate=_RATE, resonance=2_600.0)
    # Labels and operating points are known from the run, and beside 8,000 samples a second they would fill the memory.
    made = simulate_machine(machine, seconds, seed=seed, faults=faults)
    return [replace(recording, labels=None, regime=None) for recording in made]


def _in_turns(runs: Sequence[Sequence[Recording]]) -> list[Recording]:
    """Recordings of all runs taken in turns, minute by minute, as one machine that changes between operating points."""
    minutes = [[run[i : i + 12] for i in range(0, len(run), 12)] for run in runs]
    joined: list[Recording] = []
    for number, part in enumerate(part for turn in zip(*minutes, strict=True) for part in turn):
        shift = 60.0 * number - (part[0].times[0] - runs[0][0].times[0])
        joined += [replace(recording, times=recording.times + shift) for recording in part]
    return joined


def _over_threshold(detector: Detector, frames: Floats) -> Floats:
    """What is compared with the threshold, divided by it, from when it is known."""
    record = detector.record
    statistic = decision_statistic(detector.score(frames), record.needed, record.out_of)
    known: Floats = statistic[detector.history + record.out_of :] / np.float32(record.threshold)
    return known
