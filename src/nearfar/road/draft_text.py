"""Models of text on their way to a bundle: what they are written as, and how the ladder of compression measures them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nearfar.embedder import Side
from nearfar.progress import Stages, silent
from nearfar.road.compress import Workbench
from nearfar.road.draft import Draft
from nearfar.road.provenance import provenance_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from nearfar.bundle import Bundle
    from nearfar.embedder import Embedder
    from nearfar.learn.compress.model import TextModel
    from nearfar.learn.pairs import TrainedPairs
    from nearfar.recipe.compress import Step

_QUERIES, _DOCUMENTS = 1_000, 20_000  # of the validation part, which every step embeds anew
_SAMPLE = 128


def text_draft(trained: TrainedPairs, model: TextModel, prefixes: Sequence[int], stages: Stages) -> Draft:
    """The bundle of a model of texts.

    Args:
        trained: the run that it comes from.
        model: what ships.
        prefixes: components that were trained to work on their own; those that are left of them are told.
        stages: told how far it is.

    Raises:
        RunError: where a tower cannot be turned into a graph.
    """
    from nearfar.bundle import Manifest, TeacherRecord, Tower
    from nearfar.learn.compress.steps import token_frequency
    from nearfar.learn.export import export_text_model

    tick = stages("exporting")
    sparse = model.form.rank is not None or model.form.format == "codebook"
    graphs = export_text_model(model, token_frequency(model.frontend, trained) if sparse else None)
    tick(len(graphs))
    shared = len(graphs) == 1
    names = {side: "encoder.onnx" if shared else f"{side}_encoder.onnx" for side in ("query", "document")}
    counts, taught = trained.corpus.counts, trained.prepared.taught if trained.asymmetric else None
    manifest = Manifest(
        name=trained.recipe.name,
        towers={side: Tower(graph=graph) for side, graph in names.items()},
        dim=model.dim,
        dims=tuple(sorted(d for d in prefixes if d < model.dim)),
        teacher=TeacherRecord(name=taught.name, digest=taught.digest) if taught else None,
        frontend=model.frontend.settings,
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
    files = {names[side]: graph for side, graph in graphs.items()}
    return Draft(files | {model.frontend.settings.tokenizer: model.frontend.to_bytes()}, manifest)


def text_bench(
    trained: TrainedPairs, prefixes: Sequence[int], stages: Stages, teacher: Embedder | None = None
) -> Workbench[TextModel]:
    """How the steps of a run over pairs of texts are done, and measured: nDCG@10 of its validation queries.

    Args:
        trained: the run.
        prefixes: as in `text_draft`.
        stages: told of what takes long.
        teacher: of an asymmetric run: embeds the documents.
    """
    from nearfar.edge import Encoder
    from nearfar.edge.teacher import BySide
    from nearfar.evaluate import rank_dense
    from nearfar.evaluate.metrics import ndcg_at
    from nearfar.learn.compress.steps import misfit, text_step
    from nearfar.learn.data.split import VALIDATION
    from nearfar.learn.heldout import retrieval_task
    from nearfar.learn.methods.dual_encoder import DualEncoder
    from nearfar.learn.model import TorchEmbedder
    from nearfar.recipe.pair_method import DualEncoder as Settings

    settings, seed = trained.recipe.evaluate, trained.recipe.seed
    task = retrieval_task(
        trained.corpus,
        VALIDATION,
        max_queries=min(_QUERIES, settings.max_queries),
        max_documents=min(_DOCUMENTS, settings.max_documents),
        seed=seed,
    )

    def apply(model: TextModel, step: Step, number: int) -> TextModel:
        folder = trained.directory / "compress" / f"{number}-{step.kind}"
        return text_step(model, step, trained, folder, stages)

    def write(model: TextModel, folder: Path) -> Bundle:
        return text_draft(trained, model, prefixes, silent).written(folder)

    def judge(bundle: Bundle) -> npt.NDArray[np.float64] | None:
        if task is None:
            return None
        encoder: Embedder = Encoder.open(bundle, threads=os.cpu_count() or 1)
        if teacher is not None:
            encoder = BySide(encoder, teacher)
        return ndcg_at(rank_dense(encoder, task, 10), task.qrels, 10)

    def embedder(model: TextModel) -> Embedder:
        return TorchEmbedder(DualEncoder(model.query, model.document, Settings()), model.frontend, dim=model.dim)

    return Workbench(misfit, apply, write, judge, "ndcg_at_10", _samples(trained), embedder)


def _samples(trained: TrainedPairs) -> dict[Side, Sequence[str]]:
    """Some queries and documents: of the validation part, or where there is none of what was trained on."""
    import numpy as np

    from nearfar.learn.data.split import TRAIN, VALIDATION

    corpus, rng = trained.corpus, np.random.default_rng([trained.recipe.seed, 10])
    queries = corpus.queries_of(VALIDATION) if len(corpus.queries_of(VALIDATION)) else corpus.queries_of(TRAIN)
    documents = rng.permutation(len(corpus.document_texts))[:_SAMPLE]
    found = [corpus.document(int(number)) for number in documents]
    asked = [corpus.query(int(number)) for number in rng.permutation(queries)[:_SAMPLE]]
    return {"query": asked or found, "document": found}
