"""What a device ranks by: the latest actions of its user, and one decaying vector of all of them."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from nearfar.errors import StoreError

Floats = npt.NDArray[np.float32]

PROFILE_VERSION: Final = 1
"""Of the bytes, and of how actions are folded: a profile of another one is folded anew."""
_HEADER: Final = struct.Struct("<BHHHQf")  # version, length, dim, actions held, actions ever, decay


@dataclass(frozen=True, eq=False)
class Profile:
    """The latest actions, oldest first, and the long-term vector; immutable.

    It is always the fold of all actions, one by one, in the order of their times. Folding the same actions gives the same bytes on one
    machine, whichever profiles came between.

    Attributes:
        length: most actions that are held.
        decay: what the long-term vector is multiplied by at each action.
        items: int64 (l,), numbers in the catalogue.
        times: float64 (l,), seconds since 1970.
        weights: float32 (l,), above 0.
        long_term: float32 (d,), sum of weight x vector over all actions, each times `decay` to the power of how many came after it.
        actions: how many were folded in all.
    """

    length: int
    decay: float
    items: npt.NDArray[np.int64]
    times: npt.NDArray[np.float64]
    weights: Floats
    long_term: Floats
    actions: int = 0

    @classmethod
    def empty(cls, length: int, dim: int, half_life: float) -> Self:
        """The profile of a new user.

        Args:
            length: most actions that are held, 1 or more.
            dim: components of the vectors of the items.
            half_life: actions after which one counts half in the long-term vector.
        """
        decay = float(
            np.float32(0.5 ** (1 / half_life))
        )  # as it is stored, or a profile that was read would fold otherwise
        none = np.empty(0)
        return cls(length, decay, none.astype(np.int64), none, none.astype(np.float32), np.zeros(dim, dtype=np.float32))

    def after(self, number: int, time: float, weight: float, vector: Floats) -> Self:
        """The profile after one more action; this one stays what it is.

        Args:
            number: of the item in the catalogue.
            time: seconds since 1970, not before the latest action.
            weight: above 0.
            vector: of the item, float32 (d,): `Catalogue.vectors`.
        """
        kept = slice(max(0, len(self.items) + 1 - self.length), None)
        return type(self)(
            self.length,
            self.decay,
            np.append(self.items, np.int64(number))[kept],
            np.append(self.times, np.float64(time))[kept],
            np.append(self.weights, np.float32(weight))[kept],
            self.long_term * np.float32(self.decay) + np.float32(weight) * vector,
            self.actions + 1,
        )

    def without(self, place: int) -> Self:
        """The latest actions less one of them, to see what it did; the long-term vector stays.

        Args:
            place: 0 to l - 1, 0 the oldest.
        """
        kept = np.arange(len(self)) != place
        parts = (self.items[kept], self.times[kept], self.weights[kept])
        return type(self)(self.length, self.decay, *parts, self.long_term, self.actions)

    def __len__(self) -> int:
        """How many actions are held."""
        return len(self.items)

    def __eq__(self, other: object) -> bool:
        """Whether all bits are the same."""
        return isinstance(other, Profile) and self.to_bytes() == other.to_bytes()

    def __hash__(self) -> int:
        return hash(self.to_bytes())

    def to_bytes(self) -> bytes:
        """All of it in few bytes: 19 + 16 an action + 4 a component (3,475 for 200 actions and 64 components)."""
        head = _HEADER.pack(PROFILE_VERSION, self.length, len(self.long_term), len(self), self.actions, self.decay)
        parts = (("<i4", self.items), ("<f8", self.times), ("<f4", self.weights), ("<f4", self.long_term))
        return head + b"".join(part.astype(dtype).tobytes() for dtype, part in parts)

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Undo `to_bytes`.

        Raises:
            StoreError: these are no such bytes.
        """
        try:
            version, length, dim, held, actions, decay = _HEADER.unpack_from(content)
        except struct.error as error:
            raise StoreError(
                f"a profile of {len(content)} bytes is cut off: build it again from the history"
            ) from error
        if version != PROFILE_VERSION or len(content) != _HEADER.size + 16 * held + 4 * dim:
            raise StoreError("the profile is damaged or of a newer nearfar: build it again from the history")
        ends = np.cumsum([_HEADER.size, 4 * held, 8 * held, 4 * held, 4 * dim])
        items, times, weights, long_term = (content[begin:end] for begin, end in pairwise(ends))
        return cls(
            length,
            decay,
            np.frombuffer(items, dtype="<i4").astype(np.int64),
            np.frombuffer(times, dtype="<f8").astype(np.float64),
            np.frombuffer(weights, dtype="<f4").astype(np.float32),
            np.frombuffer(long_term, dtype="<f4").astype(np.float32),
            actions,
        )


def private_vectors(vectors: Floats, *, clip: float = 1.0, noise: float = 0.0, seed: int | None = None) -> Floats:
    """Long-term vectors as an app may hand them out: clipped to a length, then with Gaussian noise.

    nearfar sends them nowhere. An app that must (to ask a server for candidates, say) bounds by `clip` how far one user can move the
    vector, and hides by `noise` what moved it. Against a change of the whole history this is the Gaussian mechanism with sensitivity
    2 x clip (Dwork and Roth, The Algorithmic Foundations of Differential Privacy, theorem A.1): epsilon = 2 sqrt(2 ln(1.25 / delta)) /
    noise for one vector, where that is at most 1. For k vectors of one user that are handed out it is k times as much at most (about
    sqrt(k) times, ibid., theorem 3.20): whoever has them takes their mean, and sees through the noise. So hand one out seldom, and keep
    it. Without `noise` a vector is shortened and not hidden at all.

    Args:
        vectors: float32 (..., d).
        clip: longest that a vector may be; longer ones are shortened.
        noise: standard deviation of what is added to each component, as a share of `clip`.
        seed: of the noise, to measure with; never where a vector leaves the device: with two of one seed the noise is taken away. None
            for noise that nobody can make again.

    Returns:
        float32 (..., d).
    """
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    clipped = vectors * np.minimum(1.0, clip / np.maximum(lengths, np.finfo(np.float32).tiny))
    if noise:  # numpy takes the seed from the system where there is none
        clipped = clipped + np.random.default_rng(seed).normal(0.0, noise * clip, vectors.shape)
    private: Floats = clipped.astype(np.float32)
    return private
