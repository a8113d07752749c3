"""Measuring what ships: through the device's own encoder and search, with what it should be compared with beside it."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nearfar.progress import Stages, Tick, cumulative, silent

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from nearfar.bundle import Bundle, Fusion, Metric
    from nearfar.edge import SearchIndex
    from nearfar.embedder import Embedder
    from nearfar.evaluate import Interval, RetrievalScores, RetrievalTask


def as_metrics(scores: Mapping[str, RetrievalScores]) -> dict[str, dict[str, Metric]]:
    """Scores in the form of the manifest."""
    return in_manifest({row: result.intervals() for row, result in scores.items()})


def in_manifest(found: Mapping[str, Mapping[str, Interval]]) -> dict[str, dict[str, Metric]]:
    """Figures with their intervals in the form of the manifest, by row and name."""
    from nearfar.bundle import Metric

    return {
        row: {name: Metric(value=i.value, low=i.low, high=i.high) for name, i in intervals.items()}
        for row, intervals in found.items()
    }


def _index(
    bundle: Bundle, documents: Sequence[str], folder: Path, stages: Stages, teacher: Embedder | None = None
) -> SearchIndex:
    """The documents of a task as a search index, their position for an id."""
    from nearfar.edge import SearchIndex
    from nearfar.sources import Document
    from nearfar.sources.cut import Cutting

    items: Iterator[Document] = (Document(id=str(i), text=documents[i]) for i in range(len(documents)))
    progress = cumulative(stages, {"documents": "indexing for measuring", "graph": "linking neighbours"})
    # Whole, like the documents of the rows that this one is compared with.
    whole = Cutting(words=sys.maxsize, overlap=0)
    return SearchIndex.build(bundle, items, folder, cutting=whole, teacher=teacher, progress=progress)


def learn_fusion(
    bundle: Bundle, task: RetrievalTask, folder: Path, stages: Stages = silent, *, teacher: Embedder | None = None
) -> Fusion | None:
    """Learn from held-out queries how to join embedding and keywords.

    Args:
        bundle: what embeds.
        task: queries, documents, and which belong together; not those of the test.
        folder: a place for the search index.
        stages: told what is being done.
        teacher: embeds the documents in place of the bundle.

    Returns:
        The fusion; None where no query has a relevant document among its candidates.
    """
    import numpy as np

    from nearfar.edge import fit_fusion
    from nearfar.errors import DataError

    told = []
    with _index(bundle, task.documents, folder, stages, teacher) as index:
        tick = stages("fitting the fusion", len(task.queries))
        for query, judged in zip(task.queries, task.qrels, strict=True):
            ids, features = index.candidates(query)
            told.append((features, np.array([judged.get(int(i), 0.0) > 0 for i in ids], dtype=bool)))
            tick(1)
    try:
        return fit_fusion(told)
    except DataError:
        return None


def rank_hybrid(
    bundle: Bundle,
    task: RetrievalTask,
    fusion: Fusion,
    folder: Path,
    stages: Stages = silent,
    *,
    teacher: Embedder | None = None,
) -> npt.NDArray[np.int64]:
    """Rank as the search index of the device does in mode `hybrid`.

    Args:
        bundle: what embeds.
        task: what to rank.
        fusion: how scores are joined.
        folder: a place for the search index.
        stages: told what is being done.
        teacher: embeds the documents in place of the bundle.

    Returns:
        int64 (q, 100), best first, -1 where there were fewer candidates.
    """
    import numpy as np

    from nearfar.edge import fuse
    from nearfar.evaluate.retrieval import RANKS

    ranked = np.full((len(task.queries), RANKS), -1, dtype=np.int64)
    with _index(bundle, task.documents, folder, stages, teacher) as index:
        tick = stages("measuring: hybrid", len(task.queries))
        for row, query in enumerate(task.queries):
            ids, features = index.candidates(query)
            best = np.argsort(-fuse(features, fusion), kind="stable")[:RANKS]
            ranked[row, : len(best)] = [int(ids[i]) for i in best]
            tick(1)
    return ranked


class Counted:
    """An embedder that reports how many items it has embedded.

    Args:
        embedder: what embeds.
        tick: told how many at a time.
    """

    def __init__(self, embedder: Embedder, tick: Tick) -> None:
        self._embedder, self._tick = embedder, tick

    @property
    def dim(self) -> int:
        """Components of an embedding."""
        return self._embedder.dim

    def embed(self, items: Sequence[Any], side: Any = "document") -> npt.NDArray[np.float32]:
        """Embed, and tell."""
        vectors = self._embedder.embed(items, side)
        self._tick(len(items))
        return vectors


class _Either:
    """Some texts through one embedder, all others through another."""

    def __init__(self, texts: Collection[str], one: Embedder, other: Embedder) -> None:
        self._texts, self._one, self._other = frozenset(texts), one, other

    @property
    def dim(self) -> int:
        return self._one.dim

    def embed(self, items: Sequence[Any], side: Any = "document") -> npt.NDArray[np.float32]:
        vectors = self._other.embed(items, side)
        chosen = [place for place, item in enumerate(items) if item in self._texts]
        if chosen:
            vectors[chosen] = self._one.embed([items[place] for place in chosen], side)
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
    teacher: Embedder | None = None,
    added: Collection[str] = (),
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
        bm25: whether to measure BM25 (Lucene variant, English stemming and stop words, identifiers cut at humps and
            underscores as our own tokeniser does: the strongest form that we know).
        fusion: measures hybrid search with it.
        teacher: of an asymmetric bundle: embeds the documents of an index in its place.
        added: documents that a device has added itself, without the teacher.
        resamples: of the bootstrap.
        seed: of the bootstrap.
        stages: told what is being done.

    Returns:
        Scores by row: `bm25`, `untrained`, `model`, `bundle` (dense, exact search), `hybrid` (as the device searches). With a
        teacher also `teacher` (alone, on both sides), `asymmetric` (queries by the bundle, documents by the teacher) and
        `added` (the same, but for the documents in `added`); `hybrid` is then over the teacher's documents.
    """
    from nearfar.edge import Encoder
    from nearfar.edge.teacher import BySide
    from nearfar.evaluate import measure, rank_bm25, rank_dense

    ranked = {}
    if bm25:
        tick = stages("measuring: BM25", len(task.queries))
        ranked["bm25"] = rank_bm25(task, split_identifiers=True)
        tick(len(task.queries))
    encoder = Encoder.open(bundle, threads=_threads())
    dense: dict[str, Embedder | None] = {"untrained": untrained, "teacher": teacher, "model": model, "bundle": encoder}
    if teacher is not None:
        dense["asymmetric"] = BySide(encoder, teacher)
        if added:
            dense["added"] = BySide(encoder, _Either(added, encoder, teacher))
    for row, embedder in dense.items():
        if embedder is not None:
            tick = stages(f"measuring: {row}", len(task.queries) + len(task.documents))
            ranked[row] = rank_dense(Counted(embedder, tick), task)
    if fusion is not None:
        ranked["hybrid"] = rank_hybrid(bundle, task, fusion, folder, stages, teacher=teacher)
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
        BundleError: where it cannot be opened, or does not embed texts.
        DataError: where the table cannot be read.
    """
    from nearfar.bundle import Bundle
    from nearfar.errors import BundleError, DataError
    from nearfar.evaluate import RetrievalTask
    from nearfar.sources import TablePairs, kind_of

    kind = kind_of(Path(pairs))
    if kind is None:
        raise DataError(
            f"{pairs} is no table of pairs: give a .jsonl, .csv or .parquet file with the columns {query!r} and {positive!r}"
        )
    opened = Bundle.open(bundle)
    if opened.manifest.frontend.kind != "text":
        raise BundleError(
            f"{opened.path}: this bundle is of kind {opened.manifest.kind}, and pairs of texts measure text encoders. What was measured "
            "on its own data is in `nearfar inspect`; nearfar.evaluate.labelled measures encoders of pictures on others"
        )
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
    return os.cpu_count() or 1
