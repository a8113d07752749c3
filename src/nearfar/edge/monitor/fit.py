"""From healthy frames to a detector: distances fitted, one chosen by injected faults, a threshold with what it promises."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from nearfar.bundle.block import Metric
from nearfar.bundle.monitor_record import DetectorRecord, ScorerTrial
from nearfar.edge.monitor.decide import decision_statistic
from nearfar.edge.monitor.detector import Detector, Embed
from nearfar.edge.monitor.distance import Floats
from nearfar.edge.monitor.scorers import By, fit_distance
from nearfar.edge.monitor.stretch import Stretch
from nearfar.edge.monitor.threshold import (
    DAY,
    LEAST_BLOCKS,
    Threshold,
    block_maxima,
    find_threshold,
    level_per_block,
)
from nearfar.errors import DataError
from nearfar.frontend.settings import SeriesSettings
from nearfar.recipe.series import Watch

WEIGHTS = "detector.npz"
USUAL = 0.995
"""The quantile of a machine's own healthy scores that `fleet_ratio` multiplies."""

_BLOCK_WINDOWS = 20
_MOST_ROWS = 10_000  # that a distance is fitted to: neighbours in time say nearly the same


class Candidate(NamedTuple):
    """A way to score frames.

    Attributes:
        features: the mean of the last `smooth` frames, or the embedding of the last window.
        by: distance from what.
        smooth: of raw features; 1 for embeddings.
    """

    features: Literal["raw", "embedding"]
    by: By
    smooth: int


def candidates(watch: Watch, *, embedding: bool) -> list[Candidate]:
    """All ways to score that a recipe allows; those of embeddings only where there is an encoder."""
    found = []
    for scorer in watch.scorers:
        if scorer.features == "raw":
            found += [Candidate("raw", scorer.by, smooth) for smooth in watch.smooth]
        elif embedding:
            found.append(Candidate("embedding", scorer.by, 1))
    if not found:
        raise DataError(
            "watch.scorers has only scorers of embeddings, but there is no encoder, or too little data trained it (watch.least_windows): "
            "add one of raw features"
        )
    return found


