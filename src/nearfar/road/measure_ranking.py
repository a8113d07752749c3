"""Measuring a recommender as it ships, with what it should be compared with beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from nearfar.progress import Stages

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from nearfar.bundle import Bundle, Metric
    from nearfar.evaluate.ranking import Ranker, RankingScores
    from nearfar.learn.actions import TrainedActions
    from nearfar.learn.data.actions import ActionCorpus

COUNTED: Final = ("popularity", "item_knn", "transitions")
"""Baselines that only count: what is learned has to be better than the best of them."""


def compare_rankers(
    trained: TrainedActions, bundle: Bundle, *, baselines: Sequence[str], stages: Stages
) -> dict[str, dict[str, Metric]]:
    """Measure what ships on the held-out actions of the test, ranked as on the device.

    Nothing is fitted here, nor afterwards: baselines, prior and model are of the training actions, the blend of validation.

    Args:
        trained: the run.
        bundle: run through the device's own scorer.
        baselines: what to measure beside it, of `popularity`, `item_knn`, `transitions` and `untrained`.
        stages: told what is being done.

    Returns:
        Metrics by row: the baselines, `model` (the encoder alone, in float), `encoder` and `prior` (alone, as they
        ship) and `bundle`; nothing where no
        action was held out.
    """
    from nearfar.evaluate.ranking import measure_ranking
    from nearfar.learn.data.split import TEST
    from nearfar.road.actions_of_run import cases_of

    recipe, corpus = trained.recipe, trained.corpus
    task = cases_of(corpus, TEST, most=recipe.evaluate.max_queries, seed=recipe.seed)
    if not len(task.targets):
        return {}
    rankers = counting_rankers(corpus, baselines)
    if "untrained" in baselines:
        rankers["untrained"] = trained.untrained_ranker()
    rankers["model"] = trained.ranker()
    rankers |= device_rankers(bundle)
    found = {}
    for row, ranker in rankers.items():
        tick = stages(f"measuring: {row}", len(task.targets))
        found[row] = measure_ranking(task, ranker, tick=tick)
    return ranking_metrics(
        found, resamples=max(1, recipe.evaluate.bootstrap), seed=recipe.seed, cold=corpus.counts.cold
    )


def counting_rankers(corpus: ActionCorpus, names: Sequence[str]) -> dict[str, Ranker]:
    """The baselines that count, of `COUNTED`, made of the actions of training.

    Their settings are what was found good on other logs, not tuned on this one: neighbours with each older action counting half,
    transitions up to five actions ahead, each 0.6 of the one before.
    """
    from nearfar.evaluate.counting import ItemKnn, Popularity, Transitions
    from nearfar.evaluate.transitions import count_transitions
    from nearfar.road.actions_of_run import training_actions

    items, owners = training_actions(corpus)
    count = len(corpus.names)
    rankers: dict[str, Ranker] = {}
    if "popularity" in names:
        rankers["popularity"] = Popularity()
    if "item_knn" in names:
        rankers["item_knn"] = ItemKnn(items, owners, count)
    if "transitions" in names:
        rankers["transitions"] = Transitions(count_transitions(items, owners, count))
    return rankers


def device_rankers(bundle: Bundle) -> dict[str, Ranker]:
    """What ships, by its own scorer: `encoder`, with its share of popularity, and `prior`, each alone, and `bundle`, with all of it."""
    from nearfar.edge.recommend.catalogue import Catalogue, recommender_of
    from nearfar.edge.recommend.ranker import DeviceRanker
    from nearfar.edge.recommend.scorer import Scorer, Weights

    catalogue, weights = Catalogue.open(bundle), Weights.of(recommender_of(bundle))
    tried = {"bundle": weights}
    if weights.encoder and weights.prior:
        alone = {"encoder": weights._replace(prior=0.0), "prior": Weights(0.0, 1.0, 0.0)}
        tried = {**alone, **tried}
    return {row: DeviceRanker(Scorer(bundle, catalogue, weights=of)) for row, of in tried.items()}


def ranking_metrics(
    found: Mapping[str, RankingScores], *, resamples: int, seed: int, cold: int = 0
) -> dict[str, dict[str, Metric]]:
    """Scores in the form of the manifest.

    Args:
        found: by row; of the same cases all.
        resamples: of the intervals over users.
        seed: of the intervals.
        cold: how many items, the last ones, nobody had acted on.

    Returns:
        By row NDCG and recall, coverage, popularity bias and share of the head; NDCG of the cases whose target is cold, where there are
        any; and of `bundle` its NDCG over that of the best row that counts, paired by user.
    """
    import numpy as np

    from nearfar.bundle import Metric
    from nearfar.evaluate.bootstrap import mean_interval, ratio_interval
    from nearfar.evaluate.ranking import gains, mean_by_user
    from nearfar.road.measure import in_manifest

    metrics: dict[str, dict[str, Metric]] = {}
    for row, scores in found.items():
        intervals = scores.intervals(resamples=resamples, seed=seed)
        unknown = scores.targets >= len(scores.popularity) - cold
        if unknown.any():
            gained: npt.NDArray[np.float64] = mean_by_user(gains(scores.ranks)[unknown], scores.users[unknown])
            intervals["cold_ndcg_at_10"] = mean_interval(gained, resamples=resamples, seed=seed)
        metrics[row] = in_manifest({row: intervals})[row] | {
            "coverage": Metric(value=scores.coverage),
            "popularity_bias": Metric(value=scores.popularity_bias),
            "head_share": Metric(value=scores.head_share),
        }
    counted = [row for row in COUNTED if row in found and found[row].ndcg.any()]
    if counted and "bundle" in found:
        best = max(counted, key=lambda row: float(found[row].ndcg.mean()))
        ratio = ratio_interval(found["bundle"].ndcg, found[best].ndcg, resamples=resamples, seed=seed)
        if np.isfinite([ratio.low, ratio.high]).all():
            metrics["bundle"] |= in_manifest({"bundle": {"ratio_to_best": ratio}})["bundle"]
    return metrics
