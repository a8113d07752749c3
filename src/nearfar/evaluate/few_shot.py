"""One-shot classification: one sample of each of some identities is known, and another sample is told which of them it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nearfar.errors import DataError
from nearfar.evaluate.bootstrap import Interval, ratio_interval

Vectors = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class OneShot:
    """How often the right one of `ways` identities is told by one sample of each.

    Attributes:
        accuracy: share of queries, with its interval over identities.
        ways: identities in each episode.
        episodes: how many there were.
    """

    accuracy: Interval
    ways: int
    episodes: int


def one_shot_accuracy(
    vectors: Vectors,
    labels: Ints,
    sessions: Ints,
    *,
    groups: Sequence[str] | None = None,
    ways: int = 20,
    episodes: int = 500,
    resamples: int = 1000,
    seed: int = 0,
) -> OneShot:
    """Classify by the nearest of one sample each of some identities.

    In an episode all known samples come from one session (one drawer, one microphone) and all queries from another, so that
    nothing but the identity tells them apart. Where no two sessions share enough identities, each has two of its own.

    Args:
        vectors: (n, d), rows of unit length.
        labels: (n,) int64, numbers of identities.
        sessions: (n,) int64, numbers of sessions, the same over identities; below 0 for none.
        groups: what identities of an episode share (an alphabet); by default one group. Every row has its own.
        ways: identities in an episode, at least 2.
        episodes: how many are drawn, evenly over groups.
        resamples: of the interval, which draws identities anew.
        seed: of the draws.

    Raises:
        DataError: no group has `ways` identities with two samples.
        ValueError: `ways` or `episodes` is out of range, or shapes do not fit.

    Source: Lake et al., Human-level concept learning through probabilistic program induction, Science 2015: 20-way, within an alphabet,
    by two drawers.
    """
    if ways < 2 or episodes < 1 or labels.shape != vectors.shape[:1] or sessions.shape != labels.shape:
        raise ValueError(
            f"ways {ways}, episodes {episodes}, {vectors.shape} vectors and {labels.shape} labels do not fit"
        )
    of_groups = (
        np.unique(np.asarray(groups), return_inverse=True)[1] if groups is not None else np.zeros(len(labels), np.int64)
    )
    drawn = [
        found
        for group in np.unique(of_groups)
        if (found := _Group.of(np.flatnonzero(of_groups == group), labels, sessions, ways))
    ]
    if not drawn:
        raise DataError(
            f"no group has {ways} identities with two samples each, which {ways}-way classification needs: ask for fewer ways"
        )
    rng = np.random.default_rng(seed)
    numbers = np.unique(labels)
    right, asked = np.zeros(len(numbers)), np.zeros(len(numbers))
    for episode in range(episodes):
        known, queries = drawn[episode % len(drawn)].episode(rng, ways)
        nearest = np.argmax(vectors[queries] @ vectors[known].T, axis=1)
        places = np.searchsorted(numbers, labels[queries])
        asked[places] += 1
        right[places] += nearest == np.arange(ways)
    seen = asked > 0
    return OneShot(ratio_interval(right[seen], asked[seen], resamples=resamples, seed=seed), ways, episodes)


class _Group:
    """What episodes of one group are drawn from."""

    def __init__(
        self, pairs: list[tuple[dict[int, Ints], dict[int, Ints], Ints]], rows: dict[int, Ints], sessions: Ints
    ) -> None:
        self._pairs, self._rows, self._sessions = pairs, rows, sessions

    @classmethod
    def of(cls, rows: Ints, labels: Ints, sessions: Ints, ways: int) -> _Group | None:
        """The group of some rows; None where it has too few identities."""
        several = {int(label): own for label in np.unique(labels[rows]) if len(own := rows[labels[rows] == label]) > 1}
        if len(several) < ways:
            return None
        by_session: dict[int, dict[int, Ints]] = {}
        for label, own in several.items():
            for session in np.unique(sessions[own]):
                if session >= 0:
                    by_session.setdefault(int(session), {})[label] = own[sessions[own] == session]
        pairs = []
        for one, known in by_session.items():
            for other, asked in by_session.items():
                shared = np.array(sorted(known.keys() & asked.keys()), np.int64)
                if one != other and len(shared) >= ways:
                    pairs.append((known, asked, shared))
        return cls(pairs, several, sessions)

    def episode(self, rng: np.random.Generator, ways: int) -> tuple[Ints, Ints]:
        """Rows (ways,) that are known, and (ways,) that are asked for, of the same identities in the same order."""
        if self._pairs:
            known, asked, shared = self._pairs[rng.integers(len(self._pairs))]
            chosen = rng.permutation(shared)[:ways].tolist()
            return np.array([rng.choice(known[i]) for i in chosen]), np.array([rng.choice(asked[i]) for i in chosen])
        chosen = rng.permutation(sorted(self._rows))[:ways].tolist()
        both = np.array([self._two(rng, self._rows[i]) for i in chosen])
        return both[:, 0], both[:, 1]

    def _two(self, rng: np.random.Generator, own: Ints) -> tuple[int, int]:
        """Two rows of an identity, of different sessions where it has several."""
        known = rng.choice(own)
        other = own[self._sessions[own] != self._sessions[known]]
        return int(known), int(rng.choice(other if len(other) else own[own != known]))
