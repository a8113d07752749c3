import math
from dataclasses import replace

import numpy as np
import pytest

from nearfar.errors import DataError
from nearfar.evaluate.counting import ItemKnn, Popularity, Transitions
from nearfar.evaluate.ranking import RankingTask, blind_batches, measure_ranking, some_cases
from nearfar.evaluate.transitions import count_transitions


def task_of(histories: list[list[int]], targets: list[int], count: int, users: list[int] | None = None) -> RankingTask:
    """Cases with histories of their own, an action a second."""
    lengths = np.array([len(history) for history in histories], dtype=np.int64)
    end = np.cumsum(lengths)
    items = np.array([item for history in histories for item in history], dtype=np.int64)
    return RankingTask(
        count=count,
        items=items,
        times=np.arange(len(items), dtype=np.float64),
        weights=np.ones(len(items), dtype=np.float32),
        begin=end - lengths,
        end=end,
        targets=np.array(targets, dtype=np.int64),
        now=np.full(len(targets), 1e6),
        users=np.arange(len(targets)) if users is None else np.array(users),
        popularity=np.arange(count, 0, -1, dtype=np.float64),
    )


class Fixed:
    """The same scores for everybody."""

    def __init__(self, *scores: float) -> None:
        self.row = np.array(scores, dtype=np.float32)

    def scores(self, task: RankingTask, cases: np.ndarray) -> np.ndarray:
        return np.tile(self.row, (len(cases), 1))


class Curious:
    """Looks at everything that it is given, and keeps it."""

    def __init__(self) -> None:
        self.seen: list[RankingTask] = []

    def scores(self, task: RankingTask, cases: np.ndarray) -> np.ndarray:
        self.seen.append(task)
        scores = np.zeros((len(cases), task.count), dtype=np.float32)
        for row, case in enumerate(cases):
            later = task.items[task.end[case] : task.end[case] + 1]
            scores[row, later] = 1
            scores[row, max(0, task.targets[case])] += 2
        return scores


def test_hand_made_ranks() -> None:
    # Items 0 to 4 with scores 5, 4, 3, 2, 1. The second case has seen item 0, so that item 2 is second.
    scores = measure_ranking(task_of([[4], [0]], [0, 2], 5), Fixed(5, 4, 3, 2, 1))
    assert scores.ranks.tolist() == [0, 1]
    assert scores.ndcg == pytest.approx([1, 1 / math.log2(3)])
    assert scores.recall.tolist() == [1, 1]
    only_first = measure_ranking(task_of([[4], [0]], [0, 2], 5), Fixed(5, 4, 3, 2, 1), k=1)
    assert only_first.recall.tolist() == [1, 0]
    assert only_first.ndcg.tolist() == [1, 0]


def test_what_is_beyond_the_tenth_place_counts_nothing() -> None:
    descending = Fixed(*range(20, 0, -1))
    found = measure_ranking(task_of([[19]] * 2, [9, 10], 20), descending)
    assert found.ndcg == pytest.approx([1 / math.log2(11), 0])
    assert found.recall.tolist() == [1, 0]


def test_ties_count_half_so_that_a_ranker_that_knows_nothing_gains_nothing_by_the_order_of_numbers() -> None:
    scores = measure_ranking(task_of([[4], [4]], [0, 3], 5), Fixed(1, 1, 1, 1, 1))
    assert scores.ranks.tolist() == [1.5, 1.5]
    one_better = measure_ranking(task_of([[4]], [3], 5), Fixed(2, 1, 1, 1, 1))
    assert one_better.ranks.tolist() == [2]


def test_misses_are_counted_in_every_mean() -> None:
    # Not in the catalogue; acted on before; found.
    scores = measure_ranking(task_of([[1], [0], [1]], [-1, 0, 0], 3), Fixed(3, 2, 1))
    assert scores.misses == 2
    assert np.isinf(scores.ranks[:2]).all()
    assert scores.ndcg.mean() == pytest.approx(1 / 3)


def test_users_count_alike_however_many_cases_they_have() -> None:
    scores = measure_ranking(task_of([[4], [4], [4]], [0, -1, 0], 5, users=[7, 7, 2]), Fixed(5, 4, 3, 2, 1))
    assert scores.ndcg.tolist() == [1.0, 0.5]  # user 2, user 7


