"""Profiles: always the fold of all actions, small, and the same after their bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.edge.recommend.profile import Profile, private_vectors
from nearfar.errors import StoreError

DIM = 8
TABLE = np.random.default_rng(0).normal(size=(100, DIM)).astype(np.float32)


def folded(actions: list[tuple[int, float, float]], length: int = 5) -> Profile:
    profile = Profile.empty(length, DIM, 3.0)
    for number, time, weight in actions:
        profile = profile.after(number, time, weight, TABLE[number])
    return profile


ACTIONS = st.lists(st.tuples(st.integers(0, 99), st.floats(0, 2e9), st.floats(0.0625, 1000, width=32)), max_size=12)


@settings(deadline=None)
@given(ACTIONS, st.integers(0, 12))
def test_folding_on_after_its_bytes_is_folding_from_the_start(actions, cut):
    begun = Profile.from_bytes(folded(actions[:cut]).to_bytes())
    for number, time, weight in actions[cut:]:
        begun = begun.after(number, time, weight, TABLE[number])
    assert begun == folded(actions)
    assert begun.to_bytes() == folded(actions).to_bytes()


def test_the_latest_actions_are_held_and_all_are_in_the_vector():
    actions = [(n, 10.0 * n, 1.0 + n) for n in range(9)]
    profile = folded(actions)
    assert profile.items.tolist() == [4, 5, 6, 7, 8]
    assert profile.times.tolist() == [40.0, 50.0, 60.0, 70.0, 80.0]
    assert profile.weights.tolist() == [5.0, 6.0, 7.0, 8.0, 9.0]
    assert (len(profile), profile.actions) == (5, 9)
    expected = sum(weight * 0.5 ** ((8 - n) / 3) * TABLE[n].astype(np.float64) for n, _, weight in actions)
    np.testing.assert_allclose(profile.long_term, expected, rtol=1e-5)


def test_a_profile_stays_what_it_was_when_more_is_done():
    before = folded([(1, 1.0, 1.0)])
    content = before.to_bytes()
    before.after(2, 2.0, 1.0, TABLE[2])
    assert before.to_bytes() == content


def test_two_hundred_actions_and_64_components_take_less_than_four_kilobytes():
    profile = Profile.empty(200, 64, 50.0)
    for number in range(300):
        profile = profile.after(number, 1.7e9 + number, 1.0, np.ones(64, dtype=np.float32))
    assert len(profile.to_bytes()) == 3475


def test_without_an_action_the_others_stay():
    profile = folded([(n, float(n), 1.0) for n in range(4)])
    assert profile.without(1).items.tolist() == [0, 2, 3]
    assert profile.without(3).times.tolist() == [0.0, 1.0, 2.0]


@pytest.mark.parametrize("broken", [b"", b"\x01", folded([(1, 1.0, 1.0)]).to_bytes()[:-1], b"\x02" + bytes(200)])
def test_damaged_bytes_are_refused(broken):
    with pytest.raises(StoreError, match="build it again from the history"):
        Profile.from_bytes(broken)


def test_a_vector_that_is_handed_out_is_clipped_and_noisy():
    vectors = np.random.default_rng(1).normal(size=(500, 64)).astype(np.float32) * 10
    clipped = private_vectors(vectors, clip=2.0, seed=0)
    np.testing.assert_allclose(np.linalg.norm(clipped, axis=1), 2.0, rtol=1e-5)
    short = 0.01 * vectors
    np.testing.assert_array_equal(private_vectors(short, clip=2.0, seed=0), short)
    noise = private_vectors(vectors, clip=2.0, noise=0.5, seed=0) - clipped
    assert noise.std() == pytest.approx(1.0, rel=0.02)
    assert (private_vectors(vectors, noise=0.5, seed=1) != private_vectors(vectors, noise=0.5, seed=0)).all()
    assert private_vectors(vectors[0], clip=1.0, noise=0.1, seed=0).shape == (64,)


def test_noise_is_new_each_time_and_does_not_bear_averaging():
    """What the documentation warns of: with one seed the noise is taken away, and the mean of many sees through it."""
    vector = np.full(64, 0.1, dtype=np.float32)
    one, other = private_vectors(vector, noise=1.0), private_vectors(vector, noise=1.0)
    assert (one != other).all()
    moved = vector + np.float32(0.01)
    known = private_vectors(moved, noise=1.0, seed=3) - private_vectors(vector, noise=1.0, seed=3)
    np.testing.assert_allclose(known, 0.01, atol=1e-6)
    mean = np.mean([private_vectors(vector, noise=1.0) for _ in range(2500)], axis=0)
    assert np.abs(mean - vector).std() < 0.03 < np.abs(one - vector).std()
