"""Which way to score finds faults: they are injected into healthy data that came later than what was fitted to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nearfar.bundle.block import Metric
from nearfar.bundle.monitor_record import ScorerTrial
from nearfar.edge.monitor.detector import Detector
from nearfar.edge.monitor.distance import Floats
from nearfar.edge.monitor.fit import Candidate, Fitter, best_first
from nearfar.edge.monitor.stretch import Stretch
from nearfar.errors import DataError
from nearfar.evaluate.anomaly import auc_pr
from nearfar.evaluate.bootstrap import mean_interval
from nearfar.evaluate.faults import inject_stream
from nearfar.progress import Stages, silent
from nearfar.recipe.series import Faults

_LENGTHS, _GAPS = (30, 300), (100, 600)
_SHORTEST = 40
_MOST_FRAMES = 5_000  # of a stream in one draw


def try_candidates(
    fitters: Sequence[Fitter],
    candidates: Sequence[Candidate],
    machines: Sequence[tuple[Sequence[Stretch], Sequence[Stretch]]],
    *,
    faults: Faults,
    draws: int = 4,
    history: int = 1,
    stages: Stages = silent,
) -> tuple[ScorerTrial, ...]:
    """Measure candidates: each machine has a detector of its own, fitted to its first data, and faults in its later data.

    Args:
        fitters: one for each machine, with its own scales.
        candidates: ways to score.
        machines: for each the stretches to fit to and the later ones. Of these only the ones count that hold the longest faults, if
            there are any such.
        faults: what is injected; drawn anew `draws` times, the same for all candidates.
        draws: how often.
        history: frames that a score needs, at least: as many as any candidate of another call needs that these are compared with.
        stages: told how far it is.

    Returns:
        The candidates, best first: by the mean of all machines and draws, but embeddings only before raw features where the lower
        end of the interval of the difference is above 0.

    Raises:
        DataError: no machine has later data that faults could be injected into.
    """
    # All are judged by the same frames, those that every one of them can score, and that windows of any length can.
    first = max(history, fitters[0].settings.window, *(candidate.smooth for candidate in candidates)) - 1
    shortest, longest = max(_SHORTEST, 2 * first), max(2 * first, 2 * _LENGTHS[1])
    streams = [(number, stretch) for number, (_, later) in enumerate(machines) for stretch in later]
    whole = [(number, stretch) for number, stretch in streams if len(stretch.frames) >= longest]
    # Where only short faults fit in, what is quick looks better than what is right.
    streams = whole or [(number, stretch) for number, stretch in streams if len(stretch.frames) >= shortest]
    if not streams:
        raise DataError(
            f"no healthy data is left to inject faults into: at least {shortest} frames in a row are needed after those that are fitted "
            "to. Record more, or set data.split.validation higher"
        )
    tick = stages("choosing", len(candidates))
    figures: dict[Candidate, npt.NDArray[np.float64]] = {}
    for alike in _by_features(candidates):
        figures |= _tried(fitters, alike, machines, streams, faults, draws, first)
        tick(len(alike), f"{alike[0].features} {alike[0].smooth}")
    trials = []
    for candidate in candidates:
        interval = mean_interval(figures[candidate])
        metric = Metric(value=interval.value, low=interval.low, high=interval.high)
        trials.append(ScorerTrial(features=candidate.features, by=candidate.by, smooth=candidate.smooth, auc_pr=metric))
    return tuple(trials[i] for i in best_first(trials, [figures[candidate] for candidate in candidates]))


def _by_features(candidates: Sequence[Candidate]) -> list[list[Candidate]]:
    """Candidates that score the same features, together: to make these is most of the work."""
    groups: dict[tuple[str, int], list[Candidate]] = {}
    for candidate in candidates:
        groups.setdefault((candidate.features, candidate.smooth), []).append(candidate)
    return list(groups.values())


def _tried(
    fitters: Sequence[Fitter],
    candidates: Sequence[Candidate],
    machines: Sequence[tuple[Sequence[Stretch], Sequence[Stretch]]],
    streams: Sequence[tuple[int, Stretch]],
    faults: Faults,
    draws: int,
    first: int,
) -> dict[Candidate, npt.NDArray[np.float64]]:
    """AUC-PR of candidates that differ in the distance alone, a figure a stream and draw, by the frames from `first` on."""
    detectors: list[list[Detector]] = []
    for fitter, (fitted, _) in zip(fitters, machines, strict=True):
        features, dependence = fitter.features(candidates[0], fitted)
        detectors.append([fitter.fitted(candidate, features, dependence) for candidate in candidates])
    found: list[list[float]] = []
    for draw in range(draws):
        for place, (number, stretch) in enumerate(streams):
            rng = np.random.default_rng([fitters[0].seed, draw, place])
            begin = int(rng.integers(max(1, len(stretch.frames) - _MOST_FRAMES + 1)))
            labels, frames = _with_faults(
                detectors[number][0], stretch.frames[begin : begin + _MOST_FRAMES], faults, rng
            )
            late = labels[first:]
            if late.any() and not late.all():
                features = detectors[number][0].features(frames)[-len(late) :]
                found.append([auc_pr(late, detector.distance.of(features)) for detector in detectors[number]])
    if not found:
        raise DataError("no fault could be injected: does the held-out healthy data hold any values?")
    return dict(zip(candidates, np.array(found).T, strict=True))


def _with_faults(
    detector: Detector, frames: Floats, faults: Faults, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int8], Floats]:
    """Which of the frames (k, F) are faulty, and the frames with the faults in them."""
    values, present = detector.frontend.scaled(frames, clip=False)
    values[present == 0] = np.nan
    n = len(values)
    lengths = (min(_LENGTHS[0], max(2, n // 8)), min(_LENGTHS[1], max(3, n // 3)))
    gaps = (min(_GAPS[0], n // 8), min(_GAPS[1], n // 3))
    changed, labels, _ = inject_stream(
        values, faults, rng, detector.settings.channel_of_feature, lengths=lengths, gaps=gaps
    )
    return labels, detector.frontend.unscaled(changed)


def as_candidate(trial: ScorerTrial) -> Candidate:
    """The way to score that was tried."""
    return Candidate(trial.features, trial.by, trial.smooth)