def test_lists_coverage_and_popularity_bias() -> None:
    # Popularity is 20 to 1; the head is items 0 and 1. The user has seen item 0.
    scores = measure_ranking(task_of([[0]], [19], 20), Fixed(*range(20, 0, -1)), k=2)
    assert scores.shown.nonzero()[0].tolist() == [1, 2]
    assert scores.coverage == pytest.approx(2 / 20)
    assert scores.head_share == pytest.approx(1 / 2)
    assert scores.popularity_bias == pytest.approx((math.log(20) + math.log(19)) / 2 - math.log(2))


def test_lists_are_shorter_where_little_is_left() -> None:
    scores = measure_ranking(task_of([[0, 1]], [2], 3), Fixed(3, 2, 1))
    assert scores.shown.tolist() == [0, 0, 1]


def test_candidates_alone_are_ranked() -> None:
    cold = np.array([False, False, True, True])
    scores = measure_ranking(task_of([[0], [0]], [3, 1], 4), Fixed(9, 8, 7, 6), candidates=cold)
    assert scores.ranks.tolist() == [1, np.inf]
    assert scores.shown.tolist() == [0, 0, 2, 2]


def test_a_ranker_sees_no_target_and_nothing_that_came_later() -> None:
    """Cases of one user overlap: the history of the later one holds the target of the earlier one."""
    items = np.array([3, 1, 4, 0, 2], dtype=np.int64)
    task = RankingTask(
        count=5,
        items=items,
        times=np.arange(5.0),
        weights=np.ones(5, dtype=np.float32),
        begin=np.zeros(4, np.int64),
        end=np.arange(1, 5),
        targets=items[1:],
        now=np.arange(1.0, 5.0),
        users=np.zeros(4, np.int64),
        popularity=np.ones(5),
    )
    curious = Curious()
    measure_ranking(task, curious)
    (seen,) = curious.seen
    assert (seen.targets == -1).all()
    for case in range(4):
        of_case = slice(seen.begin[case], seen.end[case])
        assert seen.items[of_case].tolist() == items[: case + 1].tolist()
        assert (seen.times[of_case] < task.now[case]).all()
    # Each has a copy of its own: what lies behind its end is the beginning of another's, not the future of this one.
    assert seen.end.tolist() == [1, 3, 6, 10]
    assert len(seen.items) == 10


def test_batches_hold_all_cases_once() -> None:
    task = task_of([[case % 3] for case in range(2500)], [0] * 2500, 3)
    numbers = np.concatenate([cases for cases, _ in blind_batches(task)])
    assert numbers.tolist() == list(range(2500))
    assert max(len(cases) for cases, _ in blind_batches(task)) <= 1024


def test_some_cases_are_those_of_the_whole() -> None:
    task = task_of([[4], [3], [2]], [0, 1, 2], 5)
    part = some_cases(task, np.array([2, 0]))
    whole, of_part = (measure_ranking(of, Fixed(5, 4, 3, 2, 1)) for of in (task, part))
    assert of_part.ranks.tolist() == whole.ranks[[2, 0]].tolist()


def test_each_case_has_the_context_of_its_own_moment() -> None:
    whole = task_of([[0], [1], [2]], [1, 2, 0], 3)
    values, codes = np.array([[0.5], [1.5], [2.5]], np.float32), np.array([[1], [2], [3]])
    whole = replace(whole, values=values, codes=codes)
    some = some_cases(whole, np.array([2, 0]))
    assert some.values is not None
    assert some.codes is not None
    assert some.values.tolist() == [[2.5], [0.5]]
    assert some.codes.tolist() == [[3], [1]]
    curious = Curious()
    measure_ranking(some, curious)
    assert [(task.values.tolist(), task.codes.tolist()) for task in curious.seen] == [([[2.5], [0.5]], [[3], [1]])]


def test_scores_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(DataError, match="diverged"):
        measure_ranking(task_of([[0]], [1], 3), Fixed(1, float("nan"), 2))
    with pytest.raises(ValueError, match="gave scores"):
        measure_ranking(task_of([[0]], [1], 3), Fixed(1, 2))
    with pytest.raises(ValueError, match="k must"):
        measure_ranking(task_of([[0]], [1], 3), Fixed(1, 2, 3), k=0)


