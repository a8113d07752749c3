"""The choice of a way to score: what must win by construction does, and an encoder ships only where it is surely of use."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from made_monitor import START, healthy, made_settings

from nearfar.bundle.monitor_record import ScorerTrial
from nearfar.edge.monitor.choose import as_candidate, try_candidates
from nearfar.edge.monitor.detector import Embed, trailing_mean
from nearfar.edge.monitor.distance import Floats
from nearfar.edge.monitor.fit import Candidate, Fitter
from nearfar.edge.monitor.stretch import Stretch
from nearfar.errors import DataError
from nearfar.recipe.series import Faults, Watch

Machine = tuple[Sequence[Stretch], Sequence[Stretch]]


def stretch(frames: Floats) -> Stretch:
    return Stretch("", START + np.arange(len(frames), dtype=np.float64), frames.astype(np.float32))


def last_ten(values: Floats, present: Floats) -> Floats:
    """What a raw scorer of ten frames sees, under the name of an encoder that looks at windows."""
    del present
    return values[:, -10:].mean(axis=1)


def tried(
    among: Sequence[Candidate],
    machines: Sequence[Machine],
    faults: Faults,
    *,
    embed: Embed | None = None,
    seed: int = 0,
    draws: int = 2,
    history: int = 1,
) -> tuple[ScorerTrial, ...]:
    fitters = [Fitter(made_settings(window=16), Watch(), embed, seed) for _ in machines]
    return try_candidates(fitters, among, machines, faults=faults, draws=draws, history=history)


def plain(rows: int = 3000) -> Machine:
    return [stretch(healthy(rows))], [stretch(healthy(rows, seed=1))]


def together(rows: int, seed: int) -> Floats:
    """Four channels that rise and fall as one, with a little noise of their own."""
    rng = np.random.default_rng(seed)
    common = np.convolve(rng.standard_normal(rows + 39), np.ones(40) / np.sqrt(40), "valid")[:, None]
    scaled = common + 0.1 * rng.standard_normal((rows, 4))
    return (np.array([60, 5, 32, 2]) + np.array([2, 0.1, 1, 0.05]) * scaled).astype(np.float32)


def spread_of_windows(values: Floats, present: Floats) -> Floats:
    """How much each channel varies within a window: what no mean shows."""
    del present
    return np.log(values.std(axis=1) + 1e-3).astype(np.float32)


def mean_of_windows(values: Floats, present: Floats) -> Floats:
    """What a raw scorer sees too."""
    del present
    return values.mean(axis=1)


def test_where_channels_move_together_the_covariance_wins() -> None:
    machine = [stretch(together(3000, 0))], [stretch(together(3000, 1))]
    faults = Faults(kinds=("shift",), strength=(1.0, 2.0), channels=(0.25, 0.25))
    first, second = tried([Candidate("raw", by, 10) for by in ("centroid", "mahalanobis")], [machine], faults)
    assert (first.by, second.by) == ("mahalanobis", "centroid")
    assert first.auc_pr.value > second.auc_pr.value + 0.3


def test_of_small_lasting_shifts_longer_means_find_more() -> None:
    faults = Faults(kinds=("shift",), strength=(1.0, 1.5))
    found = tried([Candidate("raw", "mahalanobis", smooth) for smooth in (1, 20)], [plain()], faults)
    assert [trial.smooth for trial in found] == [20, 1]
    assert as_candidate(found[0]) == Candidate("raw", "mahalanobis", 20)


def test_apart_candidates_are_judged_as_together_by_the_frames_that_all_can_score() -> None:
    among = [Candidate("raw", "mahalanobis", smooth) for smooth in (5, 60)]  # a window has 16 frames
    together = {trial.smooth: trial for trial in tried(among, [plain(1000)], Faults())}
    for candidate in among:
        (apart,) = tried([candidate], [plain(1000)], Faults(), history=60)
        assert apart == together[candidate.smooth]
    (hasty,) = tried([among[0]], [plain(1000)], Faults())
    assert hasty != together[5]


def test_an_encoder_wins_where_only_it_sees_the_faults() -> None:
    noise = Faults(kinds=("variance", "flatline"), strength=(2.0, 4.0))
    among = [Candidate("raw", "mahalanobis", 16), Candidate("embedding", "mahalanobis", 1)]
    first, second = tried(among, [plain()], noise, embed=spread_of_windows)
    assert (first.features, second.features) == ("embedding", "raw")
    assert first.auc_pr.value > second.auc_pr.value + 0.1
    shift = Faults(kinds=("shift",), strength=(2.0, 4.0))
    assert tried(among, [plain()], shift, embed=spread_of_windows)[0].features == "raw"


def test_an_encoder_that_sees_no_more_than_means_does_not_win() -> None:
    """The same numbers under both names: nothing is surely better, so nothing is shipped that costs more."""
    among = [Candidate("embedding", "mahalanobis", 1), Candidate("raw", "mahalanobis", 16)]
    first, second = tried(among, [plain()], Faults(), embed=mean_of_windows)
    assert (first.features, second.features) == ("raw", "embedding")
    assert first.auc_pr.value == pytest.approx(second.auc_pr.value, abs=0.01)


def test_all_are_judged_by_the_same_frames() -> None:
    """Ten frames of a window of 64: the frames before the first whole window count for neither."""
    later = [stretch(healthy(650, seed=10 + number)) for number in range(6)]
    fitter = Fitter(made_settings(window=64), Watch(), last_ten)
    among = [Candidate("raw", "mahalanobis", 10), Candidate("embedding", "mahalanobis", 1)]
    trials = try_candidates([fitter], among, [([stretch(healthy(3000))], later)], faults=Faults())
    assert [trial.features for trial in trials] == ["raw", "embedding"]
    assert trials[0].auc_pr.value == pytest.approx(trials[1].auc_pr.value, abs=0.003)


def test_streams_that_hold_no_two_windows_are_not_judged_by() -> None:
    fitter = Fitter(made_settings(window=64), Watch(), mean_of_windows)
    among = [Candidate("raw", "mahalanobis", 10), Candidate("embedding", "mahalanobis", 1)]
    first, short = stretch(healthy(2000)), [stretch(healthy(rows, seed=rows)) for rows in (50, 100)]
    enough = [stretch(healthy(130, seed=3))]
    both, alone = (
        try_candidates([fitter], among, [([first], some)], faults=Faults()) for some in (short + enough, enough)
    )
    assert both == alone
    with pytest.raises(DataError, match="at least 126 frames in a row"):
        try_candidates([fitter], among, [([first], short)], faults=Faults())


def test_all_candidates_have_the_same_faults_and_a_seed_has_the_same() -> None:
    twice = [Candidate("raw", "mahalanobis", 10)] * 2
    first, second = tried(twice, [plain()], Faults())
    assert first.auc_pr == second.auc_pr
    assert tried(twice, [plain()], Faults())[0] == first
    assert tried(twice, [plain()], Faults(), seed=1)[0] != first
    assert first.auc_pr.low <= first.auc_pr.value <= first.auc_pr.high


def test_each_machine_is_scored_by_its_own_detector() -> None:
    """Levels far apart: one detector for both would see neither's faults."""
    faults, far = Faults(kinds=("shift",), strength=(3.0, 4.0)), np.float32(50)
    other = [stretch(healthy(3000, seed=2) + far)], [stretch(healthy(3000, seed=3) + far)]
    among = [Candidate("raw", "mahalanobis", 10)]
    (both,) = tried(among, [plain(), other], faults)
    (one,) = tried(among, [plain()], faults)
    assert both.auc_pr.value == pytest.approx(one.auc_pr.value, abs=0.1)


