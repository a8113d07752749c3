"""Thresholds keep what they promise, or are refused."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.edge.verify.threshold import (
    TooFewTrialsError,
    choose_threshold,
    false_matches_allowed,
    identities_needed,
    trials_needed,
)
from nearfar.errors import DataError
from nearfar.evaluate.exact_intervals import binomial_interval


def scores(count: int, *, mean: float = 0.0, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, 0.15, count).astype(np.float32)


@pytest.mark.parametrize(
    ("fmr", "confidence", "needed"), [(0.01, 0.95, 299), (0.001, 0.95, 2995), (0.0001, 0.95, 29956), (0.5, 0.5, 1)]
)
def test_trials_needed_is_the_rule_of_three_exactly(fmr, confidence, needed):
    assert trials_needed(fmr, confidence) == needed
    assert (1 - fmr) ** needed <= 1 - confidence
    assert needed == 1 or (1 - fmr) ** (needed - 1) > 1 - confidence


def test_identities_needed_have_pairs_enough():
    assert identities_needed(0.001, 0.95) == 78
    assert math.comb(78, 2) >= 2995 > math.comb(77, 2)


@settings(max_examples=60, deadline=None)
@given(
    trials=st.integers(1, 20_000), fmr=st.floats(0.0005, 0.4), confidence=st.sampled_from([0.5, 0.8, 0.9, 0.95, 0.99])
)
def test_allowed_false_matches_are_the_most_whose_bound_keeps_the_target(trials, fmr, confidence):
    allowed = false_matches_allowed(trials, fmr, confidence)
    level = max(2 * confidence - 1, 1e-9)
    if allowed < 0:
        assert trials < trials_needed(fmr, confidence)
        assert binomial_interval(0, trials, level=level).high > fmr
    else:
        assert binomial_interval(allowed, trials, level=level).high <= fmr * (1 + 1e-6)
        assert binomial_interval(allowed + 1, trials, level=level).high > fmr * (1 - 1e-6)


def test_the_threshold_is_the_least_that_will_do():
    genuine, impostor = scores(500, mean=0.8), scores(20_000)
    found = choose_threshold(genuine, impostor, fmr=0.001)
    allowed = false_matches_allowed(20_000, 0.001, 0.95)
    assert (impostor >= np.float32(found.value)).sum() == allowed
    just_below = np.nextafter(np.float32(found.value), np.float32(-1))
    assert (impostor >= just_below).sum() == allowed + 1
    assert found.realised_fmr.high <= 0.001
    assert found.realised_fnmr.value == (genuine < np.float32(found.value)).mean()


def test_ties_at_the_threshold_do_not_pass():
    impostor = np.full(400, 0.25, dtype=np.float32)
    found = choose_threshold(scores(50, mean=0.8), impostor, fmr=0.01)
    assert found.value > 0.25
    assert found.realised_fmr.value == 0


def test_the_bound_holds_for_new_impostors():
    """Of many calibrations at 95 %, at most about 5 % may let through more than they promise."""
    broken = 0
    for seed in range(300):
        found = choose_threshold(scores(20, mean=0.8), scores(1000, seed=seed), fmr=0.01)
        true_fmr = 0.5 * math.erfc(found.value / 0.15 / math.sqrt(2))
        broken += true_fmr > 0.01
    assert 0 < broken <= 27  # 15 expected, 27 is beyond three standard deviations


def test_too_few_trials_are_refused_with_what_is_missing():
    with pytest.raises(TooFewTrialsError) as refused:
        choose_threshold(scores(40, mean=0.8), scores(560), fmr=0.001, identities=8)
    assert (refused.value.impostor, refused.value.needed) == (560, 2995)
    message = str(refused.value)
    assert "2,995" in message
    assert "10 more people" in message
    asked = float(message.split("ask for an FMR of ")[1].split(" ")[0])
    choose_threshold(scores(40, mean=0.8), scores(560), fmr=asked, identities=8)
    assert isinstance(refused.value, DataError)


@pytest.mark.parametrize("impostor", [0, 1, 4])
def test_next_to_no_trials_are_refused_without_false_hope(impostor):
    with pytest.raises(TooFewTrialsError, match="more people"):
        choose_threshold(scores(3), scores(impostor), fmr=0.01, identities=2)


def test_few_identities_are_warned_of():
    few = choose_threshold(scores(40, mean=0.8), scores(5000), fmr=0.001, identities=20)
    assert "190 pairs" in few.warnings[0]
    assert "78 identities" in few.warnings[0]
    assert not choose_threshold(scores(40, mean=0.8), scores(5000), fmr=0.001, identities=78).warnings


def test_a_threshold_that_refuses_most_is_warned_of():
    found = choose_threshold(scores(40), scores(5000), fmr=0.001)
    assert "genuine samples are refused" in found.warnings[0]


@pytest.mark.parametrize("broken", [{"fmr": 0.0}, {"fmr": 1.0}, {"fmr": 0.01, "confidence": 0.2}])
def test_arguments_out_of_range_are_refused(broken):
    with pytest.raises(DataError, match="give a share"):
        choose_threshold(scores(40, mean=0.8), scores(5000), **broken)


def test_no_genuine_trials_and_no_numbers_are_refused():
    with pytest.raises(DataError, match="more samples"):
        choose_threshold(scores(0), scores(5000), fmr=0.01)
    with pytest.raises(DataError, match="finite"):
        choose_threshold(scores(10), np.array([np.nan], dtype=np.float32), fmr=0.01)


def test_the_table_in_the_documentation_is_right():
    lines = (Path(__file__).parents[3] / "docs" / "verification.md").read_text("utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("| target FMR |"))
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[start + 2 : start + 9]]
    for target, trials, people, pairs in rows:
        fmr = float(target.removesuffix(" %")) / 100
        assert trials_needed(fmr, 0.95) == int(trials.replace(",", ""))
        assert identities_needed(fmr, 0.95) == int(pairs)
        count = int(people)
        assert 10 * count * (count - 1) >= trials_needed(fmr, 0.95) > 10 * (count - 1) * (count - 2)
