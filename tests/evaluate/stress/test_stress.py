import numpy as np
import pytest

from nearfar.errors import DataError
from nearfar.evaluate.stress import (
    attribute_leak,
    d_sys,
    fnmr_by_noise,
    group_rates,
    invert,
    keyed_trials,
    max_ratio,
    measure_inversion,
    unlinkability,
)
from nearfar.evaluate.verification import Trials, equal_error_rate


def units(rng: np.random.Generator, *shape: int) -> np.ndarray:
    rows = rng.normal(size=shape)
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def rotation(seed: int, dim: int, kept: int) -> np.ndarray:
    matrix, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(dim, dim)))
    return matrix[:, :kept].astype(np.float32)


def test_d_sys_of_equal_and_of_separated_scores() -> None:
    scores = np.random.default_rng(0).normal(size=2000)
    assert d_sys(scores, scores) == 0
    assert d_sys(scores, scores + 100) == pytest.approx(1)
    assert d_sys(np.ones(5), np.ones(9)) == 0


def test_d_sys_of_a_case_that_can_be_counted_by_hand() -> None:
    # Two bins: mated 3/4 and 1/4, others 1/4 and 3/4. LR of the upper bin is 3: D = 2 * 3 / 4 - 1 = 1/2, times 3/4.
    mated, others = np.array([1.0, 1.0, 1.0, 0.0]), np.array([1.0, 0.0, 0.0, 0.0])
    assert d_sys(mated, others) == pytest.approx(0.375)


def test_few_scores_that_say_nothing_are_within_the_null() -> None:
    rng = np.random.default_rng(1)
    below = 0
    for seed in range(40):
        found = unlinkability(rng.normal(size=150), rng.normal(size=1500), permutations=200, seed=seed)
        assert found.null > 0
        below += found.d_sys <= found.null_95
    assert below >= 34  # 38 are expected


def test_scores_that_say_something_are_above_it() -> None:
    rng = np.random.default_rng(2)
    found = unlinkability(rng.normal(1.5, size=300), rng.normal(size=3000), seed=0)
    assert found.d_sys > 2 * found.null_95


def test_unlinkability_needs_both_kinds() -> None:
    with pytest.raises(DataError, match="both kinds"):
        d_sys(np.ones(3), np.ones(0))


def test_a_key_of_ones_own_hides_how_alike_people_are_and_a_stolen_one_does_not() -> None:
    rng = np.random.default_rng(3)
    numbers = np.arange(3, 23)
    directions = units(rng, 1, 32) + 0.5 * units(rng, 20, 32)  # all are alike
    owners = np.repeat(numbers, 6)
    probes = directions[owners - 3] + 0.9 * rng.normal(size=(120, 32)) / np.sqrt(32)
    probes = (probes / np.linalg.norm(probes, axis=1, keepdims=True)).astype(np.float32)
    keys = {int(n): rotation(int(n), 32, 32) for n in numbers}
    templates = np.stack([np.rint(100 * directions[n - 3] @ keys[int(n)]).astype(np.int8) for n in numbers])
    both = keyed_trials(
        templates, numbers, probes, owners, np.zeros(120, bool), lambda number, vectors: vectors @ keys[number]
    )
    plain = probes @ (directions / np.linalg.norm(directions, axis=1, keepdims=True)).T
    expected = equal_error_rate(
        Trials(
            plain[np.arange(120), owners - 3],
            owners,
            np.zeros(120, bool),
            plain[owners[:, None] != numbers[None]],
            owners[np.nonzero(owners[:, None] != numbers[None])[0]],
            numbers[np.nonzero(owners[:, None] != numbers[None])[1]],
        )
    )
    assert expected > 0.02
    assert equal_error_rate(both.stolen_key) == pytest.approx(expected, abs=0.01)
    assert equal_error_rate(both.own_key) < expected / 4


@pytest.mark.parametrize(("kept", "least", "most"), [(32, 0.99, 1.0), (8, 0.3, 0.7)])
def test_a_template_is_inverted_as_far_as_it_has_components(kept: int, least: float, most: float) -> None:
    rng = np.random.default_rng(4)
    means = units(rng, 50, 32)
    matrices = np.stack([rotation(n, 32, kept) for n in range(50)])
    rotated = np.einsum("nd,ndl->nl", means, matrices)
    templates = np.rint(rotated * 127 / np.abs(rotated).max(axis=1, keepdims=True)).astype(np.int8)
    found = measure_inversion(
        invert(templates, matrices),
        means,
        means,
        renewed=np.zeros(50, np.float32),
        replayed=np.ones(50, np.float32),
        threshold=0.9,
    )
    assert least < found.cosine <= most + 1e-6
    assert found.rematch == (1.0 if kept == 32 else 0.0)
    assert (found.after_revocation, found.replayed) == (0, 1)


def test_noise_is_measured_at_the_threshold_as_it_stands() -> None:
    owners = np.repeat(np.arange(20), 10)
    rng = np.random.default_rng(5)
    found = fnmr_by_noise([0.0, 1.0], lambda level: rng.normal(1 - level, 0.1, 200), owners, 0.5)
    assert [one.level for one in found] == [0, 1]
    assert found[0].fnmr.value == 0
    assert found[1].fnmr.value == 1
    with pytest.raises(DataError, match="more samples"):
        fnmr_by_noise([0.0], lambda level: np.zeros(0), np.zeros(0, np.int64), 0.5)


def test_groups_are_told_apart_among_themselves() -> None:
    # Two groups of two: impostors of the second group pass, those across groups do not count.
    genuine = Trials(
        np.array([0.9, 0.2, 0.9, 0.9]),
        np.arange(4),
        np.zeros(4, bool),
        np.array([0.1, 0.1, 0.9, 0.1, 0.9]),
        np.array([0, 1, 2, 3, 0]),
        np.array([1, 0, 3, 2, 2]),
    )
    first, second = group_rates(genuine, ["a", "a", "b", "b"], 0.5)
    assert (first.group, first.identities, first.fmr.value, first.fnmr.value) == ("a", 2, 0, 0.5)
    assert (second.fmr.value, second.fnmr.value) == (0.5, 0)
    assert max_ratio([first.fmr, second.fmr]) is None
    assert max_ratio([second.fmr]) is None
    assert max_ratio([first.fnmr, first.fnmr]) == pytest.approx(1)


def test_an_attribute_is_read_from_people_that_the_reader_has_not_seen() -> None:
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(6)
    owners = np.repeat(np.arange(60), 3)
    sex = np.where(np.arange(60) % 2 == 0, "f", "m")[owners]
    own = rng.normal(size=(60, 8))[owners]
    vectors = (own + 0.1 * rng.normal(size=(180, 8))).astype(np.float32)
    nothing = attribute_leak(vectors, owners, list(sex))
    # Every person is known by heart; of others that says nothing.
    assert nothing.accuracy.low < 0.6
    vectors[:, 0] += np.where(sex == "f", 5, -5)
    found = attribute_leak(vectors, owners, list(sex))
    assert found.accuracy.value > 0.95
    assert found.base == pytest.approx(0.5, abs=0.1)
    assert found.values == ("f", "m")
    with pytest.raises(DataError, match="two values"):
        attribute_leak(vectors, owners, ["f"] * 180)