def test_missing_values_stay_missing_and_are_no_fault() -> None:
    (first, later), among, faults = plain(), [Candidate("raw", "mahalanobis", 10)], Faults(strength=(3.0, 4.0))
    (whole,) = tried(among, [(first, later)], faults)
    for part in (*first, *later):
        part.frames[::9, 1] = np.nan
        part.frames[500:600] = np.nan
    (found,) = tried(among, [(first, later)], faults)
    assert found.auc_pr.value > whole.auc_pr.value - 0.1


def test_only_stretches_that_hold_the_longest_faults_count_where_there_are_any() -> None:
    first, later = plain()
    rubbish = [stretch(np.random.default_rng(0).uniform(0, 1e3, (590, 4))) for _ in range(3)]
    among = [Candidate("raw", "mahalanobis", 10)]
    assert tried(among, [(first, [*later, *rubbish])], Faults()) == tried(among, [(first, later)], Faults())


@pytest.mark.parametrize("rows", [40, 60, 200])
def test_short_data_is_enough_to_choose_by(rows: int) -> None:
    first, _ = plain()
    later = [stretch(healthy(rows, seed=5 + number)) for number in range(4)]
    trials = tried([Candidate("raw", by, 5) for by in ("mahalanobis", "knn")], [(first, later)], Faults())
    assert all(0 < trial.auc_pr.value <= 1 for trial in trials)


@pytest.mark.parametrize("later", [[], [39], [10, 20]])
def test_no_data_to_inject_into_is_told(later: list[int]) -> None:
    first, _ = plain()
    parts = [stretch(healthy(rows)) for rows in later]
    with pytest.raises(DataError, match=r"at least 40 frames in a row .* set data\.split\.validation higher"):
        tried([Candidate("raw", "mahalanobis", 10)], [(first, parts)], Faults())


def test_a_trailing_mean_is_of_the_frames_up_to_it() -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((30, 2)).astype(np.float32)
    present = (rng.random((30, 2)) < 0.6).astype(np.float32)
    found = trailing_mean(values * present, present, 6)
    for row in range(25):
        for column in range(2):
            there = present[row : row + 6, column] == 1
            if there.sum() < 3:
                assert np.isnan(found[row, column])
            else:
                expected = values[row : row + 6, column][there].mean()
                assert found[row, column] == pytest.approx(expected, abs=1e-6)
    assert trailing_mean(values, present, 31).shape == (0, 2)
