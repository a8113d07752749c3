"""How well a trained run finds: the bundle through the runtime of the device, with BM25 and others beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from nearfar.bundle import Bundle, Fusion
from nearfar.embedder import Embedder
from nearfar.evaluate import RetrievalScores, RetrievalTask, measure, rank_bm25, ratios
from nearfar.progress import Stages
from nearfar.road import compare
from tools.results import Figures, figure

RESAMPLES = 2_000
METRICS = ("ndcg_at_10", "recall_at_10", "mrr_at_10")


def scores_of(
    bundle: Bundle,
    task: RetrievalTask,
    work: Path,
    *,
    fusion: Fusion | None,
    stages: Stages,
    model: Embedder | None = None,
    untrained: Embedder | None = None,
    identifiers: bool = False,
) -> dict[str, RetrievalScores]:
    """Measure every system on one task.

    Args:
        bundle: what ships.
        task: queries, all candidates, and which belong together.
        work: a place for the search index; new or empty.
        fusion: how hybrid search joins keywords and vectors.
        stages: told what is being done.
        model: the bundle's model in float.
        untrained: the same model before training.
        identifiers: also measure BM25 after cutting identifiers at underscores and case humps.

    Returns:
        Scores of `bm25` (Lucene's variant, English stemming and stop words), `dense` and `hybrid` (the bundle), and of
        `bm25_identifiers`, `model` and `untrained` where they were asked for.
    """
    rows: dict[str, RetrievalScores] = {}
    for name, split in {"bm25": False, "bm25_identifiers": True}.items():
        if split and not identifiers:
            continue
        tick = stages("measuring BM25" + (", identifiers cut" if split else ""), len(task.queries))
        rows[name] = measure(rank_bm25(task, split_identifiers=split), task, resamples=RESAMPLES)
        tick(len(task.queries))
    compared = compare(
        bundle,
        task,
        work,
        model=model,
        untrained=untrained,
        bm25=False,
        fusion=fusion,
        resamples=RESAMPLES,
        stages=stages,
    )
    return rows | {"dense" if name == "bundle" else name: scores for name, scores in compared.items()}


def as_figures(rows: Mapping[str, RetrievalScores], *, baselines: tuple[str, ...] = ("bm25",)) -> Figures:
    """Each figure of each system with its interval, and how the bundle compares with each baseline on the same queries."""
    figures: Figures = {}
    for baseline in baselines:
        for system, ratio in ratios(rows, baseline, resamples=RESAMPLES).items():
            if system in {"dense", "hybrid"}:
                figures[f"{system}_vs_{baseline}"] = figure(ratio, "times")
    for system, scores in rows.items():
        intervals = scores.intervals()
        for metric in METRICS:
            figures[f"{system}_{metric}"] = figure(intervals[metric], "share")
    return figures
