"""What hangs together stays together, and what is held out has no twin in training."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearfar.learn.data.split import (
    TEST,
    TRAIN,
    VALIDATION,
    NearDuplicates,
    components,
    sides_by_component,
    sides_by_group,
)

Edges = list[tuple[int, int]]
KEYS = st.integers(-(2**63), 2**63 - 1)


def as_arrays(edges: Edges) -> tuple[np.ndarray, np.ndarray]:
    table = np.array(edges, dtype=np.int64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def reached(start: int, edges: Edges) -> set[int]:
    """Everything that hangs together with `start`, by walking."""
    found, ahead = {start}, [start]
    while ahead:
        here = ahead.pop()
        for a, b in edges:
            for near, far in ((a, b), (b, a)):
                if near == here and far not in found:
                    found.add(far)
                    ahead.append(far)
    return found


@given(st.lists(st.tuples(st.integers(-6, 6), st.integers(-6, 6)), max_size=12), st.randoms())
def test_a_component_is_all_that_can_be_reached(edges: Edges, shuffle: np.random.Generator) -> None:
    keys = np.arange(-6, 7)
    found = components(keys, [as_arrays(edges[::2]), as_arrays(edges[1::2])])
    assert found.tolist() == [min(reached(int(key), edges)) for key in keys]
    turned = [(b, a) for a, b in edges]
    shuffle.shuffle(turned)
    assert components(keys, [as_arrays(turned)]).tolist() == found.tolist()


def test_any_64_bit_key_will_do() -> None:
    keys = np.array([-(2**63), 2**63 - 1, 0], dtype=np.int64)
    linked = as_arrays([(2**63 - 1, 5), (5, -(2**63))])
    assert components(keys, [linked]).tolist() == [-(2**63), -(2**63), 0]


@given(st.lists(KEYS, min_size=1, max_size=40), st.lists(KEYS, max_size=40), st.integers(0, 3))
def test_a_component_has_one_side_whatever_else_there_is(names: list[int], others: list[int], seed: int) -> None:
    first = np.array(names * 30)
    side = sides_by_component(first, 0.2, 0.3, seed)
    for name in set(names):
        assert len(set(side[first == name])) == 1
    # None of them is large here, whether there are strangers or not.
    alone, strangers = np.array(sorted(set(names))), np.array(sorted(set(others) - set(names)), dtype=np.int64)
    together = sides_by_component(np.concatenate([strangers, alone]), 0.2, 0.3, seed)[len(strangers) :]
    assert together.tolist() == sides_by_component(alone, 0.2, 0.3, seed).tolist()


def test_shares_are_met_and_the_seed_counts() -> None:
    names = np.arange(4_000)
    side = sides_by_component(names, 0.05, 0.1, seed=0)
    assert abs((side == TEST).mean() - 0.1) < 0.02
    assert abs((side == VALIDATION).mean() - 0.05) < 0.015
    other = sides_by_component(names, 0.05, 0.1, seed=1)
    assert 0.0 < (side != other).mean() < 0.5
    assert not sides_by_component(names, 0.0, 0.0, seed=0).any()


def test_a_component_of_more_than_a_tenth_is_trained_on() -> None:
    for name in range(50):
        component = np.concatenate([np.full(20, name), np.arange(100, 200)])
        assert set(sides_by_component(component, 0.4, 0.5, seed=0)[:20]) == {TRAIN}


@given(st.lists(st.integers(1, 30), min_size=1, max_size=60), st.integers(0, 5))
def test_groups_stay_whole_and_are_not_overfilled(sizes: list[int], seed: int) -> None:
    groups = np.repeat(np.arange(len(sizes)), sizes)
    side = sides_by_group(groups.tolist(), 0.1, 0.2, seed)
    for group in range(len(sizes)):
        assert len(set(side[groups == group])) == 1
    assert (side == TEST).sum() <= 1.2 * 0.2 * len(groups)
    assert (side == VALIDATION).sum() <= 1.2 * 0.1 * len(groups)
    shuffled = np.random.default_rng(seed).permutation(len(groups))
    assert sides_by_group(groups[shuffled].tolist(), 0.1, 0.2, seed).tolist() == side[shuffled].tolist()


def test_group_shares_are_met_where_groups_are_small() -> None:
    groups = np.repeat(np.arange(500), 4)
    side = sides_by_group(groups.tolist(), 0.1, 0.2, seed=0)
    assert (side == TEST).mean() == pytest.approx(0.2, abs=0.01)
    assert (side == VALIDATION).mean() == pytest.approx(0.1, abs=0.01)


def words(start: int, count: int) -> str:
    return " ".join(f"w{number}" for number in range(start, start + count))


def test_a_text_mostly_made_of_seen_ones_is_a_near_duplicate() -> None:
    seen = NearDuplicates([words(0, 200), words(1_000, 200), "short one", ""])
    for twin in (words(0, 200), words(0, 200).upper(), words(0, 150) + " " + words(5_000, 30), words(50, 90)):
        assert twin in seen
    assert "Short  one" in seen
    for stranger in (words(3_000, 200), words(0, 40) + " " + words(7_000, 160), "another short one"):
        assert stranger not in seen
    assert words(0, 200) not in NearDuplicates([])
