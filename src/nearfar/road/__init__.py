"""The whole road, where the two wings meet: train, export, measure what ships, teach it to join keywords, write the card."""

from nearfar.road.finetune import finetune, finetuning_of
from nearfar.road.measure import as_metrics, compare, evaluate, learn_fusion, rank_hybrid
from nearfar.road.run import Run, resume, train
from nearfar.road.views import show_views

__all__ = [
    "Run",
    "as_metrics",
    "compare",
    "evaluate",
    "finetune",
    "finetuning_of",
    "learn_fusion",
    "rank_hybrid",
    "resume",
    "show_views",
    "train",
]
