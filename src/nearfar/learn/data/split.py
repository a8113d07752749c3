"""What is held out: every pair goes to one side (train, validation, test), and no held-out text has a twin in training."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

TRAIN, VALIDATION, TEST, DROPPED = 0, 1, 2, 3

_SHINGLE_WORDS = 5
_SKETCH_SHARE = 4  # one shingle in four is remembered
_NEAR_DUPLICATE = 0.5


def connected(edges: Iterable[tuple[int, int]], count: int) -> npt.NDArray[np.int64]:
    """Component label (count,) of each of `count` nodes under `edges`; the label is the smallest node of the component."""
    parent = list(range(count))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for a, b in edges:
        low, high = sorted((root(a), root(b)))
        parent[high] = low
    return np.array([root(i) for i in range(count)], dtype=np.int64)


def _position(key: int, seed: int) -> float:
    """A number in [0, 1) that depends on nothing but key and seed."""
    return float(np.random.default_rng([seed, key & 0xFFFFFFFFFFFFFFFF]).random())


def sides_by_key(keys: Sequence[int], validation: float, test: float, seed: int) -> npt.NDArray[np.int8]:
    """Side of each key, at random but the same for equal keys whatever else is in the corpus.

    Args:
        keys: 64-bit keys (n,); a pair's component is identified by the key of its first text.
        validation: share held out for validation.
        test: share held out for testing.
        seed: the recipe's seed.

    Returns:
        int8 (n,) of TRAIN, VALIDATION, TEST.
    """
    known: dict[int, int] = {}
    for key in keys:
        if key not in known:
            u = _position(key, seed)
            known[key] = TEST if u < test else VALIDATION if u < test + validation else TRAIN
    return np.array([known[key] for key in keys], dtype=np.int8)


def sides_by_group(groups: Sequence[int], validation: float, test: float, seed: int) -> npt.NDArray[np.int8]:
    """Side of each pair so that whole groups stay together and the shares are met as nearly as whole groups allow.

    Groups are taken in a random order; one that would overfill a held-out side by more than it lacks goes on to the next.
    """
    names, sizes = np.unique(np.asarray(groups, dtype=np.int64), return_counts=True)
    order = np.argsort([_position(int(name), seed) for name in names], kind="stable")
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
        own = np.asarray(_shingles(text), dtype=np.uint32)
        return bool(np.isin(own, self._seen).mean() >= _NEAR_DUPLICATE)
