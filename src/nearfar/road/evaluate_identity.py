"""How well a bundle tells the people of somebody else's data apart, and what attacks do to it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nearfar.errors import BundleError, DataError
from nearfar.progress import Stages, silent
from nearfar.road.people import People
from nearfar.sources.document import ReadReport

if TYPE_CHECKING:
    from nearfar.bundle import Bundle
    from nearfar.bundle.block import Metric
    from nearfar.edge.encoder import Encoder
    from nearfar.edge.verify.samples import Sample
    from nearfar.embedder import Embedder
    from nearfar.evaluate.verification import Trials

_PIXELS = 32  # height and width at which pixels are the baseline


@dataclass(frozen=True)
class IdentityReport:
    """What was measured of a bundle on some people.

    Attributes:
        metrics: rows `pixels` or `spectrum`, `bundle`, `attacks`, and `group NAME` for each value of an attribute.
        trials: by row, to draw.
        threshold: of the bundle, or what was asked for; None without one.
        identities: enrolled and tried.
        samples: that a template was made of.
        sessions: whether it is known which samples were taken in one go.
        refused: samples that could not be read.
    """

    metrics: dict[str, dict[str, Metric]]
    trials: dict[str, Trials]
    threshold: float | None
    identities: int
    samples: int
    sessions: bool
    refused: ReadReport


def evaluate_identity(
    bundle: Bundle,
    samples: Iterable[Sample],
    *,
    of: int | None = None,
    threshold: float | None = None,
    attacks: bool = True,
    resamples: int = 1000,
    seed: int = 0,
    stages: Stages = silent,
) -> IdentityReport:
    """Enrol people as a vault does, try everyone against everyone, and attack.

    Args:
        bundle: an encoder of pictures or of sound.
        samples: of people that the encoder was not trained on.
        of: samples that a template is made of; by default as the bundle has it, or 5.
        threshold: least score of a match; by default that of the bundle.
        attacks: whether to attack as well; without the float model there is no attack by gradients.
        resamples: of the intervals.
        seed: of enrolments, keys and intervals.
        stages: told what is being done.

    Raises:
        BundleError: the bundle embeds neither pictures nor sound.
        DataError: nobody has more samples than a template is made of, or there is one identity alone.
    """
    from nearfar.edge import Encoder
    from nearfar.edge.verify.cohort import read_cohort
    from nearfar.evaluate.labelled import embedded_units
    from nearfar.road.attack_identity import attack_identity
    from nearfar.road.measure import Counted, in_manifest
    from nearfar.road.measure_identity import one_shot, rates, trials_of

    record = bundle.manifest.verification
    if bundle.manifest.kind not in ("image-encoder", "audio-encoder"):
        raise BundleError(
            f"{bundle.path}: this bundle is of kind {bundle.manifest.kind}, which tells no identities apart"
        )
    encoder = Encoder.open(bundle, threads=os.cpu_count() or 1)
    people, refused = _people(encoder, samples, stages)
    of = of or (record.samples if record else 5)
    if threshold is None and record is not None:
        threshold = record.threshold
    components = record.components if record else min(128, encoder.dim)
    cohort = read_cohort(bundle)
    found, trials = {}, {}
    for row, embedder in {**_baseline(encoder), "bundle": encoder}.items():
        tick = stages(f"measuring: {row}", len(people.items))
        vectors = embedded_units(Counted(embedder, tick), people.items)
        own = row == "bundle"
        kept = components if own else embedder.dim
        trials[row] = trials_of(vectors, people, of, kept, seed, cohort if own else None)
        at = threshold if own else None
        found[row] = rates(trials[row], at, has_sessions=people.has_sessions, resamples=resamples, seed=seed)
        found[row] |= one_shot(vectors, people, resamples=resamples, seed=seed)
    metrics = in_manifest(found)
    if attacks:
        metrics |= attack_identity(
            encoder,
            people,
            samples=of,
            components=components,
            threshold=None if cohort is not None else threshold,
            resamples=resamples,
            seed=seed,
            stages=stages,
        )
    identities = len(set(trials["bundle"].genuine_of.tolist()))
    return IdentityReport(metrics, trials, threshold, identities, of, people.has_sessions, refused)


def _people(encoder: Encoder, samples: Iterable[Sample], stages: Stages) -> tuple[People, ReadReport]:
    """Samples as people, without those that cannot be read."""
    import numpy as np

    from nearfar.edge.verify.samples import numbered
    from nearfar.frontend.item_error import ItemError

    frontend: Any = encoder.frontend
    refused = ReadReport()
    tick = stages("reading")
    kept: list[Sample] = []
    for sample in samples:
        tick(1)
        if not sample.identity:
            refused.skip(sample.location, "nobody's: no folder or label says whose it is")
            continue
        try:
            frontend.prepare(sample.item, name=sample.location)
        except ItemError as error:
            refused.skip(sample.location, error.reason, detail=error.detail)
            continue
        kept.append(sample)
    if not kept:
        raise DataError(
            "there is no sample that can be used: give a folder with a folder for each identity, or a table"
        )
    labels = numbered(sample.identity for sample in kept)
    sessions = numbered(f"{sample.identity}\0{sample.session}" for sample in kept)
    return (
        People(
            [sample.item for sample in kept],
            np.array(labels, np.int64),
            np.array([n if sample.session else -1 for n, sample in zip(sessions, kept, strict=True)], np.int64),
            tuple(sample.attribute for sample in kept) if any(sample.attribute for sample in kept) else (),
        ),
        refused,
    )


def _baseline(encoder: Encoder) -> dict[str, Embedder]:
    """What the encoder should be better than."""
    from nearfar.evaluate.pixels import PixelEmbedder
    from nearfar.evaluate.spectrum import SpectrumEmbedder
    from nearfar.frontend import AudioFrontend, ImageFrontend

    frontend = encoder.frontend
    if isinstance(frontend, AudioFrontend):
        return {"spectrum": SpectrumEmbedder(frontend)}
    assert isinstance(frontend, ImageFrontend)
    side = min(frontend.settings.size, _PIXELS)
    small = ImageFrontend(frontend.settings.model_copy(update={"size": side}))
    return {"pixels": PixelEmbedder(small.encode, frontend.settings.channels * side**2)}
