import numpy as np
import pytest

from nearfar.edge.recommend.scorer import Parts, Weights
from nearfar.evaluate.ranking import RankingTask, measure_ranking, some_cases
from nearfar.road.blend import choose_blend, weighted

ITEMS, CASES = 40, 300


def made_task() -> RankingTask:
    """One action each, then a target that is drawn by popularity in half of the cases."""
    rng = np.random.default_rng(0)
    popularity = 100.0 / np.arange(1, ITEMS + 1)
    targets = np.where(
        np.arange(CASES) % 2, rng.choice(ITEMS, CASES, p=popularity / popularity.sum()), rng.integers(0, ITEMS, CASES)
    )
    return RankingTask(
        count=ITEMS,
        items=(targets + 7) % ITEMS,
        times=np.arange(CASES, dtype=np.float64),
        weights=np.ones(CASES, dtype=np.float32),
        begin=np.arange(CASES),
        end=np.arange(1, CASES + 1),
        targets=targets,
        now=np.arange(CASES, dtype=np.float64) + 1,
        users=np.arange(CASES),
        popularity=popularity,
    )


class Made:
    """Parts that know the target as well as they are told: what is acted on is seven items beside it."""

    def __init__(self, encoder: float, prior: float, scale: float = 1.0) -> None:
        self.encoder, self.prior, self.scale = encoder, prior, scale

    def parts(self, task: RankingTask, cases: np.ndarray) -> Parts:
        targets = (task.items[task.begin[cases]] - 7) % task.count

        def noisy(knows: float, seed: int) -> np.ndarray:
            # Of each case the same noise, whatever batch it is in.
            noise = np.stack(
                [np.random.default_rng([seed, int(now)]).normal(size=task.count) for now in task.now[cases]]
            )
            noise[np.arange(len(cases)), targets] += knows
            return noise.astype(np.float32)

        popularity = np.log(task.popularity / task.popularity.sum()).astype(np.float32)
        return Parts(self.scale * noisy(self.encoder, 1), noisy(self.prior, 2), popularity)


class Blended:
    def __init__(self, made: Made, weights: Weights) -> None:
        self.made, self.weights = made, weights

    def scores(self, task: RankingTask, cases: np.ndarray) -> np.ndarray:
        return weighted(self.made.parts(task, cases), self.weights)


def test_two_parts_that_each_know_something_are_joined() -> None:
    task, made = made_task(), Made(1.5, 1.5)
    blend = choose_blend([made], task, popularity=0.1)
    assert blend.chosen.weights.encoder == 1
    assert 0 < blend.chosen.weights.prior <= 6
    figures = {
        name: measure_ranking(task, Blended(made, weights)).ndcg.mean()
        for name, weights in {
            "both": blend.chosen.weights,
            "encoder": Weights(1, 0, 0),
            "prior": Weights(0, 1, 0),
        }.items()
    }
    assert figures["both"] > 1.1 * max(figures["encoder"], figures["prior"])
    # What was told of the combination is what it measures.
    assert blend.chosen.ndcg == pytest.approx(figures["both"])
    assert blend.chosen in blend.tried


def test_a_part_that_knows_nothing_counts_little() -> None:
    assert choose_blend([Made(4.0, 0.0)], made_task(), popularity=0.0).chosen.weights == Weights(1, 0, 0)
    assert choose_blend([Made(0.0, 1.0)], made_task(), popularity=0.0).chosen.weights.prior in (6, 12)
    assert choose_blend([Made(1.0, 0.05)], made_task(), popularity=0.0).chosen.weights.prior <= 1.5


def test_of_several_priors_the_best_is_taken() -> None:
    chosen = choose_blend([Made(1.5, 0.5), Made(1.5, 4.0), Made(1.5, 1.0)], made_task(), popularity=0.0).chosen
    assert chosen.prior == 1


def test_without_a_difference_the_default_stays() -> None:
    class Silent(Made):
        def parts(self, task: RankingTask, cases: np.ndarray) -> Parts:
            encoder, prior, popularity = super().parts(task, cases)
            return Parts(encoder, np.zeros_like(prior), popularity)

    blend = choose_blend([Silent(1.0, 1.0)] * 2, made_task(), popularity=0.0)
    assert blend.chosen == blend.tried[0]
    assert blend.chosen.weights == Weights(1, 6, 0)


def test_popularity_comes_with_the_encoder() -> None:
    tried = choose_blend([Made(1.0, 1.0)], made_task(), popularity=0.7).tried
    assert {of.weights.popularity for of in tried if of.weights.encoder} == {0.7}
    assert {of.weights.popularity for of in tried if not of.weights.encoder} == {0.0}


def test_the_same_cases_give_the_same_blend() -> None:
    first, second = (choose_blend([Made(1.0, 2.0)], made_task(), popularity=0.5) for _ in range(2))
    assert first == second


def test_one_part_alone_needs_no_search() -> None:
    task, made = made_task(), [Made(1, 1)]
    assert choose_blend(made, task, "encoder", popularity=0.5).chosen.weights == Weights(1, 0, 0.5)
    assert choose_blend(made, task, "prior", popularity=0.5).chosen.weights == Weights(0, 1, 0)


def test_a_prior_alone_is_still_one_of_several() -> None:
    blend = choose_blend([Made(0, 0.5), Made(0, 3)], made_task(), "prior", popularity=0.5)
    assert blend.chosen.prior == 1
    assert blend.chosen.weights == Weights(0, 1, 0)


def test_without_cases_the_default_stays() -> None:
    none = some_cases(made_task(), np.arange(0))
    assert choose_blend([Made(1, 1)], none, popularity=0.5).chosen.weights == Weights(1, 6, 0.5)


def test_weights_weigh() -> None:
    parts = Parts(np.ones((1, 3), np.float32), np.array([[0, 1, 2]], np.float32), np.array([5, 0, 0], np.float32))
    assert weighted(parts, Weights(2, 3, 1)).tolist() == [[7, 5, 8]]
    assert weighted(parts, Weights(0, 1, 0)).tolist() == [[0, 1, 2]]
