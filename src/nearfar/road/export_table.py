"""From a trained encoder of rows to the bundle that ships, with what was measured on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nearfar.errors import RunError
from nearfar.progress import Stages
from nearfar.road.draft import Draft, shipping
from nearfar.road.measure_table import compare_rows
from nearfar.road.provenance import provenance_of

if TYPE_CHECKING:
    from nearfar.bundle import Bundle
    from nearfar.learn.rows import TrainedRows
    from nearfar.recipe.compress import Compress

_GRAPH = "encoder.onnx"


def export_table_bundle(
    trained: TrainedRows,
    target: Path,
    *,
    dim: int | None,
    quantise: str,
    baselines: Sequence[str],
    stages: Stages,
    compress: Compress | None = None,
) -> Bundle:
    """Write the bundle of a trained run over rows: graph, columns, figures, card.

    Args:
        trained: the run.
        target: directory of the bundle.
        dim: keep only the first so many components; None keeps all.
        quantise: `int8` or `none`.
        baselines: what to measure beside the bundle, of `columns` and `untrained`.
        stages: told what is being done.
        compress: no such steps are known for rows.

    Raises:
        BundleError: where it cannot be written; what was there stays.
        DataError: where the rows to measure on are no longer where they were.
        RunError: where the encoder has fewer than `dim` components or cannot be turned into a graph, or there is
            something to compress by.
    """
    if compress is not None:
        raise RunError(
            "compress is for text and pictures; of an encoder of rows, encoder.width and encoder.dim say how small it is"
        )
    encoder = trained.method().encoder
    if dim is not None and dim > encoder.dim:
        raise RunError(f"dim is {dim}, but the encoder gives only {encoder.dim} components")
    with shipping(target) as (writer, folder):
        draft = _draft(trained, dim=dim, quantise=quantise, stages=stages)
        bundle = draft.written(folder / "bundle")
        metrics = compare_rows(trained, bundle, baselines=baselines, dim=dim, stages=stages)
        return draft.fill(writer, metrics=metrics)


def _draft(trained: TrainedRows, *, dim: int | None, quantise: str, stages: Stages) -> Draft:
    """The bundle of an encoder of rows, before it is measured."""
    from nearfar.bundle import Manifest, Tower
    from nearfar.learn.export.table import export_table_graph

    tick = stages("exporting")
    encoder, recipe, counts = trained.method().encoder, trained.recipe, trained.corpus.counts
    graph = export_table_graph(encoder, features=len(trained.frontend.widths), dim=dim, quantise=quantise)
    tick(1)
    tower, method = Tower(graph=_GRAPH), recipe.of_table.method
    manifest = Manifest(
        name=recipe.name,
        kind="table-encoder",
        towers={"query": tower, "document": tower},
        dim=dim or encoder.dim,
        frontend=trained.corpus.settings,
        provenance=provenance_of(
            recipe,
            fingerprint=counts.fingerprint,
            data_counts={
                "rows": counts.rows,
                "training_rows": counts.train,
                "validation_rows": counts.validation,
                "test_rows": counts.test,
                "labelled_rows": counts.labelled,
                "skipped": sum(counts.skipped.values()),
            },
            augmentations=[{"kind": "corruption", "share": method.corruption, "anchor": method.anchor}],
        ),
    )
    return Draft({_GRAPH: graph}, manifest)
