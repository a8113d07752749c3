"""From a trained model of text to the bundle that ships, with what was measured on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nearfar.errors import RunError
from nearfar.progress import Stages
from nearfar.road.compress import agreement, climb
from nearfar.road.draft import shipping
from nearfar.road.draft_text import text_bench, text_draft
from nearfar.road.measure import as_metrics, compare, learn_fusion
from nearfar.road.teacher_documents import teacher_documents

if TYPE_CHECKING:
    from nearfar.bundle import Bundle, Fusion, Metric
    from nearfar.embedder import Embedder
    from nearfar.evaluate import RetrievalTask
    from nearfar.learn.model import TorchEmbedder
    from nearfar.learn.pairs import TrainedPairs
    from nearfar.recipe.compress import Compress

_FUSION_QUERIES = 1_000


def export_text_bundle(
    trained: TrainedPairs,
    target: Path,
    *,
    dim: int | None,
    quantise: str,
    baselines: Sequence[str],
    stages: Stages,
    compress: Compress | None = None,
) -> Bundle:
    """Write the bundle of a trained run: graphs, vocabulary, learned fusion, figures, card.

    Args:
        trained: the run.
        target: directory of the bundle.
        dim: keep only the first so many components; None keeps all.
        quantise: `int8` or `none`.
        baselines: what to measure beside the bundle, of `bm25` and `untrained`.
        stages: told what is being done.
        compress: steps that make the model smaller, in place of `dim` and `quantise`.

    Raises:
        BundleError: where it cannot be written; what was there stays.
        InterruptedRunError: after Ctrl-C while a step trains on.
        RunError: where the encoder has fewer than `dim` components, or a step does not fit the model.
    """
    from nearfar.edge import Encoder
    from nearfar.learn.compress.model import Form, TextModel
    from nearfar.learn.compress.steps import check_steps

    in_float = trained.embedder(dim=None if compress else dim)
    method = in_float.method.eval()
    query, document, full = method.query_tower, method.document_tower, method.query_tower.dim
    if in_float.dim > full:
        raise RunError(f"dim is {in_float.dim}, but the encoder gives only {full} components")
    form = Form("int8" if quantise == "int8" and not compress else "none")
    shortened = in_float.dim < full or (compress is not None and any(step.kind == "prefix" for step in compress.steps))
    if trained.asymmetric and shortened:
        raise RunError(
            f"queries are compared with the teacher's own vectors of {full} components, so fewer of theirs cannot be kept: leave "
            "dim (the step prefix) out; the step rank of compress makes the table smaller"
        )
    model = TextModel(query, document, trained.frontend, in_float.dim, form)
    if compress:
        check_steps(model, compress.steps)
    with shipping(target) as (writer, folder):
        teacher = teacher_documents(trained) if trained.asymmetric else None
        measured: dict[str, Any] = {}
        if compress:
            bench = text_bench(trained, method.dims, stages, teacher)
            model, measured["compression"] = climb(
                model,
                compress,
                bench,
                folder,
                resamples=max(1, trained.recipe.evaluate.bootstrap),
                seed=trained.recipe.seed,
                stages=stages,
            )
        draft = text_draft(trained, model, method.dims, stages)
        bundle = draft.written(folder / "bundle")
        if compress:
            measured["agreement"] = agreement(bench.embedder(model), Encoder.open(bundle), bench.samples)
        fusion, metrics = _measured(trained, in_float, bundle, folder, baselines, teacher, stages)
        return draft.fill(writer, fusion=fusion, metrics=metrics, **measured)


def _measured(
    trained: TrainedPairs,
    model: TorchEmbedder,
    draft: Bundle,
    folder: Path,
    baselines: Sequence[str],
    teacher: Embedder | None,
    stages: Stages,
) -> tuple[Fusion | None, dict[str, dict[str, Metric]]]:
    """Fit the fusion on the validation pairs, then measure everything on the test pairs."""
    from nearfar.edge.fusion import NEUTRAL
    from nearfar.learn.data.split import TEST, VALIDATION
    from nearfar.learn.heldout import retrieval_task

    settings, seed = trained.recipe.evaluate, trained.recipe.seed

    def task_of(side: int, limit: int) -> RetrievalTask | None:
        return retrieval_task(trained.corpus, side, max_queries=limit, max_documents=settings.max_documents, seed=seed)

    validation = task_of(VALIDATION, _FUSION_QUERIES)
    # A query encoder without labels has spans for queries, from which nobody learns how people word theirs.
    spans_only = all(p.kind == "spans" for p in trained.recipe.data.pairings if p.measure)
    fusion = None
    if validation and not (teacher and spans_only):
        fusion = learn_fusion(draft, validation, folder / "index", stages, teacher=teacher)
    test = task_of(TEST, settings.max_queries)
    if test is None:
        return fusion, {}
    sought = {test.documents[place] for judged in test.qrels for place in judged}
    untrained = trained.untrained() if "untrained" in baselines else None
    scores = compare(
        draft,
        test,
        folder / "index",  # the same candidates again: nothing is embedded twice
        model=model,
        untrained=untrained,
        bm25="bm25" in baselines,
        fusion=fusion or (NEUTRAL if teacher else None),
        teacher=teacher,
        added=sought,  # held out, so training has not seen them
        stages=stages,
        resamples=settings.bootstrap,
        seed=seed,
    )
    return fusion, as_metrics(scores)
