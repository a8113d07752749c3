"""Measures anything that embeds. Knows only the `Embedder` protocol, so every system is measured by the same code."""

from nearfar.evaluate.anomaly import (
    AnomalyScores,
    EventScores,
    FrameScores,
    auc_pr,
    event_scores,
    false_alarms_per_day,
    frame_scores,
    measure_alarms,
)
from nearfar.evaluate.bm25 import rank_bm25
from nearfar.evaluate.bootstrap import Interval, mean_interval, ratio_interval
from nearfar.evaluate.clustering import Clustering, compare_clusters, k_means, nmi_interval
from nearfar.evaluate.columns import ColumnEmbedder
from nearfar.evaluate.counting import ItemKnn, Popularity, Transitions
from nearfar.evaluate.diagnose import diagnose
from nearfar.evaluate.exact_intervals import binomial_interval, poisson_interval
from nearfar.evaluate.faults import InjectedFault, inject_stream, inject_windows
from nearfar.evaluate.few_shot import OneShot, one_shot_accuracy
from nearfar.evaluate.health import Health, measure_health
from nearfar.evaluate.identity_bootstrap import verification_intervals
from nearfar.evaluate.instances import instance_recall_at_1
from nearfar.evaluate.knn import class_mean_predict, knn_correct, knn_predict, leave_one_out_knn
from nearfar.evaluate.labelled import LabelledScores, LabelledTask, embedded_units, measure_labelled, score_labelled
from nearfar.evaluate.metrics import mrr_at, ndcg_at, recall_at
from nearfar.evaluate.off_policy import OffPolicyValue, off_policy_value, share_of_shown
from nearfar.evaluate.pixels import PixelEmbedder
from nearfar.evaluate.probe import Probe, few_label_probe, linear_probe
from nearfar.evaluate.ranking import Ranker, RankingScores, RankingTask, measure_ranking, some_cases
from nearfar.evaluate.report import as_figures, as_table, ratios
from nearfar.evaluate.retrieval import RetrievalScores, measure, rank_dense
from nearfar.evaluate.task import RetrievalTask
from nearfar.evaluate.transitions import count_transitions
from nearfar.evaluate.verification import (
    DetCurve,
    ErrorRates,
    Trials,
    det_curve,
    equal_error_rate,
    error_rates,
    fnmr_at_fmr,
)
from nearfar.evaluate.vus import vus_pr

__all__ = [
    "AnomalyScores",
    "Clustering",
    "ColumnEmbedder",
    "DetCurve",
    "ErrorRates",
    "EventScores",
    "FrameScores",
    "Health",
    "InjectedFault",
    "Interval",
    "ItemKnn",
    "LabelledScores",
    "LabelledTask",
    "OffPolicyValue",
    "OneShot",
    "PixelEmbedder",
    "Popularity",
    "Probe",
    "Ranker",
    "RankingScores",
    "RankingTask",
    "RetrievalScores",
    "RetrievalTask",
    "Transitions",
    "Trials",
    "as_figures",
    "as_table",
    "auc_pr",
    "binomial_interval",
    "class_mean_predict",
    "compare_clusters",
    "count_transitions",
    "det_curve",
    "diagnose",
    "embedded_units",
    "equal_error_rate",
    "error_rates",
    "event_scores",
    "false_alarms_per_day",
    "few_label_probe",
    "fnmr_at_fmr",
    "frame_scores",
    "inject_stream",
    "inject_windows",
    "instance_recall_at_1",
    "k_means",
    "knn_correct",
    "knn_predict",
    "leave_one_out_knn",
    "linear_probe",
    "mean_interval",
    "measure",
    "measure_alarms",
    "measure_health",
    "measure_labelled",
    "measure_ranking",
    "mrr_at",
    "ndcg_at",
    "nmi_interval",
    "off_policy_value",
    "one_shot_accuracy",
    "poisson_interval",
    "rank_bm25",
    "rank_dense",
    "ratio_interval",
    "ratios",
    "recall_at",
    "score_labelled",
    "share_of_shown",
    "some_cases",
    "verification_intervals",
    "vus_pr",
]
