"""The figures and the attack report of a run that learned identities, over pictures and over recordings alike."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nearfar.progress import Stages

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from nearfar.bundle import Bundle
    from nearfar.bundle.block import Metric
    from nearfar.bundle.verification_record import VerificationRecord
    from nearfar.edge.encoder import Encoder
    from nearfar.embedder import Embedder
    from nearfar.learn.clips import TrainedClips
    from nearfar.learn.pictures import TrainedPictures
    from nearfar.recipe import Recipe
    from nearfar.road.attack_samples import Gradients
    from nearfar.road.people import People

_COHORT = "cohort.npy"


@dataclass(frozen=True)
class OfRun:
    """What goes into the bundle of a run that learned identities.

    Attributes:
        metrics: by row and name.
        record: how the bundle verifies.
        files: beside the graph, by name: the cohort, where there is one.
    """

    metrics: dict[str, dict[str, Metric]]
    record: VerificationRecord
    files: dict[str, bytes]


def identity_of_pictures(
    trained: TrainedPictures, bundle: Bundle, *, baselines: Sequence[str], dim: int | None, stages: Stages
) -> OfRun:
    """Measure and attack what ships of a run over pictures.

    Args:
        trained: the run.
        bundle: run through the device's own encoder.
        baselines: what to measure beside it, of `pixels` and `untrained`.
        dim: components that the bundle keeps; None for all.
        stages: told what is being done.

    Raises:
        DataError: the pictures are no longer where they were.
    """
    from nearfar.edge import Encoder
    from nearfar.road.measure_images import picture_rows
    from nearfar.road.people import people_in_pictures

    most = trained.recipe.evaluate.max_documents
    encoder = Encoder.open(bundle, threads=os.cpu_count() or 1)
    return _of_run(
        trained.recipe,
        encoder,
        picture_rows(trained, encoder, baselines=baselines, dim=dim),
        lambda side: people_in_pictures(trained, side, most=most),
        _gradients(trained.method().eval().encoder, dim),
        stages,
    )


def identity_of_clips(
    trained: TrainedClips, bundle: Bundle, *, baselines: Sequence[str], dim: int | None, stages: Stages
) -> OfRun:
    """Measure and attack what ships of a run over recordings; see `identity_of_pictures`.

    Raises:
        DataError: the recordings are no longer where they were.
    """
    from nearfar.edge import Encoder
    from nearfar.road.measure_audio import audio_rows
    from nearfar.road.people import people_in_clips

    most = trained.recipe.evaluate.max_documents
    return _of_run(
        trained.recipe,
        Encoder.open(bundle, threads=os.cpu_count() or 1),
        audio_rows(trained, bundle, baselines=baselines, dim=dim),
        lambda side: people_in_clips(trained, side, most=most),
        _gradients(trained.method().eval().encoder, dim),
        stages,
    )


def _of_run(
    recipe: Recipe,
    encoder: Encoder,
    rows: Mapping[str, Embedder],
    people: Callable[[int], People],
    model: Gradients,
    stages: Stages,
) -> OfRun:
    from nearfar.learn.data.split import TEST, TRAIN, VALIDATION
    from nearfar.road.attack_identity import attack_identity
    from nearfar.road.measure_identity import measure_identity

    settings = recipe.verify
    assert settings is not None  # the recipe sets it wherever the pairing is `identity`
    cohort = None
    if settings.cohort:
        cohort = _cohort(encoder, people(TRAIN), settings.cohort, recipe.seed, stages)
    test = people(TEST)
    resamples = max(1, recipe.evaluate.bootstrap)
    found = measure_identity(
        rows,
        people(VALIDATION),
        test,
        settings,
        seen=recipe.data.split.identities == "seen",
        cohort=cohort,
        cohort_file=_COHORT,
        resamples=resamples,
        seed=recipe.seed,
        stages=stages,
    )
    metrics = dict(found.metrics)
    if settings.attacks and "bundle" in metrics:
        metrics |= attack_identity(
            encoder,
            test,
            samples=settings.samples,
            components=found.record.components,
            threshold=None if cohort is not None else found.record.threshold,
            model=model,
            resamples=resamples,
            seed=recipe.seed,
            stages=stages,
        )
    return OfRun(metrics, found.record, {} if cohort is None else {_COHORT: _saved(cohort)})


def _gradients(encoder: Any, dim: int | None) -> Gradients:
    """The float encoder as a function that gradients go through."""
    for parameter in encoder.parameters():
        parameter.requires_grad_(False)
    return lambda inputs: encoder(inputs)[:, :dim]


def _cohort(encoder: Encoder, people: People, count: int, seed: int, stages: Stages) -> npt.NDArray[np.float32]:
    """The mean embedding of some training identities, unit rows (m, d)."""
    import numpy as np

    from nearfar.evaluate.labelled import embedded_units
    from nearfar.evaluate.pixels import at_unit_length
    from nearfar.road.measure import Counted

    identities = np.unique(people.labels)
    chosen = np.sort(np.random.default_rng([seed, 17]).permutation(identities)[:count])
    rows = np.flatnonzero(np.isin(people.labels, chosen))
    tick = stages("embedding the cohort", len(rows))
    vectors = embedded_units(Counted(encoder, tick), [people.items[int(row)] for row in rows])
    labels = people.labels[rows]
    return at_unit_length(np.stack([vectors[labels == one].mean(axis=0) for one in chosen]).astype(np.float32))


def _saved(array: npt.NDArray[np.float32]) -> bytes:
    import numpy as np

    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()
