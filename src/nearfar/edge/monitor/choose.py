"""Which way to score finds faults: they are injected into healthy data that came later than what was fitted to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nearfar.bundle.manifest import Metric, ScorerTrial
from nearfar.edge.monitor.detector import Detector
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


def try_candidates(
    fitters: Sequence[Fitter],
    candidates: Sequence[Candidate],
    machines: Sequence[tuple[Sequence[Stretch], Sequence[Stretch]]],
    *,
    faults: Faults,
    draws: int = 4,
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
        stages: told how far it is.

    Returns:
        The candidates, best first: by the mean of all machines and draws, but embeddings only before raw features where the lower
        end of the interval of the difference is above 0.

    Raises:
        DataError: no machine has later data that faults could be injected into.
    """
    streams = [(number, stretch) for number, (_, later) in enumerate(machines) for stretch in later]
    whole = [(number, stretch) for number, stretch in streams if len(stretch.frames) >= 2 * _LENGTHS[1]]
    # Where only short faults fit in, what is quick looks better than what is right.
    streams = whole or [(number, stretch) for number, stretch in streams if len(stretch.frames) >= _SHORTEST]
    if not streams:
        raise DataError(
            f"no healthy data is left to inject faults into: at least {_SHORTEST} frames in a row are needed after those that are fitted "
            "to. Record more, or set data.split.validation higher"
        )
    tick = stages("choosing", len(candidates))
    figures: list[npt.NDArray[np.float64]] = []
    for candidate in candidates:
        detectors = [fitter.detector(candidate, fitted) for fitter, (fitted, _) in zip(fitters, machines, strict=True)]
        found = []
        for draw in range(draws):
            for place, (number, stretch) in enumerate(streams):
                value = _found(
                    detectors[number], stretch, faults, np.random.default_rng([fitters[0].seed, draw, place])
                )
                if value is not None:
                    found.append(value)
        figures.append(np.array(found))
        tick(1, f"{candidate.features} {candidate.by}")
    trials = []
    for candidate, values in zip(candidates, figures, strict=True):
        interval = mean_interval(values)
        metric = Metric(value=interval.value, low=interval.low, high=interval.high)
        trials.append(ScorerTrial(features=candidate.features, by=candidate.by, smooth=candidate.smooth, auc_pr=metric))
    return tuple(trials[i] for i in best_first(trials, figures))


def _found(detector: Detector, stretch: Stretch, faults: Faults, rng: np.random.Generator) -> float | None:
    """AUC-PR over the frames of one stretch with injected faults; None where no frame is faulty or all are."""
    frontend, settings = detector.frontend, detector.settings
    values, present = frontend.scaled(stretch.frames, clip=False)
    values[present == 0] = np.nan
    n = len(values)
    lengths = (min(_LENGTHS[0], max(2, n // 8)), min(_LENGTHS[1], max(3, n // 3)))
    gaps = (min(_GAPS[0], n // 8), min(_GAPS[1], n // 3))
    changed, labels, _ = inject_stream(values, faults, rng, settings.channel_of_feature, lengths=lengths, gaps=gaps)
    if not labels.any() or labels.all():
        return None
    return auc_pr(labels, detector.score(frontend.unscaled(changed)))


def as_candidate(trial: ScorerTrial) -> Candidate:
    """The way to score that was tried."""
    return Candidate(trial.features, trial.by, trial.smooth)
