"""From a trained model of text to the bundle that ships, with what was measured on it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nearfar.errors import BundleError, RunError
from nearfar.progress import Stages
from nearfar.road.measure import as_metrics, compare, learn_fusion
from nearfar.road.provenance import provenance_of

if TYPE_CHECKING:
    from nearfar.bundle import Bundle, Fusion, Manifest, Metric
    from nearfar.evaluate import RetrievalTask
    from nearfar.learn.model import TorchEmbedder
    from nearfar.learn.pairs import TrainedPairs

_FUSION_QUERIES = 1_000


def export_text_bundle(
    trained: TrainedPairs, target: Path, *, dim: int | None, quantise: str, baselines: Sequence[str], stages: Stages
) -> Bundle:
    """Write the bundle of a trained run: graphs, vocabulary, learned fusion, figures, card.

    Args:
        trained: the run.
        target: directory of the bundle.
        dim: keep only the first so many components; None keeps all.
        quantise: `int8` or `none`.
        baselines: what to measure beside the bundle, of `bm25` and `untrained`.
        stages: told what is being done.

    Raises:
        BundleError: where it cannot be written; what was there stays.
        RunError: where the encoder has fewer than `dim` components.
    """
    from nearfar.bundle import BundleWriter, render_card
    from nearfar.learn.export import export_graph

    model = trained.embedder(dim=dim)
    full = model.method.query_tower.dim
    if model.dim > full:
        raise RunError(f"dim is {model.dim}, but the encoder gives only {full} components")
    files: dict[str, bytes] = {}
    graphs: dict[str, str] = {}
    shared = model.method.query_tower is model.method.document_tower

    def fill(writer: BundleWriter, manifest: Manifest) -> Bundle:
        for name, content in files.items():
            writer.add(name, content)
        return writer.finish(manifest, render_card(manifest))

    try:
        # Entered first, so that a target that cannot be written is known before minutes of measuring.
        with BundleWriter(target) as writer:
            tick = stages("exporting")
            for side, tower in (("query", model.method.query_tower), ("document", model.method.document_tower)):
                graphs[side] = "encoder.onnx" if shared else f"{side}_encoder.onnx"
                if graphs[side] not in files:
                    files[graphs[side]] = export_graph(tower, dim=model.dim, quantise=quantise)
                    tick(1)
            files[trained.frontend.settings.tokenizer] = trained.frontend.to_bytes()
            manifest = _manifest(trained, model, graphs)
            with tempfile.TemporaryDirectory(prefix="nearfar-") as folder:
                with BundleWriter(Path(folder) / "bundle") as draft_writer:
                    draft = fill(draft_writer, manifest)
                fusion, metrics = _measured(trained, model, draft, Path(folder), baselines, stages)
            return fill(writer, manifest.model_copy(update={"fusion": fusion, "metrics": metrics}))
    except OSError as error:  # what writes into the folder for temporary files; the writer has errors of its own
        raise BundleError(
            f"{target}: the bundle could not be made ({error}); what was there is untouched. "
            f"Free some space in {tempfile.gettempdir()}, or set TMPDIR to another folder."
        ) from error


def _manifest(trained: TrainedPairs, model: TorchEmbedder, graphs: dict[str, str]) -> Manifest:
    from nearfar.bundle import Manifest, Tower

    counts = trained.corpus.counts
    return Manifest(
        name=trained.recipe.name,
        towers={side: Tower(graph=graph) for side, graph in graphs.items()},  # type: ignore[misc]
        dim=model.dim,
        dims=tuple(sorted(d for d in model.method.dims if d < model.dim)),
        frontend=trained.frontend.settings,
        provenance=provenance_of(
            trained.recipe,
            fingerprint=counts.fingerprint,
            data_counts={
                "queries": counts.queries,
                "documents": counts.documents,
                "training_pairs": counts.train,
                "validation_pairs": counts.validation,
                "test_pairs": counts.test,
                "near_duplicates_dropped": counts.near_duplicates_dropped,
                "span_documents": counts.span_documents,
                "skipped": sum(counts.skipped.values()),
            },
            augmentations=[p.model_dump(mode="json") for p in trained.recipe.data.pairings if p.kind == "spans"],
        ),
    )


def _measured(
    trained: TrainedPairs, model: TorchEmbedder, draft: Bundle, folder: Path, baselines: Sequence[str], stages: Stages
) -> tuple[Fusion | None, dict[str, dict[str, Metric]]]:
    """Fit the fusion on the validation pairs, then measure everything on the test pairs."""
    from nearfar.learn.data.split import TEST, VALIDATION
    from nearfar.learn.heldout import retrieval_task

    settings, seed = trained.recipe.evaluate, trained.recipe.seed

    def task_of(side: int, limit: int) -> RetrievalTask | None:
        return retrieval_task(trained.corpus, side, max_queries=limit, max_documents=settings.max_documents, seed=seed)

    validation = task_of(VALIDATION, _FUSION_QUERIES)
    fusion = learn_fusion(draft, validation, folder / "index", stages) if validation else None
    test = task_of(TEST, settings.max_queries)
    if test is None:
        return fusion, {}
    untrained = trained.untrained() if "untrained" in baselines else None
    scores = compare(
        draft,
        test,
        folder / "index",  # the same candidates again: nothing is embedded twice
        model=model,
        untrained=untrained,
        bm25="bm25" in baselines,
        fusion=fusion,
        stages=stages,
        resamples=settings.bootstrap,
        seed=seed,
    )
    return fusion, as_metrics(scores)
