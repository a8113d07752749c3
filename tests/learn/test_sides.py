"""Which side an item is on: what came with a split keeps it, the rest is drawn, identities stay whole or are refused."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearfar.errors import DataError
from nearfar.learn.data.sides import Sides, sides_by_identity, sides_of
from nearfar.learn.data.split import DROPPED, TEST, TRAIN, VALIDATION
from nearfar.recipe.data import Split

HELD_OUT = Split(by="identity", validation=0.1, test=0.2)


def sides(
    labels: Sequence[str],
    *,
    keys: Sequence[int] | None = None,
    splits: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    split: Split = HELD_OUT,
    identity: bool = True,
    seed: int = 0,
) -> Sides:
    n = len(labels)
    return sides_of(
        keys=np.array(range(n) if keys is None else keys, np.int64),
        labels=labels,
        splits=splits or [""] * n,
        groups=groups or [""] * n,
        split=split,
        identity=identity,
        seed=seed,
        kind="made",
    )


def on(labels: Sequence[str], side: Sides, which: int) -> set[str]:
    return {label for label, of in zip(labels, side.tolist(), strict=True) if of == which}


PEOPLE = st.lists(st.sampled_from("abcdefghijklmnop"), min_size=1, max_size=120)


@given(PEOPLE, st.integers(0, 5), st.floats(0, 0.4), st.floats(0, 0.4))
def test_no_identity_is_on_two_sides(labels: list[str], seed: int, validation: float, test: float) -> None:
    side = sides(labels, split=Split(by="identity", validation=validation, test=test), seed=seed)
    parts = [on(labels, side, which) for which in (TRAIN, VALIDATION, TEST)]
    assert sum(map(len, parts)) == len(set(labels))
    assert not (side == DROPPED).any()
    least = 2 if len(set(labels)) >= 8 else 1 if len(set(labels)) >= 4 else 0
    assert len(parts[0]) >= min(len(set(labels)), 1)
    for part, share in zip(parts[1:], (validation, test), strict=True):
        assert len(part) >= (least if share > 0 else 0)
        assert share > 0 or not part


@given(PEOPLE, st.integers(0, 3))
def test_the_order_of_the_items_does_not_matter(labels: list[str], seed: int) -> None:
    order = np.random.default_rng(len(labels)).permutation(len(labels))
    side = sides(labels, seed=seed)
    shuffled = sides([labels[i] for i in order], keys=order.tolist(), seed=seed)
    assert shuffled.tolist() == side[order].tolist()


def test_shares_are_met_as_nearly_as_identities_allow() -> None:
    numbers = np.repeat(np.arange(100), 7)
    side = sides_by_identity(numbers.tolist(), 0.1, 0.2, seed=0)
    assert (side == TEST).mean() == pytest.approx(0.2, abs=0.02)
    assert (side == VALIDATION).mean() == pytest.approx(0.1, abs=0.02)
    other = sides_by_identity(numbers.tolist(), 0.1, 0.2, seed=1)
    assert (side != other).any()


@pytest.mark.parametrize(("people", "each"), [(3, 0), (4, 1), (6, 1), (8, 2), (20, 2)])
def test_few_identities_leave_some_to_measure_with(people: int, each: int) -> None:
    """By their size alone none of them would fit into a hundredth."""
    numbers = np.repeat(np.arange(people), 50).tolist()
    side = sides_by_identity(numbers, 0.01, 0.01, seed=0)
    for which in (VALIDATION, TEST):
        assert len(np.unique(np.array(numbers)[side == which])) == each


def test_an_identity_on_two_sides_is_refused_with_names_places_and_mend() -> None:
    labels = ["anna"] * 4 + ["ben"] * 2 + ["cleo"] * 2 + ["dora"] * 2 + ["emil"] * 2
    splits = ["train", "train", "test", "test", *["train", "test"] * 3, "train", "train"]
    with pytest.raises(DataError) as error:
        sides(labels, splits=splits)
    said = str(error.value)
    assert said.startswith(
        "4 of 5 identities lie on two sides of the split: anna (2 in train, 2 in test); ben (1 in train"
    )
    assert "and 1 more" in said
    assert "dora" not in said
    assert "set data.split.identities to seen" in said
    seen = Split(by="random", identities="seen", validation=0, test=0)
    assert sides(labels, splits=splits, split=seen).tolist() == [{"train": TRAIN, "test": TEST}[s] for s in splits]
    assert (
        sides(labels, splits=splits, split=seen, identity=False).tolist()
        == sides(labels, splits=splits, split=seen).tolist()
    )


def test_groups_that_tear_an_identity_apart_are_refused() -> None:
    labels = [f"person {i % 5}" for i in range(100)]
    groups = [f"day {i // 10}" for i in range(100)]
    by_group = Split(by="group", validation=0.2, test=0.2)
    with pytest.raises(DataError, match=r"5 of 5 identities .*\(or group\)"):
        sides(labels, groups=groups, split=by_group)
    within = sides(groups, groups=[f"house {i // 20}" for i in range(100)], split=by_group)
    assert {TRAIN, VALIDATION, TEST} == set(within.tolist())


def test_what_came_with_a_split_keeps_it_and_what_lacks_is_drawn_from_training() -> None:
    labels = [f"p{i // 5:02}" for i in range(200)]
    splits = ["test" if i >= 150 else "train" for i in range(200)]
    side = sides(labels, splits=splits)
    assert on(labels, side, TEST) == set(labels[150:])
    assert len(on(labels, side, VALIDATION)) >= 2
    assert not on(labels, side, VALIDATION) & on(labels, side, TRAIN)


def test_copies_of_one_content_under_two_identities_belong_to_nobody() -> None:
    labels = ["a", "a", "b", "b", "c", "c"]
    keys = [1, 2, 2, 3, 4, 4]
    nothing = Split(by="identity", validation=0, test=0)
    assert sides(labels, keys=keys, split=nothing).tolist() == [TRAIN, DROPPED, DROPPED, TRAIN, TRAIN, TRAIN]
    random = Split(by="random", validation=0, test=0)
    assert not sides(labels, keys=keys, split=random, identity=False).any()


def test_who_has_no_name_is_left_out_where_names_are_learned() -> None:
    side = sides(["a", "", "b", ""], split=Split(by="identity", validation=0, test=0))
    assert side.tolist() == [TRAIN, DROPPED, TRAIN, DROPPED]


@given(st.lists(st.integers(0, 30), min_size=1, max_size=80), st.integers(0, 3))
def test_copies_of_one_content_are_on_one_side_or_dropped(keys: list[int], seed: int) -> None:
    splits = [("train", "test", "validation", "")[key * 7 % 11 % 4] if i % 3 else "train" for i, key in enumerate(keys)]
    random = Split(by="random", validation=0.2, test=0.2)
    side = sides([""] * len(keys), keys=keys, splits=splits, split=random, identity=False, seed=seed)
    for key in set(keys):
        found = {of for own, of in zip(keys, side.tolist(), strict=True) if own == key} - {DROPPED}
        assert len(found) == 1


def test_a_split_by_group_without_groups_is_refused() -> None:
    with pytest.raises(DataError, match=r"by is group, but nothing in the made source has a group"):
        sides(["a", "b"], split=Split(by="group"))
