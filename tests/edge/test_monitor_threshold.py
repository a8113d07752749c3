"""Thresholds against what they promise: exact shares of exchangeable blocks, tails that are known, and honest refusals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import genpareto

from nearfar.edge.monitor.threshold import DAY, block_maxima, find_threshold, level_per_block, p_value
from nearfar.errors import DataError


def test_maxima_are_those_of_blocks_in_their_order() -> None:
    times = np.arange(40.0)
    statistic = np.arange(40, dtype=np.float32) % 10
    statistic[25] = 50
    np.testing.assert_array_equal(block_maxima(times, statistic, 10.0), [9, 9, 50, 9])
    np.testing.assert_array_equal(block_maxima(times + 1.7e9, statistic, 10.0), [9, 9, 50, 9])
    np.testing.assert_array_equal(block_maxima(times * 0.1, statistic, 1.0), [9, 9, 50, 9])


def test_a_block_of_which_more_than_half_is_unknown_is_left_out() -> None:
    times, statistic = np.arange(40.0), np.arange(40, dtype=np.float32)
    statistic[11:16] = np.nan
    statistic[20:26] = -np.inf
    statistic[29] = np.nan
    np.testing.assert_array_equal(block_maxima(times, statistic, 10.0), [9, 19, 39])
    np.testing.assert_array_equal(block_maxima(times[:33], statistic[:33], 10.0), [9, 19])
    np.testing.assert_array_equal(block_maxima(times[:35], statistic[:35], 10.0), [9, 19, 34])


def test_a_gap_in_time_moves_no_block() -> None:
    times, statistic = np.arange(60.0), np.arange(60, dtype=np.float32)
    kept = (times < 12) | (times >= 38)
    np.testing.assert_array_equal(block_maxima(times[kept], statistic[kept], 10.0), [9, 49, 59])


def test_nothing_known_has_no_maxima() -> None:
    assert len(block_maxima(np.arange(5.0), np.full(5, np.nan, np.float32), 2.0)) == 0
    assert len(block_maxima(np.zeros(0), np.zeros(0, np.float32), 2.0)) == 0


def test_a_p_value_counts_blocks_that_came_as_high() -> None:
    maxima = np.array([1, 2, 2, 3, 5], np.float32)
    assert p_value(maxima, 9.0) == 1 / 6
    assert p_value(maxima, 5.0) == 2 / 6
    assert p_value(maxima, 2.0) == 5 / 6
    assert p_value(maxima, 0.0) == 1.0
    assert p_value(maxima[:0], 9.0) == 1.0


def test_p_values_of_healthy_blocks_are_small_no_more_often_than_they_say() -> None:
    rng = np.random.default_rng(0)
    found = np.array([p_value(np.sort(blocks[1:]), blocks[0]) for blocks in rng.standard_normal((20_000, 20))])
    for level in (0.05, 0.1, 0.5):
        assert (found <= level).mean() == pytest.approx(level, abs=0.01)
    assert found.min() == 0.05


@pytest.mark.parametrize(("blocks", "level"), [(9, 0.1), (19, 0.1), (24, 0.1), (50, 0.05), (99, 0.01)])
def test_blocks_to_come_exceed_the_conformal_level_as_often_as_promised(blocks: int, level: float) -> None:
    """Exactly: of exchangeable blocks the next one is above the r-th lowest of b with probability 1 - r / (b + 1)."""
    rng = np.random.default_rng(1)
    draws = rng.exponential(size=(20_000, blocks + 1)).astype(np.float32)
    block = 600.0
    values = np.array(
        [find_threshold(draw[1:], per_day=level * DAY / block, block=block, tail="conformal").value for draw in draws]
    )
    rank = np.ceil((blocks + 1) * (1 - level) - 1e-9)
    expected = 1 - rank / (blocks + 1)
    assert level - 1 / (blocks + 1) < expected <= level + 1e-9
    assert (draws[:, 0] > values).mean() == pytest.approx(expected, abs=0.007)


@pytest.mark.parametrize("per_day", [0.1, 0.5, 1.0, 3.0, 7.0, 11.0])
@pytest.mark.parametrize("block", [30.0, 120.0, 640.0, 1280.0, 3600.0])
def test_as_many_blocks_as_the_message_asks_for_are_enough(per_day: float, block: float) -> None:
    needed = int(np.ceil(1 / level_per_block(per_day, block))) - 1
    maxima = np.random.default_rng(0).permutation(np.arange(needed, dtype=np.float32))
    found = find_threshold(maxima, per_day=per_day, block=block, tail="conformal")
    assert found == (needed - 1, "conformal")
    with pytest.raises(DataError, match=f"need {needed:,} healthy blocks .* but there are {needed - 1:,}: record more"):
        find_threshold(maxima[:-1], per_day=per_day, block=block, tail="conformal")


@pytest.mark.parametrize("shape", [-0.3, 0.0, 0.25])
def test_a_drawn_tail_is_extended_to_where_it_really_is(shape: float) -> None:
    """200 blocks, and a level that only 1 of 1,000 exceeds; the mean of many such thresholds lies where it should."""
    law, block = genpareto(shape, loc=5.0, scale=2.0), 600.0
    draws = law.rvs((300, 200), random_state=2).astype(np.float32)
    found = [find_threshold(draw, per_day=0.001 * DAY / block, block=block) for draw in draws]
    assert {threshold.tail for threshold in found} == {"gpd"}
    values = np.array([threshold.value for threshold in found])
    truth = law.ppf(0.999)
    assert np.median(values) == pytest.approx(truth, rel=0.12)
    assert np.median(law.sf(values)) == pytest.approx(0.001, rel=0.6)
    beyond = np.array([threshold.value > draw.max() for threshold, draw in zip(found, draws, strict=True)])
    assert beyond.mean() > 0.6


def test_a_tail_of_all_blocks_gives_back_its_own_law() -> None:
    """So many blocks that the estimates themselves can be held against the law: the moments of Hosking and Wallis."""
    law = genpareto(0.2, scale=3.0)
    maxima = law.rvs(400_000, random_state=3).astype(np.float32)
    for share in (0.1, 0.01, 0.0001):
        value = find_threshold(maxima, per_day=share * DAY / 60, block=60.0, tail="gpd").value
        assert value == pytest.approx(law.ppf(1 - share), rel=0.03)


def test_few_blocks_that_are_all_alike_give_their_height() -> None:
    assert find_threshold(np.full(12, 3, np.float32), per_day=0.1, block=600.0) == (3.0, "gpd")


def test_a_single_wild_block_does_not_make_the_level_infinite() -> None:
    maxima = np.append(np.ones(39), 1e6).astype(np.float32)
    value = find_threshold(maxima, per_day=0.01, block=600.0).value
    assert 1 < value < 1e10


def test_the_order_of_blocks_does_not_matter_and_fewer_alarms_mean_a_higher_level() -> None:
    maxima = np.random.default_rng(4).gumbel(size=300).astype(np.float32)
    levels = [find_threshold(maxima, per_day=a_day, block=600.0).value for a_day in (20, 10, 5, 1, 0.5, 0.1, 0.01)]
    assert (np.diff(levels) > 0).all()
    assert find_threshold(np.sort(maxima)[::-1], per_day=0.1, block=600.0).value == levels[-2]


def test_too_few_blocks_for_a_tail_are_told() -> None:
    with pytest.raises(DataError, match=r"9 healthy blocks of 600 seconds are too few .* at least 10 .*1\.7 hours"):
        find_threshold(np.arange(9, dtype=np.float32), per_day=1.0, block=600.0)


def test_more_alarms_than_blocks_can_tell_are_refused() -> None:
    assert level_per_block(1.0, 864.0) == pytest.approx(0.01)
    with pytest.raises(DataError, match=r"100 false alarms a day .* shorter block \(below 432 seconds\)"):
        level_per_block(100.0, 600.0)
