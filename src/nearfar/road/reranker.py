"""From a cross-encoder of the Hugging Face kind, as it is or trained on one's own pairs, to the bundle that ships."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nearfar.errors import DataError
from nearfar.progress import Stages, silent
from nearfar.road.draft import Draft
from nearfar.road.imported import imported_provenance, name_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from nearfar.bundle import Bundle, Manifest, Metric
    from nearfar.edge.reranker import Reranker
    from nearfar.evaluate import RetrievalTask
    from nearfar.frontend import PairFrontend
    from nearfar.learn.cross_encoder import CrossEncoder
    from nearfar.learn.rerank_training import Schedule

DEPTH = 50
"""How many candidates are reordered where a reranker is measured."""

Quantise = Literal["int8", "none"]


def import_reranker(
    source: str,
    target: str | Path,
    *,
    revision: str | None = None,
    name: str | None = None,
    max_tokens: int | None = None,
    quantise: Quantise = "int8",
    stages: Stages = silent,
) -> Bundle:
    """Make a bundle of a trained cross-encoder.

    Args:
        source: a directory with the model, or its name on the Hugging Face hub.
        target: directory of the bundle.
        revision: of the hub repository.
        name: of the bundle; by default the last part of `source`.
        max_tokens: longest query and passage together; by default what the model takes, at most 512.
        quantise: `int8` or `none`.
        stages: told what is being done.

    Returns:
        The bundle; it scores as the model does, which was checked.

    Raises:
        RunError: the model cannot be loaded, is no cross-encoder with one output, or scores otherwise once exported.
        BundleError: the bundle cannot be written; what was there stays.
        MissingExtraError: `transformers` is not installed.
    """
    from nearfar.bundle import BundleWriter
    from nearfar.learn.cross_encoder import load_cross_encoder

    with BundleWriter(target) as writer:  # first, so that a target that cannot be written is known before the download
        stages("loading")
        encoder, frontend = load_cross_encoder(source, revision=revision, max_tokens=max_tokens)
        made_of = {"source": source, "revision": revision, "quantise": quantise}
        manifest = _manifest(name or name_of(source), encoder, frontend, made_of)
        files = _exported(encoder, frontend, quantise, stages)
        _checked(files, manifest, encoder, frontend, quantise, stages)
        return Draft(files, manifest).fill(writer)


def train_reranker(
    source: str,
    pairs: str | Path,
    target: str | Path,
    *,
    query: str = "query",
    positive: str = "positive",
    negative: str | None = None,
    schedule: Schedule | None = None,
    revision: str | None = None,
    name: str | None = None,
    max_tokens: int | None = None,
    quantise: Quantise = "int8",
    stages: Stages = silent,
) -> Bundle:
    """Train an encoder or cross-encoder on pairs, and make a bundle of it.

    A tenth of the queries is held out; the card says how well BM25 finds their passages, and how well after reranking.

    Args:
        source: where to start: a directory with a model, or its name on the Hugging Face hub; any encoder will do.
        pairs: a table (.jsonl, .csv, .parquet).
        target: directory of the bundle.
        query: column with the queries; equal queries are one query with several positives.
        positive: column with a text that answers it, or a list of them.
        negative: column with a text that does not, or a list; without it BM25 finds some.
        schedule: how it is trained.
        revision: of the hub repository.
        name: of the bundle; by default the name of the table.
        max_tokens: longest query and passage together; by default what the model takes, at most 512.
        quantise: `int8` or `none`.
        stages: told what is being done.

    Returns:
        The bundle, with what was measured in its card.

    Raises:
        DataError: the pairs cannot be read or are too few.
        RunError: the model cannot be loaded or trained, or scores otherwise once exported.
        BundleError: the bundle cannot be written; what was there stays.
        MissingExtraError: `transformers` is not installed.
    """
    from nearfar.bundle import BundleWriter
    from nearfar.learn.cross_encoder import load_cross_encoder
    from nearfar.learn.judged_pairs import judged_pairs
    from nearfar.learn.rerank_training import Schedule, fit_cross_encoder
    from nearfar.sources import TablePairs, kind_of

    table, chosen = Path(pairs), schedule or Schedule()
    kind = kind_of(table)
    if kind is None:
        raise DataError(f"{pairs} is no table of pairs: give a .jsonl, .csv or .parquet file")
    with BundleWriter(target) as writer:
        tick = stages("reading pairs")
        rows = TablePairs(table, kind, query=query, positive=positive, negative=negative)
        read = list(rows.pairs())
        tick(len(read), f"left out {rows.report.skipped_total}" if rows.report.skipped_total else "")
        training = judged_pairs(read, seed=chosen.seed)
        stages("loading")
        encoder, frontend = load_cross_encoder(
            source, revision=revision, new_head=True, max_tokens=max_tokens, seed=chosen.seed
        )
        fit_cross_encoder(encoder, frontend, training, chosen, stages=stages)
        encoder.scale = "logit"  # whatever it was before
        made_of = {"source": source, "revision": revision, "quantise": quantise, "training": asdict(chosen)}
        manifest = _manifest(
            name or table.name.partition(".")[0],
            encoder,
            frontend,
            made_of,
            data_fingerprint=_fingerprint(read),
            data_counts={
                "training_queries": len(training.judged),
                "training_passages": len(training.passages),
                "test_queries": len(training.test.queries) if training.test else 0,
                "skipped": rows.report.skipped_total,
            },
            pairing=({"kind": "pairs", "query": query, "positive": positive},),
            negatives=f"named in the column {negative!r}, else found by BM25; one of {chosen.negatives} at random",
            seed=chosen.seed,
        )
        files = _exported(encoder, frontend, quantise, stages)
        _checked(files, manifest, encoder, frontend, quantise, stages)
        if training.test is not None:
            manifest = manifest.model_copy(update={"metrics": _measured(files, manifest, training.test, stages)})
        return Draft(files, manifest).fill(writer)


def rerank(
    ranked: npt.NDArray[np.int64],
    task: RetrievalTask,
    reranker: Reranker,
    *,
    depth: int = DEPTH,
    stages: Stages = silent,
) -> npt.NDArray[np.int64]:
    """Reorder the first places of a ranking.

    Args:
        ranked: document indices (q, c), best first, negative where nothing was found.
        task: whose documents they are.
        reranker: what scores them.
        depth: how many places of each query are reordered; the rest stays behind them.
        stages: told what is being done.

    Returns:
        int64 (q, c).
    """
    import numpy as np

    reordered = ranked.copy()
    tick = stages("measuring: reranked", len(ranked))
    for row, query in zip(reordered, task.queries, strict=True):
        first = row[:depth][row[:depth] >= 0]
        scores = reranker.logits(query, [task.documents[int(number)] for number in first])
        row[: len(first)] = first[np.argsort(-scores, kind="stable")]
        tick(1)
    return reordered


def _exported(encoder: CrossEncoder, frontend: PairFrontend, quantise: Quantise, stages: Stages) -> dict[str, bytes]:
    from nearfar.learn.export.reranker import export_reranker_graph

    stages("exporting")
    graph = export_reranker_graph(encoder, max_tokens=frontend.settings.max_tokens, quantise=quantise)
    return {"reranker.onnx": graph, frontend.settings.tokenizer: frontend.to_bytes()}


def _checked(
    files: Mapping[str, bytes],
    manifest: Manifest,
    encoder: CrossEncoder,
    frontend: PairFrontend,
    quantise: Quantise,
    stages: Stages,
) -> None:
    """Compare what ships, through the device's own code, with the model that it was made of."""
    from nearfar.edge.reranker import Reranker
    from nearfar.learn.export.reranker_check import check_agreement

    tick = stages("checking")
    with tempfile.TemporaryDirectory(prefix="nearfar-") as folder:
        reranker = Reranker.open(Draft(files, manifest).written(Path(folder) / "bundle"))
        check_agreement(encoder, frontend, reranker.logits, quantised=quantise == "int8")
    tick(1)


