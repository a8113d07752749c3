"""Measures anything that embeds. Knows only the `Embedder` protocol, so every system is measured by the same code."""

from nearfar.evaluate.bm25 import rank_bm25
from nearfar.evaluate.bootstrap import Interval, mean_interval, ratio_interval
from nearfar.evaluate.metrics import mrr_at, ndcg_at, recall_at
from nearfar.evaluate.report import as_figures, as_table, ratios
from nearfar.evaluate.retrieval import RetrievalScores, measure, rank_dense
from nearfar.evaluate.task import RetrievalTask

__all__ = [
    "Interval",
    "RetrievalScores",
    "RetrievalTask",
    "as_figures",
    "as_table",
    "mean_interval",
    "measure",
    "mrr_at",
    "ndcg_at",
    "rank_bm25",
    "rank_dense",
    "ratio_interval",
    "ratios",
    "recall_at",
]
