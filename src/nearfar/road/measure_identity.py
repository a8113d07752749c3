"""Measuring who is told from whom: error rates through templates as a vault makes them, and the threshold that ships."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nearfar.progress import Stages, silent
from nearfar.road.measure import Counted

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from nearfar.bundle.block import Metric
    from nearfar.bundle.verification_record import VerificationRecord
    from nearfar.edge.verify.threshold import Threshold
    from nearfar.embedder import Embedder
    from nearfar.evaluate.bootstrap import Interval
    from nearfar.evaluate.verification import Trials
    from nearfar.recipe.identity import Verification
    from nearfar.road.people import People

    Vectors = npt.NDArray[np.float32]

_DRAWS = 3  # enrolments of each identity by which figures are measured; a threshold is chosen by one
_MOST = 400_000  # impostor trials, of which intervals are drawn anew a thousand times
_LONG, _MOST_LONG = 512, 40_000  # components from which on each is enrolled once, in fewer trials: raw pixels
_WAYS = (20, 5)  # of one-shot figures; the first that there are identities for


@dataclass(frozen=True)
class Chosen:
    """The threshold of a bundle, or why it has none.

    Attributes:
        threshold: what was chosen; None where the trials are too few.
        why_none: what would be needed; empty where there is one.
        identities: in the trials.
        genuine: trials; `impostor` likewise.
    """

    threshold: Threshold | None
    why_none: str
    identities: int
    genuine: int
    impostor: int


@dataclass(frozen=True)
class IdentityFigures:
    """What was measured of a bundle that tells identities apart.

    Attributes:
        metrics: by row and name, for the manifest.
        record: how the bundle verifies.
        why_no_threshold: empty where the record has one.
    """

    metrics: dict[str, dict[str, Metric]]
    record: VerificationRecord
    why_no_threshold: str


def measure_identity(
    rows: Mapping[str, Embedder],
    validation: People | None,
    test: People,
    settings: Verification,
    *,
    seen: bool = False,
    cohort: Vectors | None = None,
    cohort_file: str | None = None,
    resamples: int = 1000,
    seed: int = 0,
    stages: Stages = silent,
) -> IdentityFigures:
    """Choose the threshold on validation identities, and measure on those of the test part.

    Args:
        rows: what is measured, by row: `bundle` (the device's own encoder) must be among them; beside it baselines and the float model.
        validation: whose trials choose the threshold; None for nobody.
        test: whose trials are reported.
        settings: target, samples and components of a template.
        seen: whether the encoder was trained on these identities.
        cohort: embeddings of strangers, (m, d) of the bundle, to normalise its scores by.
        cohort_file: the name under which the bundle has them.
        resamples: of the intervals.
        seed: of enrolments and intervals.
        stages: told what is being done.

    Returns:
        Rows with `eer`, `fmr100` to `fmr10000` (false non-match rate at a false match rate of 1, 0.1, 0.01 %), `eer_same_session` and
        `eer_other_session` where sessions are known, `one_shot_20`; the row `bundle` also with `fmr` and `fnmr` at the threshold. No rows
        where the test part has no trials.

    Raises:
        RunError: an embedding is of the wrong shape or not finite.
    """
    from nearfar.bundle.verification_record import VerificationRecord
    from nearfar.errors import DataError
    from nearfar.evaluate.labelled import embedded_units
    from nearfar.road.measure import in_manifest

    bundle = rows["bundle"]
    components = min(settings.components, bundle.dim)
    chosen = Chosen(None, "no identities were held out to validate with", 0, 0, 0)
    if validation is not None and len(validation.items):
        tick = stages("measuring: threshold", len(validation.items))
        vectors = embedded_units(Counted(bundle, tick), validation.items)
        chosen = choose(vectors, validation, settings, cohort=cohort, seed=seed)
        if chosen.why_none:
            tick(0, chosen.why_none)
    threshold = None if chosen.threshold is None else chosen.threshold.value
    found: dict[str, dict[str, Interval]] = {}
    for row, embedder in rows.items():
        if not len(test.items):
            break
        tick = stages(f"measuring: {row}", len(test.items))
        vectors = embedded_units(Counted(embedder, tick), test.items)
        # Baselines keep all components: what sealing costs is not theirs to bear.
        kept = components if embedder.dim == bundle.dim else embedder.dim
        of_bundle = row == "bundle"
        try:
            trials = trials_of(vectors, test, settings.samples, kept, seed, cohort if of_bundle else None)
        except DataError as error:
            tick(0, str(error))
            continue
        at = threshold if of_bundle else None
        found[row] = rates(trials, at, has_sessions=test.has_sessions, resamples=resamples, seed=seed)
        found[row] |= one_shot(vectors, test, resamples=resamples, seed=seed)
    record = VerificationRecord(
        components=components,
        samples=settings.samples,
        threshold=threshold,
        fmr=settings.fmr,
        confidence=settings.confidence,
        seen=seen,
        identities=chosen.identities,
        genuine=chosen.genuine,
        impostor=chosen.impostor,
        realised_fmr=None if chosen.threshold is None else metric_of(chosen.threshold.realised_fmr),
        realised_fnmr=None if chosen.threshold is None else metric_of(chosen.threshold.realised_fnmr),
        cohort=cohort_file if cohort is not None else None,
    )
    return IdentityFigures(in_manifest(found), record, chosen.why_none)


def choose(
    vectors: Vectors, people: People, settings: Verification, *, cohort: Vectors | None = None, seed: int = 0
) -> Chosen:
    """The threshold by trials of some people, or what is missing."""
    import numpy as np

    from nearfar.edge.verify.threshold import choose_threshold
    from nearfar.edge.verify.trials import verification_trials
    from nearfar.errors import DataError

    components = min(settings.components, vectors.shape[1])
    try:
        trials = verification_trials(
            vectors,
            people.labels,
            people.sessions,
            samples=settings.samples,
            components=components,
            seed=seed,
            cohort=cohort,
        )
    except DataError as error:
        return Chosen(None, str(error), 0, 0, 0)
    counts = (len(trials.identities), len(trials.genuine), len(trials.impostor))
    try:
        threshold = choose_threshold(
            trials.genuine.astype(np.float32),
            trials.impostor.astype(np.float32),
            fmr=settings.fmr,
            confidence=settings.confidence,
            identities=len(trials.identities),
        )
    except DataError as error:
        return Chosen(None, str(error), *counts)
    return Chosen(threshold, "", *counts)


def trials_of(
    vectors: Vectors, people: People, samples: int, components: int, seed: int, cohort: Vectors | None = None
) -> Trials:
    """Trials to report figures of, from several enrolments of everyone; of long vectors from one, because they take long.

    Raises:
        DataError: nobody has more samples than a template is made of, or there is one identity alone.
    """
    from nearfar.edge.verify.trials import verification_trials

    return verification_trials(
        vectors,
        people.labels,
        people.sessions,
        samples=samples,
        components=components,
        seed=seed,
        draws=_DRAWS if vectors.shape[1] <= _LONG else 1,
        cohort=cohort,
        most=_MOST if vectors.shape[1] <= _LONG else _MOST_LONG,
    )


def rates(
    trials: Trials, threshold: float | None, *, has_sessions: bool, resamples: int, seed: int
) -> dict[str, Interval]:
    """Figures of trials with intervals; at a threshold the wider one of drawing identities anew and of exact counting."""
    from nearfar.evaluate.identity_bootstrap import verification_intervals
    from nearfar.evaluate.verification import error_rates

    found = verification_intervals(trials, threshold=threshold, resamples=max(1, resamples), seed=seed)
    if threshold is not None:
        exact = error_rates(trials, threshold)
        found |= {name: _wider(found[name], getattr(exact, name)) for name in ("fmr", "fnmr")}
    if has_sessions:
        for name, same in (("eer_same_session", True), ("eer_other_session", False)):
            some = trials.of_sessions(same)
            if len(some.genuine):
                found[name] = verification_intervals(some, resamples=max(1, resamples), seed=seed)["eer"]
    return found


def one_shot(vectors: Vectors, people: People, *, resamples: int, seed: int) -> dict[str, Interval]:
    """`one_shot_20`, or `one_shot_5` where there are too few identities for that; nothing where there are fewer."""
    from nearfar.errors import DataError
    from nearfar.evaluate.few_shot import one_shot_accuracy

    for ways in _WAYS:
        try:
            found = one_shot_accuracy(
                vectors,
                people.labels,
                people.sessions,
                groups=people.groups or None,
                ways=ways,
                resamples=max(1, resamples),
                seed=seed,
            )
        except DataError:
            continue
        return {f"one_shot_{ways}": found.accuracy}
    return {}


def metric_of(interval: Interval) -> Metric:
    """A figure in the form of the manifest."""
    from nearfar.bundle.block import Metric

    return Metric(value=interval.value, low=interval.low, high=interval.high)


def _wider(one: Interval, other: Interval) -> Interval:
    from nearfar.evaluate.bootstrap import Interval

    return Interval(one.value, min(one.low, other.low), max(one.high, other.high))
