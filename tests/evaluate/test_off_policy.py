import numpy as np
import pytest

from nearfar.errors import DataError
from nearfar.evaluate.off_policy import off_policy_value, share_of_shown

RATES = np.array([0.1, 0.3, 0.05])


def log(rows: int = 20_000, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rewards, shown items and their propensities, of a policy that prefers the item that nobody clicks."""
    rng = np.random.default_rng(seed)
    odds = np.array([0.3, 0.1, 0.6])
    shown = rng.choice(3, size=rows, p=odds)
    return (rng.random(rows) < RATES[shown]).astype(float), shown, odds[shown]


def test_estimates_by_hand() -> None:
    # Weights 1 / .5 = 2 and 0 / .25 = 0 and 1 / .25 = 4.
    value = off_policy_value(np.array([1.0, 1, 0]), np.array([0.5, 0.25, 0.25]), np.array([1.0, 0, 1]))
    assert value.ips.value == pytest.approx(2 / 3)
    assert value.snips.value == pytest.approx(2 / 6)
    assert value.logged.value == pytest.approx(2 / 3)
    assert value.effective == pytest.approx(36 / 20)
    assert value.largest == 4


def test_the_value_of_another_policy_is_found() -> None:
    rewards, shown, odds = log()
    scores = np.tile(np.array([0.0, 9, 1], dtype=np.float32), (len(shown), 1))
    value = off_policy_value(rewards, odds, share_of_shown(scores, shown))
    assert value.ips.low < RATES[1] < value.ips.high
    assert value.snips.low < RATES[1] < value.snips.high
    assert value.snips.high - value.snips.low < value.ips.high - value.ips.low
    # What was logged is worth much less: no interval of the one touches the other's.
    assert value.logged.high < value.snips.low


def test_clipping_leans_towards_the_log_and_is_told() -> None:
    rewards, shown, odds = log()
    chosen = share_of_shown(np.tile(np.array([0, 9, 1], dtype=np.float32), (len(shown), 1)), shown)
    clipped = off_policy_value(rewards, odds, chosen, clip=2.0)
    assert clipped.largest == 2
    assert clipped.clipped == pytest.approx((shown == 1).mean())
    assert clipped.ips.value < off_policy_value(rewards, odds, chosen).ips.value


def test_rows_of_one_person_are_drawn_together() -> None:
    rewards, _, odds = log(2000)
    rewards = np.repeat(rewards[:200], 10)
    chosen = np.full(2000, 1 / 3)
    alone = off_policy_value(rewards, odds, chosen).snips
    together = off_policy_value(rewards, odds, chosen, groups=np.repeat(np.arange(200), 10)).snips
    assert together.value == pytest.approx(alone.value)
    assert together.high - together.low > 1.5 * (alone.high - alone.low)


def test_shares_of_policies() -> None:
    scores = np.array([[1.0, 2, 2], [1, -np.inf, 0]], dtype=np.float32)
    assert share_of_shown(scores, np.array([1, 2])).tolist() == [0.5, 0]
    assert share_of_shown(scores, np.array([1, 2]), explore=0.3) == pytest.approx([0.35 + 0.1, 0.15])
    soft = share_of_shown(scores, np.array([0, 0]), temperature=1.0)
    assert soft == pytest.approx([1 / (1 + 2 * np.e), 1 / (1 + np.exp(-1))])
    every = [share_of_shown(scores[:1], np.array([item]), temperature=0.5)[0] for item in range(3)]
    assert sum(every) == pytest.approx(1)


def test_bad_logs_are_refused() -> None:
    one = np.ones(2)
    with pytest.raises(DataError, match="row 1"):
        off_policy_value(one, np.array([0.5, 0.0]), one)
    with pytest.raises(DataError, match="at most 1"):
        off_policy_value(one, np.array([1.5, 0.5]), one)
    with pytest.raises(DataError, match="no impressions"):
        off_policy_value(one[:0], one[:0], one[:0])
    with pytest.raises(DataError, match="temperature"):
        off_policy_value(one, one, np.zeros(2))
    with pytest.raises(ValueError, match="rewards"):
        off_policy_value(one, one, np.ones(3))
