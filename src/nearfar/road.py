"""The whole road, where the two wings meet: train, export, measure what ships, teach it to join keywords, write the card."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nearfar.errors import BundleError, MissingExtraError, RecipeError, RunError
from nearfar.progress import Stages, Tick, cumulative, silent
from nearfar.recipe import Recipe, dump_recipe, load_recipe

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from nearfar.bundle import Bundle, Fusion, Manifest, Metric
    from nearfar.edge import SearchIndex
    from nearfar.embedder import Embedder
    from nearfar.evaluate import RetrievalScores, RetrievalTask
    from nearfar.learn.model import TorchEmbedder
    from nearfar.learn.run import TrainedRun

_FUSION_QUERIES = 1_000
_VERSIONS = ("nearfar", "torch", "lightning", "onnx", "onnxruntime", "tokenizers", "numpy", "faiss-cpu")


@dataclass(frozen=True)
class Run:
    """A training that has ended: its directory, and what can be made of it.

    Attributes:
        directory: with `recipe.yaml`, `logs/`, `checkpoints/` and the prepared data.
    """

    directory: Path

    @classmethod
    def open(cls, directory: str | Path) -> Run:
        """Open a run that `train` finished.

        Raises:
            RunError: where the directory is no run, or its training has not ended.
        """
        run = cls(Path(directory))
        run._trained()
        return run

    def _trained(self) -> TrainedRun:
        trained: TrainedRun = _training_wing().run.open_run(self.directory)
        return trained

    @property
    def recipe(self) -> Recipe:
        """What was done, with every default filled in."""
        return load_recipe(self.directory / "recipe.yaml")

    @property
    def skipped(self) -> tuple[dict[str, int], list[str]]:
        """What the reader passed over: how many for which reason, and the first few with file and line."""
        counts = self._trained().corpus.counts
        return counts.skipped, counts.examples

    def embedder(self, *, dim: int | None = None) -> TorchEmbedder:
        """The trained model in float, as an Embedder."""
        return self._trained().embedder(dim=dim)

    def export(
        self,
        target: str | Path | None = None,
        *,
        dim: int | None = None,
        quantise: str | None = None,
        baselines: Sequence[str] | None = None,
        stages: Stages = silent,
    ) -> Bundle:
        """Make the bundle: graphs, int8 weights, learned fusion, figures measured on what ships, card.

        Args:
            target: directory of the bundle; by default `bundle` in the run's directory.
            dim: keep only the first so many components; by default as the recipe says.
            quantise: `int8` or `none`; by default as the recipe says.
            baselines: what to set beside the bundle, of `bm25` and `untrained`; by default as the recipe says.
            stages: told what is being done.

        Returns:
            The bundle, opened and verified.

        Raises:
            BundleError: where it cannot be written; what was there stays.
            RunError: where the encoder has fewer than `dim` components, or there is no such `quantise` or baseline.
        """
        trained = self._trained()
        recipe = trained.recipe
        _check_known("quantise", [quantise] if quantise is not None else [], ("int8", "none"))
        _check_known("baselines", baselines or [], ("bm25", "untrained"))
        if dim is not None and dim < 1:
            raise RunError(f"dim is {dim}: give the number of components to keep, 1 or more")
        return _export(
            trained,
            Path(target) if target is not None else self.directory / "bundle",
            dim=dim or recipe.export.dim,
            quantise=quantise or recipe.export.quantise,
            baselines=recipe.evaluate.baselines if baselines is None else baselines,
            stages=stages,
        )


def train(
    recipe: str | Path | Recipe,
    directory: str | Path | None = None,
    *,
    overrides: Sequence[str] = (),
    stages: Stages = silent,
) -> Run:
    """Train what a recipe describes.

    Args:
        recipe: a YAML file or a recipe already read.
        directory: the run's directory, new or empty; by default `runs/<name>-<date>-<time>`.
        overrides: `key.path=value`, as `--set` on the command line; only with a file.
        stages: told what is being done.

    Returns:
        The finished run.

    Raises:
        RecipeError: where the recipe does not make sense.
        DataError: where the data cannot be used.
        RunError: where the directory is in use, or training failed or was interrupted.
    """
    if isinstance(recipe, Recipe) and overrides:
        raise RecipeError("overrides change a recipe file while it is read; this recipe has already been read")
    parsed = recipe if isinstance(recipe, Recipe) else load_recipe(recipe, overrides)
    if directory is None:
        directory = Path("runs") / f"{parsed.name}-{datetime.now():%Y%m%d-%H%M%S}"
    _training_wing().run.train_run(parsed, Path(directory), stages=stages)
    return Run(Path(directory))


def resume(directory: str | Path, *, stages: Stages = silent) -> Run:
    """Go on with a run that was interrupted or killed; the result is that of one that was not.

    Raises:
        RunError: where the directory is no run.
    """
    directory = Path(directory)
    if not (directory / "recipe.yaml").is_file():
        raise RunError(f"{directory} is not a run: it has no recipe.yaml. Give a directory that `nearfar train` made.")
    _training_wing().run.train_run(load_recipe(directory / "recipe.yaml"), directory, resume=True, stages=stages)
    return Run(directory)


def _training_wing() -> Any:
    """The package `nearfar.learn`, or a clear error where torch is not installed."""
    try:
        import nearfar.learn.run
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] in {"torch", "lightning", "onnx", "onnxscript"}:
            raise MissingExtraError("train", "training") from error
        raise
    return nearfar.learn


def _check_known(name: str, given: Sequence[str], known: Sequence[str]) -> None:
    for value in given:
        if value not in known:
            raise RunError(f"{name}: there is no {value!r}; choose from {', '.join(known)}")


# --- export ----------------------------------------------------------------------------------------------------------


def _export(
    trained: TrainedRun, target: Path, *, dim: int | None, quantise: str, baselines: Sequence[str], stages: Stages
) -> Bundle:
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


def _manifest(trained: TrainedRun, model: TorchEmbedder, graphs: dict[str, str]) -> Manifest:
    from nearfar.bundle import Manifest, Provenance, Tower

    recipe, counts = trained.recipe, trained.corpus.counts
    sampler = f"permutation of all training rows per epoch, {recipe.train.batch_size} a batch, a function of (seed, step, rank)"
    return Manifest(
        name=recipe.name,
        towers={side: Tower(graph=graph) for side, graph in graphs.items()},  # type: ignore[misc]
        dim=model.dim,
        dims=tuple(sorted(d for d in model.method.dims if d < model.dim)),
        frontend=trained.frontend.settings,
        provenance=Provenance(
            recipe=recipe.model_dump(mode="json"),
            recipe_sha256=hashlib.sha256(dump_recipe(recipe).encode()).hexdigest(),
            data_fingerprint=counts.fingerprint,
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
            pairing=tuple(p.model_dump(mode="json") for p in recipe.data.pairings),
            augmentations=tuple(p.model_dump(mode="json") for p in recipe.data.pairings if p.kind == "spans"),
            sampler=sampler,
            negatives="in-batch, and explicit where given; equal texts and other positives never count as negatives",
            mining="none",
            seed=recipe.seed,
            versions={"python": platform.python_version(), **_installed()},
        ),
    )


def _installed() -> dict[str, str]:
    found = {}
    for package in _VERSIONS:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


# --- measuring what ships --------------------------------------------------------------------------------------------


def _measured(
    trained: TrainedRun, model: TorchEmbedder, draft: Bundle, folder: Path, baselines: Sequence[str], stages: Stages
) -> tuple[Fusion | None, dict[str, dict[str, Metric]]]:
    """Fit the fusion on the validation pairs, then measure everything on the test pairs."""
    from nearfar.learn.data.split import TEST, VALIDATION
    from nearfar.learn.heldout import retrieval_task

    settings, seed = trained.recipe.evaluate, trained.recipe.seed

    def task_of(side: int, limit: int) -> RetrievalTask | None:
        return retrieval_task(trained.corpus, side, max_queries=limit, max_documents=settings.max_documents, seed=seed)

    validation = task_of(VALIDATION, _FUSION_QUERIES)
    fusion = learn_fusion(draft, validation, folder / "validation", stages) if validation else None
    test = task_of(TEST, settings.max_queries)
    if test is None:
        return fusion, {}
    untrained = trained.untrained() if "untrained" in baselines else None
    scores = compare(
        draft,
        test,
        folder / "test",
        model=model,
        untrained=untrained,
        bm25="bm25" in baselines,
        fusion=fusion,
        stages=stages,
        resamples=settings.bootstrap,
        seed=seed,
    )
    return fusion, as_metrics(scores)


def as_metrics(scores: Mapping[str, RetrievalScores]) -> dict[str, dict[str, Metric]]:
    """Scores in the form of the manifest."""
    from nearfar.bundle import Metric

    return {
        row: {name: Metric(value=i.value, low=i.low, high=i.high) for name, i in result.intervals().items()}
        for row, result in scores.items()
    }


def _index(bundle: Bundle, documents: Sequence[str], folder: Path, stages: Stages) -> SearchIndex:
    """The documents of a task as a search index, their position for an id."""
    from nearfar.edge import SearchIndex
    from nearfar.sources import Document

    items: Iterator[Document] = (Document(id=str(i), text=documents[i]) for i in range(len(documents)))
    progress = cumulative(stages, {"documents": "indexing held-out task", "graph": "linking neighbours"})
    return SearchIndex.build(bundle, items, folder, progress=progress)


def learn_fusion(bundle: Bundle, task: RetrievalTask, folder: Path, stages: Stages = silent) -> Fusion | None:
    """Learn from held-out queries how to join embedding and keywords.

    Args:
        bundle: what embeds.
        task: queries, documents, and which belong together; not those of the test.
        folder: a place for the search index.
        stages: told what is being done.

    Returns:
        The fusion; None where no query has a relevant document among its candidates.
    """
    import numpy as np

    from nearfar.edge import fit_fusion
    from nearfar.errors import DataError

    told = []
    with _index(bundle, task.documents, folder, stages) as index:
        tick = stages("joining keywords and vectors", len(task.queries))
        for query, judged in zip(task.queries, task.qrels, strict=True):
            ids, features = index.candidates(query)
            told.append((features, np.array([judged.get(int(i), 0.0) > 0 for i in ids], dtype=bool)))
            tick(1)
    try:
        return fit_fusion(told)
    except DataError:
        return None


def rank_hybrid(
    bundle: Bundle, task: RetrievalTask, fusion: Fusion, folder: Path, stages: Stages = silent
) -> npt.NDArray[np.int64]:
    """Rank as the search index of the device does in mode `hybrid`.

    Args:
        bundle: what embeds.
        task: what to rank.
        fusion: how scores are joined.
        folder: a place for the search index.
        stages: told what is being done.

    Returns:
        int64 (q, 100), best first, -1 where there were fewer candidates.
    """
    import numpy as np

    from nearfar.edge import fuse
    from nearfar.evaluate.retrieval import RANKS

    ranked = np.full((len(task.queries), RANKS), -1, dtype=np.int64)
    with _index(bundle, task.documents, folder, stages) as index:
        tick = stages("measuring hybrid search", len(task.queries))
        for row, query in enumerate(task.queries):
            ids, features = index.candidates(query)
            best = np.argsort(-fuse(features, fusion), kind="stable")[:RANKS]
            ranked[row, : len(best)] = [int(ids[i]) for i in best]
            tick(1)
    return ranked


class _Counted:
    """An embedder that reports how many documents it has embedded."""

    def __init__(self, embedder: Embedder, tick: Tick) -> None:
        self._embedder, self._tick = embedder, tick

    @property
    def dim(self) -> int:
        return self._embedder.dim

    def embed(self, items: Sequence[str], side: Any = "document") -> npt.NDArray[np.float32]:
        vectors = self._embedder.embed(items, side)
        self._tick(len(items))
        return vectors


def compare(
    bundle: Bundle,
    task: RetrievalTask,
    folder: Path,
    *,
    model: Embedder | None = None,
    untrained: Embedder | None = None,
    bm25: bool = True,
    fusion: Fusion | None = None,
    resamples: int = 1000,
    seed: int = 0,
    stages: Stages = silent,
) -> dict[str, RetrievalScores]:
    """Measure what ships, with what it should be compared with beside it.

    Args:
        bundle: run through the device's own encoder and search.
        task: what to find.
        folder: a place for the search index.
        model: the same model in float.
        untrained: the same model before training.
        bm25: whether to measure BM25 (Lucene variant, English stemming and stop words).
        fusion: measures hybrid search with it.
        resamples: of the bootstrap.
        seed: of the bootstrap.
        stages: told what is being done.

    Returns:
        Scores by row: `bm25`, `untrained`, `model`, `bundle` (dense, exact search), `hybrid` (as the device searches).
    """
    from nearfar.edge import Encoder
    from nearfar.evaluate import measure, rank_bm25, rank_dense

    ranked = {}
    if bm25:
        tick = stages("measuring BM25", len(task.queries))
        ranked["bm25"] = rank_bm25(task, split_identifiers=True)
        tick(len(task.queries))
    dense = {"untrained": untrained, "model": model, "bundle": Encoder.open(bundle, threads=_threads())}
    for row, embedder in dense.items():
        if embedder is not None:
            name = "untrained model" if row == "untrained" else row
            tick = stages(f"measuring the {name}", len(task.queries) + len(task.documents))
            ranked[row] = rank_dense(_Counted(embedder, tick), task)
    if fusion is not None:
        ranked["hybrid"] = rank_hybrid(bundle, task, fusion, folder, stages)
    return {row: measure(ids, task, resamples=resamples, seed=seed) for row, ids in ranked.items()}


def evaluate(
    bundle: str | Path, pairs: str | Path, *, query: str = "query", positive: str = "positive", stages: Stages = silent
) -> dict[str, RetrievalScores]:
    """Measure a bundle on labelled pairs: each query against the positives of all.

    Args:
        bundle: the bundle's directory.
        pairs: a table (.jsonl, .csv, .parquet).
        query: column with the queries; equal queries are one query with several positives.
        positive: column with a text or a list of texts.
        stages: told what is being done.

    Returns:
        Scores by row: `bm25`, `bundle`, and `hybrid` where the bundle has learned how to join the two.

    Raises:
        DataError: where the table cannot be read.
    """
    from nearfar.bundle import Bundle
    from nearfar.errors import DataError
    from nearfar.evaluate import RetrievalTask
    from nearfar.sources import TablePairs, kind_of

    kind = kind_of(Path(pairs))
    if kind is None:
        raise DataError(
            f"{pairs} is no table of pairs: give a .jsonl, .csv or .parquet file with the columns {query!r} and {positive!r}"
        )
    opened = Bundle.open(bundle)
    documents: dict[str, int] = {}
    judged: dict[str, dict[int, float]] = {}
    tick = stages("reading")
    table = TablePairs(Path(pairs), kind, query=query, positive=positive)
    for pair in table.pairs():
        for text in pair.positives:
            judged.setdefault(pair.query, {})[documents.setdefault(text, len(documents))] = 1.0
        tick(1)
    if table.report.skipped_total:
        tick(0, f"left out {table.report.skipped_total} rows, first: {table.report.examples[0]}")
    task = RetrievalTask(list(judged), list(documents), list(judged.values()))
    with tempfile.TemporaryDirectory(prefix="nearfar-") as folder:
        return compare(opened, task, Path(folder) / "index", fusion=opened.manifest.fusion, stages=stages)


def _threads() -> int:
    import os

    return os.cpu_count() or 1


__all__ = ["Run", "compare", "evaluate", "learn_fusion", "rank_hybrid", "resume", "train"]
