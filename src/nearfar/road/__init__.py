"""The whole road, where the two wings meet: train, export, measure what ships, teach it to join keywords, write the card."""

from nearfar.road.measure import as_metrics, compare, evaluate, learn_fusion, rank_hybrid
from nearfar.road.run import Run, resume, train

__all__ = ["Run", "as_metrics", "compare", "evaluate", "learn_fusion", "rank_hybrid", "resume", "train"]