def _measured(
    files: Mapping[str, bytes], manifest: Manifest, task: RetrievalTask, stages: Stages
) -> dict[str, dict[str, Metric]]:
    from nearfar.edge.reranker import Reranker
    from nearfar.evaluate import measure, rank_bm25
    from nearfar.road.measure import as_metrics

    first = rank_bm25(task, split_identifiers=True)
    with tempfile.TemporaryDirectory(prefix="nearfar-") as folder:
        reranker = Reranker.open(Draft(files, manifest).written(Path(folder) / "bundle"))
        then = rerank(first, task, reranker, stages=stages)
    return as_metrics({"bm25": measure(first, task), "reranked": measure(then, task)})


def _manifest(
    name: str, encoder: CrossEncoder, frontend: PairFrontend, made_of: dict[str, Any], **provenance: Any
) -> Manifest:
    from nearfar.bundle import Manifest, Scorer

    return Manifest(
        name=name,
        kind="text-cross-encoder",
        scorer=Scorer(graph="reranker.onnx", scale=encoder.scale),
        frontend=frontend.settings,
        provenance=imported_provenance(made_of, **provenance),
    )


def _fingerprint(pairs: list[Any]) -> str:
    digest = hashlib.sha256()
    for pair in pairs:
        digest.update(json.dumps([pair.query, pair.positives, pair.negatives]).encode())
    return digest.hexdigest()
