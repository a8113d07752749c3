"""nearfar on SKAB: one rule for all files, fixed on healthy data alone.

How to score (by which distance, over how many rows; raw means or embeddings where there is an encoder) is chosen by faults injected into the long recording without faults that comes with the data, cut into experiments like the
others: 400 rows to fit to, 750 rows after them. The threshold of a file is the usual height of its own training scores times a
ratio: what 5 % of later healthy scores exceeded where the detector had seen the first 250 training rows of a file and looked at the
other 150, over all files. When an alarm begins and ends is the default of a recipe. No label of any test row is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nearfar.bundle.monitor_record import ScorerTrial
from nearfar.edge.monitor.choose import as_candidate, try_candidates
from nearfar.edge.monitor.decide import Decider, Rule
from nearfar.edge.monitor.detector import Detector, Embed
from nearfar.edge.monitor.fit import USUAL, Candidate, Fitter, candidates, fleet_ratio, later_ratios
from nearfar.edge.monitor.stretch import Stretch
from nearfar.frontend.fit_series import fit_series
from nearfar.recipe.series import Faults, SeriesFrontendSettings, Watch
from nearfar.sources.recording import Channel, Recording
from tools.anomaly_skab import TRAIN_ROWS, Rows, SkabFile, Verdict

_WINDOW = 32
_EXPERIMENT, _STEP = 1150, 300
_EARLY = 250
_FRONTEND = SeriesFrontendSettings(kind="series", period=1.0, window=_WINDOW)


class Experiment(NamedTuple):
    """Rows of one experiment, scaled by its first ones.

    Attributes:
        fitter: with the settings of this experiment.
        fitted: the rows that say what is normal.
        later: the rows after them.
    """

    fitter: Fitter
    fitted: Stretch
    later: Stretch


class NearfarOnSkab(NamedTuple):
    """What was chosen, and what came of it.

    Attributes:
        trials: the ways to score, best first.
        ratio: of the threshold to the usual height of training scores.
        detect: looks at all files with the best way.
        detect_by: looks at them with another.
    """

    trials: tuple[ScorerTrial, ...]
    ratio: float
    detect: Callable[[Sequence[SkabFile]], Sequence[Verdict]]
    detect_by: Callable[[Candidate], Callable[[Sequence[SkabFile]], Sequence[Verdict]]]


def nearfar_on_skab(
    files: Sequence[SkabFile], healthy: Rows, embed: Embed | None, *, watch: Watch | None = None
) -> NearfarOnSkab:
    """Choose and calibrate on healthy data, and get ready to look at the test rows.

    Args:
        files: the labelled files.
        healthy: (n, 8), the recording without faults.
        embed: an encoder of windows of 32 rows, scaled as the device does, trained on the training rows of all files.
        watch: the candidates and when to alarm; by default as in a recipe.
    """
    watch = watch or Watch()
    channels = files[0].channels
    long = [
        experiment(channels, healthy[start : start + _EXPERIMENT], TRAIN_ROWS, watch, embed)
        for start in range(0, len(healthy) - _EXPERIMENT, _STEP)
    ]
    trials = _choose(long, candidates(watch, embedding=embed is not None))

    def ratio_of(candidate: Candidate) -> float:
        early = [experiment(channels, file.train, _EARLY, watch, embed) for file in files]
        ratio = fleet_ratio(
            [
                later_ratios(each.fitter.detector(candidate, [each.fitted]), [each.fitted], [each.later])
                for each in early
            ],
            watch.fleet_share,
        )
        assert ratio is not None
        return ratio

    def detect_by(candidate: Candidate) -> Callable[[Sequence[SkabFile]], Sequence[Verdict]]:
        ratio = ratio_of(candidate)
        return lambda files: [_verdict(file, candidate, ratio, watch, embed) for file in files]

    best = as_candidate(trials[0])
    return NearfarOnSkab(trials, ratio_of(best), detect_by(best), detect_by)


def experiment(channels: Sequence[str], rows: Rows, first: int, watch: Watch, embed: Embed | None) -> Experiment:
    """Rows (n, 8) of one experiment, of which the `first` say what is normal."""
    times, values = np.arange(len(rows), dtype=np.float64), np.ascontiguousarray(rows, np.float32)
    named = tuple(Channel(name) for name in channels)
    settings = fit_series([Recording("", named, times[:first], values[:first])], _FRONTEND)
    whole = Stretch("", times, values)
    return Experiment(Fitter(settings, watch, embed), whole.part(0, first), whole.part(first, len(rows)))


def _choose(experiments: Sequence[Experiment], among: Sequence[Candidate]) -> tuple[ScorerTrial, ...]:
    """The candidates, best first. Each experiment has its own scales, so each is tried by its own fitter."""
    return try_candidates(
        [each.fitter for each in experiments],
        among,
        [([each.fitted], [each.later]) for each in experiments],
        faults=Faults(),
    )


def _verdict(file: SkabFile, candidate: Candidate, ratio: float, watch: Watch, embed: Embed | None) -> Verdict:
    """Scores and alarms of the test rows of one file, taken one after the other."""
    both = np.concatenate([file.train, file.test])
    own = experiment(file.channels, both, TRAIN_ROWS, watch, embed)
    detector: Detector = own.fitter.detector(candidate, [own.fitted])
    times = np.arange(len(both), dtype=np.float64)
    scores = detector.score(both.astype(np.float32))
    threshold = ratio * float(np.nanquantile(scores[:TRAIN_ROWS], USUAL))
    needed, out_of = watch.votes(candidate.features)
    rule = Rule(threshold, needed, out_of, watch.release, watch.cool_down, watch.settle, watch.calm)
    decisions = Decider(rule).push(times[TRAIN_ROWS:], scores[TRAIN_ROWS:])
    return Verdict(np.asarray(decisions.level, np.float64), decisions.alarmed)


def read_healthy(path: Path) -> npt.NDArray[np.float64]:
    """The recording without faults, (n, 8)."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from tools.anomaly_skab import NOT_CHANNELS

    table = pq.read_table(path)
    table = table.filter(pc.equal(table.column("group"), "anomaly-free"))
    names = [name for name in table.column_names if name not in NOT_CHANNELS]
    return np.stack([table.column(name).to_numpy() for name in names], axis=1).astype(np.float64)