@dataclass(frozen=True)
class Fitter:
    """Fits detectors to healthy stretches of one machine, or of several as if they were one.

    Attributes:
        settings: of the frontend.
        watch: numbers of prototypes and the like, and when to alarm.
        embed: the encoder; None without one.
        seed: of what is drawn.
    """

    settings: SeriesSettings
    watch: Watch
    embed: Embed | None = None
    seed: int = 0

    def detector(self, candidate: Candidate, healthy: Sequence[Stretch]) -> Detector:
        """A detector that scores but has no threshold yet.

        Raises:
            DataError: too few frames without gaps.
        """
        return self.fitted(candidate, *self.features(candidate, healthy))

    def features(self, candidate: Candidate, healthy: Sequence[Stretch]) -> tuple[Floats, float]:
        """What is scored of healthy stretches, float32 (n, d), spread evenly; and how many rows in a row tell as much as one.

        Raises:
            DataError: too few frames without gaps.
        """
        blank = self._blank(candidate)
        whole = [part.frames for part in healthy if len(part.frames) > blank.history]
        stride = max(1, sum(map(len, whole)) // _MOST_ROWS)
        parts = [blank.features(frames, stride) for frames in whole]
        if sum(map(len, parts)) < 2:
            raise DataError(
                f"{sum(len(part.frames) for part in healthy)} healthy frames are too few to tell what is normal: at least "
                f"{blank.history + 1} in a row are needed"
            )
        return np.concatenate(parts), max(1.0, blank.history / stride)

    def fitted(self, candidate: Candidate, features: Floats, dependence: float) -> Detector:
        """A detector of what `features` returned for this candidate, or one that differs in the distance alone.

        Raises:
            DataError: too few rows without missing values.
        """
        blank = self._blank(candidate)
        try:
            distance = fit_distance(
                features,
                candidate.by,
                dependence=dependence,
                prototypes=self.watch.prototypes,
                neighbours=self.watch.neighbours,
                references=self.watch.references,
                seed=self.seed,
            )
        except ValueError as error:
            raise DataError(f"healthy data: {error}; are some channels missing all the time?") from error
        return Detector(self.settings, blank.record, distance, blank.block_maxima, self.embed)

    def _blank(self, candidate: Candidate) -> Detector:
        """One that makes features, and knows nothing of what is normal."""
        nothing = fit_distance(np.eye(2, dtype=np.float32), "centroid")
        return Detector(
            self.settings, _record(candidate, self.watch, self.block), nothing, np.zeros(0, np.float32), self.embed
        )

    @property
    def block(self) -> float:
        """Seconds of the blocks whose highest scores are looked at."""
        history = max(self.settings.window, *self.watch.smooth)
        return self.watch.block or _BLOCK_WINDOWS * history * self.settings.period

    def maxima(self, detector: Detector, healthy: Sequence[Stretch]) -> Floats:
        """The highest decision statistics of the blocks of healthy stretches, float32 (b,) ascending."""
        return np.sort(_maxima(detector, healthy))

    def with_threshold(
        self,
        detector: Detector,
        fitted: Sequence[Stretch],
        later: Sequence[Stretch],
        *,
        fleet_ratio: float | None = None,
    ) -> Detector:
        """Set the threshold by healthy data that came after what the detector was fitted to.

        Where that is too little for blocks, the threshold is the usual height of the machine's own first scores times
        `fleet_ratio`: nothing is promised a day then.

        Raises:
            DataError: too little of either.
        """
        maxima = self.maxima(detector, later)
        if len(maxima) < LEAST_BLOCKS and fleet_ratio is not None:
            scores = np.concatenate([detector.score(part.frames) for part in fitted])
            found = Threshold(fleet_ratio * float(np.nanquantile(scores, USUAL)), "fleet")
        else:
            found = find_threshold(
                maxima, per_day=self.watch.false_alarms_per_day, block=self.block, tail=self.watch.tail
            )
        change = {
            "threshold": found.value,
            "tail": found.tail,
            "blocks": len(maxima),
            "fleet_ratio": fleet_ratio,
        }
        record = detector.record.model_copy(update=change)
        return Detector(self.settings, record, detector.distance, maxima, self.embed)


def later_ratios(detector: Detector, fitted: Sequence[Stretch], later: Sequence[Stretch]) -> Floats:
    """Later healthy scores of a machine, each divided by the usual height of those that were fitted to: float32 (k,).

    None (k = 0) where these are all 0, as of a machine that stood still: nothing is a multiple of that.
    """
    first = np.concatenate([detector.score(part.frames) for part in fitted])
    after = np.concatenate([detector.score(part.frames) for part in later] or [np.zeros(0, np.float32)])
    known = first[np.isfinite(first)]
    usual = float(np.quantile(known, USUAL)) if len(known) else 0.0
    if usual <= 0:
        return np.zeros(0, np.float32)
    return np.asarray(after[np.isfinite(after)] / usual, np.float32)


def fleet_ratio(ratios: Sequence[Floats], share: float) -> float | None:
    """The ratio that a `share` of later healthy scores exceeds, over all machines; at least 1, None where there are no scores."""
    known = np.concatenate([*ratios, np.zeros(0, np.float32)])
    return max(1.0, float(np.quantile(known, 1 - share))) if len(known) else None


def realised(detector: Detector, healthy: Sequence[Stretch]) -> tuple[Metric, npt.NDArray[np.bool_]] | None:
    """False alarms a day on healthy data that nothing was fitted to.

    Returns:
        How many, with an exact 95 % interval over blocks; and whether each block in the order of time had one. None where there is
        not one whole block.
    """
    from nearfar.evaluate.exact_intervals import binomial_interval

    record = detector.record
    alarmed = _maxima(detector, healthy) > record.threshold
    if not len(alarmed):
        return None
    interval = binomial_interval(int(alarmed.sum()), len(alarmed))
    a_day = DAY / record.block
    return Metric(value=interval.value * a_day, low=interval.low * a_day, high=interval.high * a_day), alarmed


def _maxima(detector: Detector, healthy: Sequence[Stretch]) -> Floats:
    """The highest decision statistics of the blocks of stretches, float32 (b,) in the order of time."""
    record, parts = detector.record, [np.zeros(0, np.float32)]
    for part in healthy:
        statistic = decision_statistic(detector.score(part.frames), record.needed, record.out_of)
        parts.append(block_maxima(part.times, statistic, record.block))
    return np.concatenate(parts)


def _record(candidate: Candidate, watch: Watch, block: float) -> DetectorRecord:
    level_per_block(watch.false_alarms_per_day, block)
    needed, out_of = watch.votes(candidate.features)
    return DetectorRecord(
        weights=WEIGHTS,
        features=candidate.features,
        by=candidate.by,
        smooth=candidate.smooth,
        threshold=0.0,
        tail="given",
        block=block,
        blocks=0,
        false_alarms_per_day=watch.false_alarms_per_day,
        needed=needed,
        out_of=out_of,
        release=watch.release,
        calm=watch.calm,
        settle=watch.settle,
        cool_down=watch.cool_down,
        adapt=watch.adapt,
        adapt_limit=watch.adapt_limit,
    )


def best_first(trials: Sequence[ScorerTrial], by_draw: Sequence[npt.NDArray[np.float64]]) -> list[int]:
    """The order in which candidates are preferred: by their mean, but embeddings only where they surely beat every raw scorer.

    Args:
        trials: the candidates.
        by_draw: for each candidate its figures (m,), of the same machines and draws.
    """
    from nearfar.evaluate.bootstrap import mean_interval

    order = sorted(range(len(trials)), key=lambda i: -by_draw[i].mean())
    raw = [i for i in order if trials[i].features == "raw"]
    if not raw or trials[order[0]].features == "raw":
        return order
    if mean_interval(by_draw[order[0]] - by_draw[raw[0]]).low > 0:
        return order
    return [raw[0], *(i for i in order if i != raw[0])]
