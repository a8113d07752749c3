"""From a trained encoder of windows to a monitor: how to score is chosen, thresholds are set, and all is measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nearfar.errors import RunError
from nearfar.progress import Stages
from nearfar.road.draft import Draft, shipping
from nearfar.road.measure_series import compare_series, machine_parts
from nearfar.road.provenance import provenance_of

if TYPE_CHECKING:
    from nearfar.bundle import Bundle
    from nearfar.edge.monitor.detector import Detector
    from nearfar.learn.series import TrainedSeries
    from nearfar.recipe.compress import Compress

_GRAPH = "encoder.onnx"


def export_series_bundle(
    trained: TrainedSeries,
    target: Path,
    *,
    dim: int | None,
    quantise: str,
    baselines: Sequence[str],
    stages: Stages,
    compress: Compress | None = None,
) -> Bundle:
    """Write the bundle of a trained run over series: channels, detector, the encoder where it is of use, figures, card.

    Args:
        trained: the run.
        target: directory of the bundle.
        dim: of no use here; must be None.
        quantise: `int8` or `none`.
        baselines: what to measure beside the bundle, of `untrained`; the mean of the last frames always is.
        stages: told what is being done.
        compress: no such steps are known for series.

    Raises:
        BundleError: where it cannot be written; what was there stays.
        DataError: where too little healthy data is left to set a threshold by.
        RunError: where the encoder cannot be turned into a graph, or there is something to compress by.
    """
    from nearfar.edge.monitor.embedding import open_embedding
    from nearfar.edge.monitor.fit import Fitter
    from nearfar.edge.monitor.make import make_detector

    if compress is not None:
        raise RunError(
            "compress is for text and pictures; of an encoder of series, encoder.width, encoder.layers and encoder.dim say how small it is"
        )
    if dim is not None:
        raise RunError("dim cuts embeddings that are compared by cosine; set encoder.dim for a series encoder")
    recipe = trained.recipe
    with shipping(target) as (writer, folder):
        encoder = encoder_draft(trained, quantise=quantise, stages=stages)
        embed = open_embedding(encoder.written(folder / "encoder"), threads=1)
        parts, watch = machine_parts(trained.corpus), recipe.of_series.watch
        windows = sum(len(stretch.frames) // trained.settings.window for part in parts for stretch in part.fitted)
        enough = windows >= watch.least_windows
        fitter = Fitter(trained.settings, watch, embed if enough else None, recipe.seed)
        detector = make_detector(fitter, parts, faults=recipe.of_series.method.faults, stages=stages)
        if not enough:
            remark = (
                f"The encoder was no candidate: it was trained on {windows:,} windows that do not overlap, and "
                f"watch.least_windows asks for {watch.least_windows:,}."
            )
            detector.record = detector.record.model_copy(update={"remark": remark})
        metrics = compare_series(trained, parts, detector, baselines=baselines, stages=stages)
        return _monitor(encoder, detector).fill(writer, metrics=metrics)


def encoder_draft(trained: TrainedSeries, *, quantise: str, stages: Stages) -> Draft:
    """A bundle that embeds windows, and watches nothing yet."""
    from nearfar.bundle import Manifest, Tower
    from nearfar.learn.export.series import choose_series_graph

    tick = stages("exporting")
    recipe, counts, settings = trained.recipe, trained.corpus.counts, trained.settings
    encoder = trained.method().encoder
    graph = choose_series_graph(
        encoder,
        window=settings.window,
        features=settings.features,
        quantise=quantise,
        calibration=trained.example_windows(),
    )
    tick(1)
    tower, parts = Tower(graph=_GRAPH), recipe.of_series
    manifest = Manifest(
        name=recipe.name,
        kind="series-monitor",
        towers={"query": tower, "document": tower},
        dim=encoder.dim,
        similarity="euclidean",
        frontend=settings,
        provenance=provenance_of(
            recipe,
            fingerprint=counts.fingerprint,
            data_counts={
                "machines": len(counts.machines),
                "frames": counts.frames,
                "training_frames": counts.train,
                "validation_frames": counts.validation,
                "test_frames": counts.test,
                "faulty_frames": counts.faulty,
                "skipped": sum(counts.skipped.values()),
            },
            augmentations=[parts.views.model_dump(mode="json", exclude_none=True)],
        ),
    )
    return Draft({_GRAPH: graph.content}, manifest)


def _monitor(encoder: Draft, detector: Detector) -> Draft:
    """The bundle that ships: without the encoder where plain means are as good."""
    files = {detector.record.weights: detector.to_bytes()}
    change: dict[str, object] = {"detector": detector.record}
    if detector.record.features == "embedding":
        files |= encoder.files
    else:
        change |= {"towers": {}, "dim": 0}
    return Draft(files, encoder.manifest.model_copy(update=change))
