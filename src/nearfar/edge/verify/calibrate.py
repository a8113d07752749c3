"""A threshold for the people of one place: nothing is trained, only what a match is gets measured anew."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nearfar.bundle import Bundle, BundleWriter, Manifest, Metric, render_card
from nearfar.bundle.bundle import CARD, MANIFEST
from nearfar.bundle.verification_record import VerificationRecord
from nearfar.edge.encoder import Encoder
from nearfar.edge.verify.cohort import read_cohort
from nearfar.edge.verify.quality import check_quality
from nearfar.edge.verify.samples import Sample, numbered
from nearfar.edge.verify.threshold import Threshold, choose_threshold, trials_needed
from nearfar.edge.verify.trials import verification_trials
from nearfar.errors import BundleError, DataError
from nearfar.evaluate.bootstrap import Interval
from nearfar.frontend.settings import AudioSettings, ImageSettings
from nearfar.progress import Stages, silent
from nearfar.sources.document import ReadReport

Vectors = npt.NDArray[np.float32]

_AT_A_TIME = 64
_AT_THE_THRESHOLD = ("fmr", "fnmr")
_USUAL = VerificationRecord(components=128, samples=5, fmr=0.001)
"""Of a bundle that has not been made to tell identities apart."""


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What came of a calibration.

    Attributes:
        bundle: the new one.
        threshold: that was chosen, with what a person should know before trusting it.
        record: the same as it lies in the bundle.
        refused: samples of bad quality, which a vault would refuse as well.
    """

    bundle: Bundle
    threshold: Threshold
    record: VerificationRecord
    refused: ReadReport


@dataclass(frozen=True, slots=True)
class Embedded:
    """Samples as vectors.

    Attributes:
        vectors: float32 (n, d), unit rows.
        labels: int64 (n,), the number of each one's identity.
        sessions: int64 (n,), the number of each one's session; of samples without one their own.
    """

    vectors: Vectors
    labels: npt.NDArray[np.int64]
    sessions: npt.NDArray[np.int64]


def calibrate_identity(
    bundle: str | Path | Bundle,
    samples: Iterable[Sample],
    target: str | Path,
    *,
    fmr: float | None = None,
    confidence: float | None = None,
    of: int | None = None,
    seed: int = 0,
    stages: Stages = silent,
) -> Calibrated:
    """Choose the threshold of a match by samples of your own identities.

    Args:
        bundle: an encoder of pictures or of sound.
        samples: of the identities, each with more samples than make a template. The encoder must not have been trained on them.
        target: directory of the new bundle, another one. The weights are the same, so that only what a match is changes, and a
            vault of the bundle takes it over (`Verifier.adopt`).
        fmr: target false match rate; by default as the bundle has it, else 0.001.
        confidence: of its upper bound; likewise, else 0.95.
        of: samples that a template is made of; likewise, else 5.
        seed: of which samples are enrolled.
        stages: told what is being done.

    Raises:
        TooFewTrialsError: the samples cannot support the target; the message says what could.
        DataError: nobody has samples enough, or none can be used.
        BundleError: the bundle is damaged or compares no directions, or the target is the bundle itself or cannot be written.
    """
    bundle = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    manifest = bundle.manifest
    if not isinstance(manifest.frontend, (ImageSettings, AudioSettings)) or manifest.similarity != "cosine":
        raise BundleError(
            f"{bundle.path}: is of kind {manifest.kind} ({manifest.similarity}), but identities are told apart by the angle of embeddings "
            "of pictures or sound: train one by a recipe with `pairing: {kind: identity}`"
        )
    if Path(target).resolve().is_relative_to(bundle.path.resolve()):
        raise BundleError(
            f"{target}: is the bundle that is to be calibrated, or lies in it, and that one stays as it is: give the new bundle a directory "
            "of its own"
        )
    before = manifest.verification or _USUAL.model_copy(update={"components": min(_USUAL.components, manifest.dim)})
    fmr = before.fmr if fmr is None else fmr
    confidence = before.confidence if confidence is None else confidence
    trials_needed(fmr, confidence)  # what is out of range is refused before anything is embedded
    refused = ReadReport()
    embedded = embed_samples(Encoder.open(bundle), samples, refused, stages=stages)
    asked = of or before.samples
    stages("trying")
    trials = verification_trials(
        embedded.vectors,
        embedded.labels,
        embedded.sessions,
        samples=asked,
        components=before.components,
        seed=seed,
        cohort=read_cohort(bundle),
    )
    identities = len(np.unique(embedded.labels))
    threshold = choose_threshold(
        np.asarray(trials.genuine, dtype=np.float32),
        np.asarray(trials.impostor, dtype=np.float32),
        fmr=fmr,
        confidence=confidence,
        identities=identities,
    )
    record = before.model_copy(update={"samples": asked, "trials_of": "own", "seen": False, **chosen(threshold)})
    return Calibrated(_written(bundle, record, target), threshold, record, refused)


