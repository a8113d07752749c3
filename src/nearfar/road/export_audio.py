"""From a trained encoder of sound to the bundle that ships, with what was measured on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nearfar.errors import RunError
from nearfar.progress import Stages
from nearfar.road.draft import Draft, shipping
from nearfar.road.identity_of_run import identity_of_clips
from nearfar.road.measure_audio import compare_audio
from nearfar.road.provenance import provenance_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from nearfar.bundle import Bundle
    from nearfar.learn.clips import TrainedClips
    from nearfar.recipe.compress import Compress

_CALIBRATED = 512
_AT_A_TIME = 32
_GRAPH = "encoder.onnx"


def export_audio_bundle(
    trained: TrainedClips,
    target: Path,
    *,
    dim: int | None,
    quantise: str,
    baselines: Sequence[str],
    stages: Stages,
    compress: Compress | None = None,
) -> Bundle:
    """Write the bundle of a trained run over recordings: graph, figures, card.

    Args:
        trained: the run.
        target: directory of the bundle.
        dim: keep only the first so many components; None keeps all.
        quantise: `int8` or `none`.
        baselines: what to measure beside the bundle, of `spectrum` and `untrained`.
        stages: told what is being done.
        compress: must be None: the steps of compression do not know encoders of sound.

    Raises:
        BundleError: where it cannot be written; what was there stays.
        DataError: where the recordings to measure on are no longer where they were.
        RunError: where the encoder has fewer than `dim` components or cannot be turned into a graph, or compression is asked for.
    """
    if compress is not None:
        raise RunError("compress is not for recordings yet: leave it out, and set export.quantise and export.dim")
    encoder_dim = trained.method().encoder.dim
    if dim is not None and dim > encoder_dim:
        raise RunError(f"dim is {dim}, but the encoder gives only {encoder_dim} components")
    with shipping(target) as (writer, folder):
        draft = audio_draft(trained, dim=dim, quantise=quantise, stages=stages)
        bundle = draft.written(folder / "bundle")
        if trained.recipe.identity is None:
            metrics = compare_audio(trained, bundle, baselines=baselines, dim=dim, stages=stages)
            return draft.fill(writer, metrics=metrics)
        found = identity_of_clips(trained, bundle, baselines=baselines, dim=dim, stages=stages)
        draft = replace(draft, files={**draft.files, **found.files})
        return draft.fill(writer, metrics=found.metrics, verification=found.record)


def audio_draft(trained: TrainedClips, *, dim: int | None, quantise: str, stages: Stages) -> Draft:
    """The bundle of an encoder of sound, not yet measured.

    Raises:
        RunError: where the encoder cannot be turned into a graph.
    """
    from nearfar.bundle import Manifest, Tower
    from nearfar.learn.export.audio import choose_audio_graph

    tick = stages("exporting")
    encoder = trained.method().eval().encoder
    graph = choose_audio_graph(encoder, dim=dim, quantise=quantise, calibration=list(_calibration(trained)))
    kept = graph.weights == "int8" or quantise == "none"
    tick(1, "" if kept else f"in float: int8 would have kept only a cosine of {graph.cosine:.3f}")
    recipe, counts, tower = trained.recipe, trained.corpus.counts, Tower(graph=_GRAPH)
    manifest = Manifest(
        name=recipe.name,
        kind="audio-encoder",
        towers={"query": tower, "document": tower},
        dim=dim or encoder.dim,
        frontend=trained.frontend.settings,
        provenance=provenance_of(
            recipe,
            fingerprint=counts.fingerprint,
            data_counts={
                "recordings": counts.clips,
                "seconds": round(counts.seconds),
                "training_recordings": counts.train,
                "validation_recordings": counts.validation,
                "test_recordings": counts.test,
                "labelled_recordings": counts.labelled,
                "twins_dropped": counts.twins_dropped,
                "skipped": sum(counts.skipped.values()),
            },
            augmentations=[recipe.of_audio.views.model_dump(mode="json", exclude_none=True)],
        ),
    )
    return Draft({_GRAPH: graph.content}, manifest)


def _calibration(trained: TrainedClips) -> Iterator[npt.NDArray[np.float32]]:
    """Training recordings as the device will hear them: they say which numbers the int8 graph has to hold."""
    import numpy as np

    from nearfar.learn.data.split import TRAIN
    from nearfar.learn.data.stored_sound import of_stored

    corpus, frontend = trained.corpus, of_stored(trained.frontend.settings)
    numbers = np.random.default_rng([trained.recipe.seed, 7]).permutation(corpus.numbers_of(TRAIN))[:_CALIBRATED]
    alike: dict[int, list[Any]] = {}
    for number in numbers:
        waves = frontend.fitted(corpus.waves(int(number)))
        batch = alike.setdefault(len(waves), [])
        batch.append(waves)
        if len(batch) == _AT_A_TIME:
            yield np.stack(alike.pop(len(waves)))
    yield from map(np.stack, alike.values())
