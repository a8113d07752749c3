"""The whole way from healthy stretches to a detector that says what it promises and what it kept of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from nearfar.bundle.monitor_record import DetectorRecord, ScorerTrial
from nearfar.edge.monitor.choose import as_candidate, try_candidates
from nearfar.edge.monitor.detector import Detector
from nearfar.edge.monitor.fit import Candidate, Fitter, candidates, fleet_ratio, later_ratios, realised
from nearfar.edge.monitor.stretch import Stretch
from nearfar.errors import DataError
from nearfar.frontend.fit_series import rescale
from nearfar.progress import Stages, silent
from nearfar.recipe.series import Faults

FLEET = 5
"""Machines that a fleet has at least."""


class MachineParts(NamedTuple):
    """Healthy data of one machine in the order of time.

    Attributes:
        fitted: what is normal.
        later: what the way to score and the threshold are chosen by.
        check: what nothing is fitted to.
    """

    fitted: Sequence[Stretch]
    later: Sequence[Stretch]
    check: Sequence[Stretch] = ()


def make_detector(
    fitter: Fitter,
    machines: Sequence[MachineParts],
    *,
    faults: Faults,
    candidate: Candidate | None = None,
    ratio: float | None = None,
    stages: Stages = silent,
) -> Detector:
    """Choose how to score, fit, set the threshold, and see how many false alarms came of it.

    Ways to score are compared with a detector for each machine, with its own scales; what is returned takes all machines for one.

    Args:
        fitter: fits detectors.
        machines: at least one.
        faults: what is injected to choose by.
        candidate: the way to score, where it has been chosen before.
        ratio: the `fleet_ratio` that was found before, for a machine with too little data of its own.
        stages: told how far it is.

    Raises:
        DataError: too little healthy data; the message says how much is needed.
    """
    trials: tuple[ScorerTrial, ...] = ()
    own = [machine_fitter(fitter, part) for part in machines] if len(machines) > 1 else [fitter]
    if candidate is None:
        among = candidates(fitter.watch, embedding=fitter.embed is not None)
        trials = try_candidates(
            own, among, [(part.fitted, part.later) for part in machines], faults=faults, stages=stages
        )
        candidate = as_candidate(trials[0])
    stages("threshold")
    ratio = _fleet(own, candidate, machines) or ratio
    fitted = [stretch for part in machines for stretch in part.fitted]
    later = [stretch for part in machines for stretch in part.later]
    detector = fitter.with_threshold(fitter.detector(candidate, fitted), fitted, later, fleet_ratio=ratio)
    known = realised(detector, [stretch for part in machines for stretch in part.check])
    change = {"trials": trials, "realised_per_day": known[0] if known else None}
    record: DetectorRecord = detector.record.model_copy(update=change)
    return Detector(fitter.settings, record, detector.distance, detector.block_maxima, fitter.embed)


def machine_fitter(fitter: Fitter, part: MachineParts) -> Fitter:
    """One with the scales of a machine of several."""
    frames = np.concatenate([stretch.frames for stretch in part.fitted])
    return replace(fitter, settings=rescale(fitter.settings, frames))


def _fleet(fitters: Sequence[Fitter], candidate: Candidate, machines: Sequence[MachineParts]) -> float | None:
    """How high later scores come, where there are machines enough to tell."""
    if len(machines) < FLEET:
        return None  # whatever they said: to fit and score each takes seconds
    ratios = []
    for fitter, part in zip(fitters, machines, strict=True):
        try:
            known = later_ratios(fitter.detector(candidate, part.fitted), part.fitted, part.later)
        except DataError:
            continue  # too little of this machine alone
        if len(known):
            ratios.append(known)
    return fleet_ratio(ratios, fitters[0].watch.fleet_share) if len(ratios) >= FLEET else None
