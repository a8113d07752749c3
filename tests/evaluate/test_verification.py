import numpy as np
import pytest

from nearfar.errors import DataError
from nearfar.evaluate.identity_bootstrap import verification_intervals
from nearfar.evaluate.verification import (
    Trials,
    det_curve,
    equal_error_rate,
    error_rates,
    fnmr_at_fmr,
    supports,
)


def of_scores(genuine: list[float], impostor: list[float]) -> Trials:
    g, i = np.array(genuine), np.array(impostor)
    return Trials(
        g,
        np.arange(len(g)),
        np.zeros(len(g), bool),
        i,
        np.zeros(len(i), np.int64),
        np.ones(len(i), np.int64),
    )


def made(people: int, samples: int, seed: int, spread: float = 1.0, of_person: float = 0.7) -> Trials:
    """Scores in which people have luck of their own, as samples and as templates."""
    rng = np.random.default_rng(seed)
    good, wolf, lamb = (rng.normal(0, of_person, people) for _ in range(3))
    owner = np.repeat(np.arange(people), samples)
    genuine = 2 + good[owner] + rng.normal(0, spread, len(owner))
    sample, template = np.nonzero(owner[:, None] != np.arange(people)[None])
    impostor = wolf[owner[sample]] + lamb[template] + rng.normal(0, spread, len(sample))
    return Trials(genuine, owner, np.zeros(len(owner), bool), impostor, owner[sample], template)


def test_a_case_that_can_be_counted_by_hand() -> None:
    trials = of_scores([0.9, 0.8, 0.7, 0.4], [0.6, 0.3, 0.2, 0.1])
    assert equal_error_rate(trials) == pytest.approx(0.25)
    curve = det_curve(trials)
    assert curve.thresholds[0] == np.inf
    assert (curve.fmr[0], curve.fnmr[0], curve.fmr[-1], curve.fnmr[-1]) == (0, 1, 1, 0)
    at = int(np.flatnonzero(curve.thresholds == 0.6)[0])
    assert (curve.fmr[at], curve.fnmr[at]) == (0.25, 0.25)


def test_the_rate_between_two_thresholds_is_interpolated() -> None:
    # From (fmr 0, fnmr 1/2) to (1/3, 1/2) to (1/3, 0): the last step crosses at 1/3.
    assert equal_error_rate(of_scores([0.9, 0.5], [0.6, 0.1, 0.0])) == pytest.approx(1 / 3)
    # A tie of both kinds: a line from (0, 1) to (1, 0).
    assert equal_error_rate(of_scores([0.5, 0.5], [0.5])) == pytest.approx(0.5)


def test_it_is_that_of_the_roc_curve_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(3)
    for rounding in (1, 2, 8):
        genuine, impostor = rng.normal(1, 1, 311).round(rounding), rng.normal(0, 1, 907).round(rounding)
        truth = np.concatenate([np.ones(311), np.zeros(907)])
        fpr, tpr, _ = metrics.roc_curve(truth, np.concatenate([genuine, impostor]), drop_intermediate=False)
        grid = np.linspace(0, 1, 200_001)
        expected = grid[np.argmin(np.abs(1 - np.interp(grid, fpr, tpr) - grid))]
        assert equal_error_rate(of_scores(list(genuine), list(impostor))) == pytest.approx(expected, abs=2e-5)


def test_perfect_and_reversed_scores() -> None:
    assert equal_error_rate(of_scores([1.0, 2.0], [0.0, -1.0])) == 0
    assert equal_error_rate(of_scores([0.0, -1.0], [1.0, 2.0])) == 1


def test_a_false_match_rate_that_cannot_be_seen_has_no_figure() -> None:
    rng = np.random.default_rng(0)
    trials = of_scores(list(rng.normal(2, 1, 50)), list(rng.normal(0, 1, 299)))
    assert fnmr_at_fmr(trials, 0.01) is None
    trials = of_scores(list(rng.normal(2, 1, 50)), list(rng.normal(0, 1, 300)))
    assert supports(trials, 0.01)
    assert not supports(trials, 0.001)
    stopped = np.sort(trials.impostor)[-4]  # 3 of 300 may pass
    assert fnmr_at_fmr(trials, 0.01) == np.mean(trials.genuine <= stopped)
    with pytest.raises(ValueError, match="fmr must lie"):
        fnmr_at_fmr(trials, 0.0)


def test_rates_at_a_threshold_have_exact_intervals() -> None:
    found = error_rates(of_scores([0.9, 0.8, 0.7, 0.4], [0.6, 0.3, 0.2, 0.1] * 25), 0.5)
    assert found.fmr.value == 0.25
    assert found.fnmr.value == 0.25
    assert found.fmr.low == pytest.approx(0.1688, abs=1e-3)  # Clopper and Pearson, 25 of 100
    assert found.fmr.high == pytest.approx(0.3466, abs=1e-3)


def test_error_rates_need_both_kinds() -> None:
    with pytest.raises(DataError, match="at least two identities"):
        equal_error_rate(of_scores([0.5], []))
    with pytest.raises(ValueError, match="finite"):
        of_scores([np.nan], [0.0])


def test_intervals_cover_what_other_people_would_give() -> None:
    truth = equal_error_rate(made(800, 6, seed=999))
    covered = 0
    for seed in range(40):
        interval = verification_intervals(made(40, 6, seed), resamples=200, seed=seed)["eer"]
        covered += interval.low <= truth <= interval.high
    # 38 of 40 are expected; drawing trials instead of people covers less than half of the time here.
    assert covered >= 32


def test_intervals_over_people_are_wider_than_over_trials() -> None:
    trials = made(30, 8, seed=1)
    by_people = verification_intervals(trials, threshold=1.5, resamples=300)["fmr"]
    by_trials = error_rates(trials, 1.5).fmr
    assert by_people.value == by_trials.value
    assert by_people.high - by_people.low > 2 * (by_trials.high - by_trials.low)


def test_the_grid_of_many_scores_hardly_moves_an_interval() -> None:
    trials = made(60, 10, seed=2)  # 35,400 different impostor scores
    found = verification_intervals(trials, resamples=100, seed=5)
    assert set(found) == {"eer", "fmr100", "fmr1000", "fmr10000"}
    exact = equal_error_rate(trials)
    assert found["eer"].low < exact < found["eer"].high
    assert found["fmr100"].value == fnmr_at_fmr(trials, 0.01)
    assert found == verification_intervals(trials, resamples=100, seed=5)


def test_trials_of_a_session_are_told_apart() -> None:
    trials = made(4, 4, seed=0)
    flags = np.arange(16) % 2 == 0
    some = Trials(
        trials.genuine,
        trials.genuine_of,
        flags,
        trials.impostor,
        trials.impostor_sample,
        trials.impostor_template,
    )
    assert len(some.of_sessions(True).genuine) == 8
    assert len(some.of_sessions(False).impostor) == len(trials.impostor)