def test_no_cases_have_no_mean() -> None:
    scores = measure_ranking(task_of([], [], 3), Fixed(1, 2, 3))
    with pytest.raises(DataError):
        scores.intervals()


def test_popularity_is_that_of_training() -> None:
    scores = measure_ranking(task_of([[0]], [1], 4), Popularity())
    assert scores.ranks.tolist() == [0]


def test_transitions_by_hand() -> None:
    # User 0 did 0, 1, 2; user 1 did 1, 2. Two ahead, the farther counts half.
    counts = count_transitions(np.array([0, 1, 2, 1, 2]), np.array([0, 0, 0, 1, 1]), 3, skip=2, decay=0.5)
    assert counts.toarray().tolist() == [[0, 1, 0.5], [0, 0, 2], [0, 0, 0]]
    both = count_transitions(np.array([0, 1]), np.array([0, 0]), 2, back=0.25)
    assert both.toarray().tolist() == [[0, 1], [0.25, 0]]


def test_transitions_do_not_cross_users() -> None:
    counts = count_transitions(np.array([0, 1, 2, 3]), np.array([0, 0, 1, 1]), 4, skip=3)
    assert set(zip(*counts.nonzero(), strict=True)) == {(0, 1), (2, 3)}
    assert count_transitions(np.array([], dtype=np.int64), np.array([], dtype=np.int64), 4).nnz == 0
    assert count_transitions(np.array([2]), np.array([0]), 4).nnz == 0


def test_the_transition_ranker_mixes_shares_of_the_latest() -> None:
    counts = count_transitions(np.array([0, 1, 2, 1, 2]), np.array([0, 0, 0, 1, 1]), 3, skip=2, decay=0.5)
    ranker = Transitions(counts, decay=0.5, last=2, smoothing=1)
    scores = ranker.scores(task_of([[2, 0, 1]], [2], 3), np.array([0]))
    # Of 1: 2 / (2 + 1) to item 2; of 0, half: 1 / 2.5 to item 1 and .5 / 2.5 to item 2; item 2 is too long ago.
    assert scores[0] == pytest.approx([0, 0.5 * 1 / 2.5, 2 / 3 + 0.5 * 0.5 / 2.5])


def test_item_knn_is_the_cosine_of_who_acted() -> None:
    # Item 0 by users 0, 1, 2; item 1 by users 0, 1 (twice by 1, which is no more than once); item 2 by user 2; item 3 by nobody.
    items, owners = np.array([0, 1, 0, 1, 1, 0, 2]), np.array([0, 0, 1, 1, 1, 2, 2])
    ranker = ItemKnn(items, owners, 4, decay=0.5)
    scores = ranker.scores(task_of([[1, 0]], [2], 4), np.array([0]))
    zero_one, zero_two = 2 / math.sqrt(3 * 2), 1 / math.sqrt(3)
    assert scores[0] == pytest.approx([0.5 * zero_one, zero_one, zero_two, 0], abs=1e-6)


def test_an_empty_history_has_no_neighbours_and_no_transitions() -> None:
    task = task_of([[], [1]], [0, 0], 3)
    items, owners = np.array([0, 1, 2]), np.zeros(3, np.int64)
    for ranker in (ItemKnn(items, owners, 3), Transitions(count_transitions(items, owners, 3))):
        scores = ranker.scores(task, np.array([0, 1]))
        assert not scores[0].any()
        assert scores[1].any()


def test_counting_finds_what_follows_what() -> None:
    """A made world in which item n is followed by n + 1: transitions see it, popularity does not."""
    rng = np.random.default_rng(0)
    histories = [[int((start + step) % 50) for step in range(6)] for start in rng.integers(0, 50, 200)]
    trained = np.array([item for history in histories for item in history[:-1]])
    owners = np.repeat(np.arange(200), 5)
    task = task_of([history[:-1] for history in histories], [history[-1] for history in histories], 50)
    by_transitions = measure_ranking(task, Transitions(count_transitions(trained, owners, 50)))
    assert by_transitions.ndcg.mean() > 0.9
    assert measure_ranking(task, Popularity()).ndcg.mean() < 0.3