def chosen(threshold: Threshold) -> dict[str, Any]:
    """What a `VerificationRecord` says of a threshold."""
    return {
        "threshold": threshold.value,
        "fmr": threshold.fmr,
        "confidence": threshold.confidence,
        "identities": threshold.identities,
        "genuine": threshold.genuine,
        "impostor": threshold.impostor,
        "realised_fmr": _metric(threshold.realised_fmr),
        "realised_fnmr": _metric(threshold.realised_fnmr),
    }


def embed_samples(
    encoder: Encoder, samples: Iterable[Sample], refused: ReadReport, *, stages: Stages = silent
) -> Embedded:
    """Embed samples a few at a time, without those that a vault would refuse.

    Args:
        encoder: of the bundle.
        samples: to embed.
        refused: receives those of bad quality.
        stages: told how far it is.

    Raises:
        DataError: none can be used.
    """
    tick = stages("embedding")
    settings = encoder.bundle.manifest.frontend
    names: list[str] = []
    sessions: list[str] = []
    blocks: list[Vectors] = []
    waiting = iter(samples)
    while some := list(itertools.islice(waiting, _AT_A_TIME)):
        good = []
        for sample in some:
            problem = check_quality(settings, sample.item)
            if problem is None:
                good.append(sample)
            else:
                refused.skip(sample.location or sample.identity, problem.name, detail=problem.detail)
        if good:
            blocks.append(encoder.embed([sample.item for sample in good]))
        for sample in good:
            # Without a session each sample is one of its own.
            sessions.append(f"{sample.identity}\0{sample.session}" if sample.session else f"\0{len(names)}")
            names.append(sample.identity)
        tick(len(some))
    if not blocks:
        examples = f"; the first: {'; '.join(refused.examples)}" if refused.examples else ""
        raise DataError(f"no sample can be used{examples}")
    return Embedded(
        np.concatenate(blocks), np.array(numbered(names), dtype=np.int64), np.array(numbered(sessions), dtype=np.int64)
    )


def _metric(interval: Interval) -> Metric:
    return Metric(value=interval.value, low=interval.low, high=interval.high)


def _still_true(metrics: Mapping[str, Mapping[str, Metric]]) -> dict[str, dict[str, Metric]]:
    """The figures of an encoder without those at its former threshold; attacks name the threshold that they were measured at."""
    rows = {
        row: {name: metric for name, metric in figures.items() if name not in _AT_THE_THRESHOLD}
        for row, figures in metrics.items()
    }
    return {row: figures for row, figures in rows.items() if figures}


def _written(bundle: Bundle, record: VerificationRecord, target: str | Path) -> Bundle:
    before = bundle.manifest
    fields = {name: getattr(before, name) for name in Manifest.model_fields if name != "created"}
    provenance = before.provenance.model_copy(update={"parent": bundle.digest})
    kept = before.verification is not None and before.verification.samples == record.samples
    metrics = _still_true(before.metrics) if kept else {}
    manifest = Manifest(**{**fields, "verification": record, "provenance": provenance, "metrics": metrics})
    with BundleWriter(target) as writer:
        for name in sorted(bundle.sums.keys() - {MANIFEST, CARD}):
            writer.add(name, bundle.read(name))
        return writer.finish(manifest, render_card(manifest))
