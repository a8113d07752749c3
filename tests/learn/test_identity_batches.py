"""Batches by identity: even, repeatable, and as the sessions ask for."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearfar.errors import DataError
from nearfar.learn.data.identity_batches import IdentityBatches

Ints = np.ndarray[tuple[int, ...], np.dtype[np.int64]]


def of(labels: list[int], *, samples: int = 3, sessions: list[int] | None = None, **keys: object) -> IdentityBatches:
    rest: dict[str, object] = {"session": "any", "seed": 0, **keys}
    own = np.array(sessions or [-1] * len(labels), np.int64)
    return IdentityBatches(np.array(labels, np.int64), own, samples=samples, **rest)  # type: ignore[arg-type]


LABELS = st.lists(st.integers(-1, 9), min_size=4, max_size=60).filter(lambda labels: len(set(labels) - {-1}) > 1)


@given(LABELS, st.integers(1, 5), st.integers(2, 40), st.integers(0, 50), st.sampled_from(["any", "other"]))
def test_a_batch_has_its_size_and_every_identity_in_it_its_share(
    labels: list[int], samples: int, size: int, step: int, session: str
) -> None:
    batches = of(labels, samples=samples, session=session, sessions=[i % 3 for i in range(len(labels))])
    drawn = batches.numbers(step, size)
    found = np.array(labels)[drawn]
    assert drawn.shape == (size,)
    assert drawn.dtype == np.int64
    assert (found >= 0).all()
    assert np.array_equal(drawn, batches.numbers(step, size))
    counts = Counter(found.tolist())
    assert len(counts) <= max(2, size // samples)
    if size >= 2 * samples:
        assert min(counts.values()) >= samples
    for label, count in counts.items():
        own = Counter(drawn[found == label].tolist())
        # All samples of it come up before one comes up again.
        assert max(own.values()) - (min(own.values()) if len(own) == labels.count(label) else 0) <= 1
        assert sum(own.values()) == count


@given(st.integers(2, 30), st.integers(1, 9), st.integers(0, 3))
def test_identities_come_up_evenly(people: int, per_batch: int, seed: int) -> None:
    """Of every stretch of the stream that is as long as there are identities, each is drawn once in its own turn."""
    per_batch = min(max(2, per_batch), people)
    batches = of([i for i in range(people) for _ in range(4)], samples=2, seed=seed)
    counts: Counter[int] = Counter()
    for step in range(people):  # people * per_batch identities: per_batch whole turns
        counts.update((batches.numbers(step, 2 * per_batch) // 4).tolist())
    assert set(counts.values()) == {2 * per_batch}


def test_sizes_that_are_no_multiple_are_shared_out() -> None:
    batches = of([i // 5 for i in range(50)], samples=4)
    found = Counter((batches.numbers(0, 11) // 5).tolist())
    assert sorted(found.values()) == [5, 6]
    few = of([0] * 9 + [1] * 9, samples=4)
    assert sorted(Counter((few.numbers(3, 64) // 9).tolist()).values()) == [32, 32]


def test_other_sessions_come_before_a_second_of_one() -> None:
    labels, sessions = [0] * 12 + [1] * 12, [*[0] * 9, 1, 2, 3] * 2
    batches = of(labels, sessions=sessions, samples=4, session="other")
    free = of(labels, sessions=sessions, samples=4, session="any")
    spread = alike = 0
    for step in range(30):
        for drawn, is_spread in ((batches.numbers(step, 8), True), (free.numbers(step, 8), False)):
            for label in (0, 1):
                own = [sessions[i] for i in drawn if labels[i] == label]
                if is_spread:
                    spread += len(set(own))
                else:
                    alike += len(set(own))
    assert spread == 30 * 2 * 4
    assert alike < spread


def test_unknown_sessions_are_sessions_of_their_own() -> None:
    batches = of([0] * 8 + [1] * 8, sessions=[-1, -1, -1, -1, 5, 5, 5, 5] * 2, samples=5, session="other")
    for step in range(20):
        drawn = batches.numbers(step, 10)
        assert sorted((drawn % 8 >= 4).tolist()) == [False] * 8 + [True] * 2


def test_steps_and_seeds_differ() -> None:
    labels = [i // 5 for i in range(100)]
    first, other = of(labels), of(labels, seed=1)
    assert not np.array_equal(first.numbers(0, 12), first.numbers(1, 12))
    assert not np.array_equal(first.numbers(0, 12), other.numbers(0, 12))


def test_identities_of_one_sample_are_counted_and_left_out_where_views_are_alike() -> None:
    labels = [0, 0, 0, 1, 1, 1, 2, 3]
    assert (of(labels).identities, of(labels).singles) == (4, 2)
    strict = of(labels, single=False)
    assert (strict.identities, strict.singles) == (2, 2)
    drawn = np.concatenate([strict.numbers(step, 6) for step in range(20)])
    assert set(drawn.tolist()) == set(range(6))
    repeated = np.concatenate([of(labels).numbers(step, 6) for step in range(20)])
    assert set(repeated.tolist()) == set(range(8))


@pytest.mark.parametrize(("labels", "keys"), [([0, 0, 0], {}), ([-1, -1], {}), ([0, 0, 1, 2], {"single": False})])
def test_fewer_than_two_identities_are_refused(labels: list[int], keys: dict[str, object]) -> None:
    with pytest.raises(DataError, match="at least 2 are needed"):
        of(labels, **keys)
