import numpy as np
import pytest

from nearfar.evaluate.ranking import RankingScores
from nearfar.road.measure_ranking import ranking_metrics


def scores(ranks: list[float], targets: list[int]) -> RankingScores:
    """Of one case a user, over five items."""
    return RankingScores(
        k=10,
        ranks=np.array(ranks),
        users=np.arange(len(ranks)),
        shown=np.array([4, 0, 0, 0, 0]),
        popularity=np.array([8.0, 4, 2, 0, 0]),
        targets=np.array(targets),
    )


def test_cold_targets_have_a_figure_of_their_own() -> None:
    # Items 3 and 4 are cold; the second case is one of them, the last one is in no catalogue.
    found = ranking_metrics({"bundle": scores([0, 2, 0, np.inf], [0, 4, 1, -1])}, resamples=20, seed=0, cold=2)
    assert found["bundle"]["cold_ndcg_at_10"].value == pytest.approx(0.5)
    assert found["bundle"]["ndcg_at_10"].value == pytest.approx((1 + 0.5 + 1) / 4)
    without = ranking_metrics({"bundle": scores([0, 2], [0, 4])}, resamples=20, seed=0)
    assert "cold_ndcg_at_10" not in without["bundle"]


def test_the_ratio_is_to_the_best_that_counts_and_paired() -> None:
    rows = {
        "popularity": scores([0, np.inf, 9], [0, 1, 2]),
        "transitions": scores([0, 0, 2], [0, 1, 2]),
        "untrained": scores([0, 0, 0], [0, 1, 2]),  # better than all by luck, but it does not count
        "bundle": scores([0, 0, 0], [0, 1, 2]),
    }
    found = ranking_metrics(rows, resamples=200, seed=0)
    ratio = found["bundle"]["ratio_to_best"]
    assert ratio.value == pytest.approx(3 / 2.5)
    assert ratio.low is not None
    assert ratio.low >= 1.0  # never worse on any user, whichever are drawn
    assert "ratio_to_best" not in found["transitions"]


def test_no_ratio_to_nothing() -> None:
    rows = {"popularity": scores([np.inf], [0]), "bundle": scores([0], [0])}
    assert "ratio_to_best" not in ranking_metrics(rows, resamples=20, seed=0)["bundle"]
    assert "ratio_to_best" not in ranking_metrics({"bundle": scores([0], [0])}, resamples=20, seed=0)["bundle"]
