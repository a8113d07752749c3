"""What is held out: every pair goes to one side (train, validation, test), and no held-out text has a twin in training."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

TRAIN, VALIDATION, TEST, DROPPED = 0, 1, 2, 3

SIDES = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
"""What sources call the sides -> side."""

_SHINGLE_WORDS = 5
_SKETCH_SHARE = 4  # one shingle in four is remembered
_NEAR_DUPLICATE = 0.5
_LARGEST_SHARE = 0.1

Ints = npt.NDArray[np.int64]


def components(keys: Ints, linked: Sequence[tuple[Ints, Ints]]) -> Ints:
    """Which texts hang together.

    Args:
        keys: 64-bit keys (n,) of the texts asked about.
        linked: pairs of key arrays, equally long; each (a, b) links two texts.

    Returns:
        (n,) the smallest key of each text's component: a name that does not depend on order.
    """
    nodes, places = np.unique(np.concatenate([keys, *(side for pair in linked for side in pair)]), return_inverse=True)
    parent = list(range(len(nodes)))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    first = len(keys)
    for left, right in linked:
        middle, last = first + len(left), first + len(left) + len(right)
        for a, b in zip(places[first:middle].tolist(), places[middle:last].tolist(), strict=True):
            low, high = sorted((root(a), root(b)))
            parent[high] = low
        first = last
    return np.array([nodes[root(place)] for place in places[: len(keys)].tolist()], dtype=np.int64)


def _positions(keys: Ints, seed: int) -> npt.NDArray[np.float64]:
    """A number in [0, 1) for each key that depends on nothing but key and seed.

    Source: the finaliser of SplitMix64 (Steele, Lea and Flood, Fast splittable pseudorandom number generators, 2014).
    """
    bits = keys.astype(np.uint64) + np.uint64((seed + 1) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        bits = (bits ^ (bits >> np.uint64(shift))) * np.uint64(factor)
    bits ^= bits >> np.uint64(31)
    return (bits >> np.uint64(11)).astype(np.float64) / 2.0**53


def sides_by_component(component: Ints, validation: float, test: float, seed: int) -> npt.NDArray[np.int8]:
    """Side of each pair at random, the same for all pairs of a component and whatever else is in the corpus.

    A component with more than a tenth of all pairs (many files under one title, say) stays in training: held out it
    would leave too little to learn from, and too few independent queries to measure with.

    Args:
        component: name of each pair's component (n,).
        validation: share held out for validation.
        test: share held out for testing.
        seed: the recipe's seed.

    Returns:
        int8 (n,) of TRAIN, VALIDATION, TEST.
    """
    names, place, sizes = np.unique(component, return_inverse=True, return_counts=True)
    drawn = _positions(names, seed)
    side = np.where(drawn < test, TEST, np.where(drawn < test + validation, VALIDATION, TRAIN)).astype(np.int8)
    side[(sizes > _LARGEST_SHARE * len(component)) & (sizes > 1)] = TRAIN
    return side[place]


def sides_by_group(groups: Sequence[int], validation: float, test: float, seed: int) -> npt.NDArray[np.int8]:
    """Side of each pair so that whole groups stay together and the shares are met as nearly as whole groups allow.

    Groups are taken in a random order; one that would overfill a held-out side by more than it lacks goes on to the next.
    """
    names, sizes = np.unique(np.asarray(groups, dtype=np.int64), return_counts=True)
    order = np.argsort(_positions(names, seed), kind="stable")
    wanted = {TEST: test * len(groups), VALIDATION: validation * len(groups)}
    side_of: dict[int, int] = {}
    for i in order:
        side_of[int(names[i])] = TRAIN
        for side, room in wanted.items():
            if sizes[i] <= 1.2 * room:
                wanted[side] = room - sizes[i]
                side_of[int(names[i])] = side
                break
    return np.array([side_of[int(g)] for g in groups], dtype=np.int8)


def _shingles(text: str) -> list[int]:
    words = text.lower().split()
    if len(words) <= _SHINGLE_WORDS:
        return [zlib.crc32(" ".join(words).encode("utf-8", "surrogatepass"))]
    runs = (" ".join(words[i : i + _SHINGLE_WORDS]) for i in range(len(words) - _SHINGLE_WORDS + 1))
    hashes = [zlib.crc32(run.encode("utf-8", "surrogatepass")) for run in runs]
    return [h for h in hashes if h % _SKETCH_SHARE == 0] or [min(hashes)]


class NearDuplicates:
    """Remembers the word 5-grams of some texts (a fixed quarter of them) to tell whether another text is mostly made of them.

    Containment by shingling: Broder, On the resemblance and containment of documents, 1997.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._seen = np.unique(np.fromiter((h for text in texts for h in _shingles(text)), dtype=np.uint32))

    def __contains__(self, text: str) -> bool:
        if not len(self._seen):
            return False
        own = np.asarray(_shingles(text), dtype=np.uint32)
        place = np.minimum(np.searchsorted(self._seen, own), len(self._seen) - 1)
        return bool((self._seen[place] == own).mean() >= _NEAR_DUPLICATE)
