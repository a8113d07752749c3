"""One kind of synthetic fault, drawn for many windows at once: when, where, which way and how strong."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nearfar.recipe.series import FaultKind, Faults

_Floats = npt.NDArray[np.float32]
_Bools = npt.NDArray[np.bool_]

_SPIKE_HEIGHT = 3.0  # A single frame of the size of a shift would drown in healthy noise.
_SPIKE_SHARE = 0.1
_DROPOUT_SHARE = 0.5
_SLOWEST, _FASTEST = 1 / 32, 0.45  # Cycles a frame of an added sine; at 0.5 one of bad phase would be 0 everywhere.
_TOO_SMALL = 0.1
"""Spreads. A flatline or a swap that moves its channels less would be no fault, and is strengthened."""


class Channels(NamedTuple):
    """Which features belong together: `features` (c, most) padded with -1, `sizes` (c,), `of_feature` and `rank` (F,)."""

    features: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    of_feature: npt.NDArray[np.int64]
    rank: npt.NDArray[np.int64]

    @classmethod
    def of(cls, channel_of_feature: Sequence[int]) -> Channels:
        """From the channel of each feature, numbers from 0."""
        of_feature = np.asarray(channel_of_feature, np.int64)
        sizes = np.bincount(of_feature)
        features = np.full((len(sizes), int(sizes.max())), -1)
        rank = np.empty(len(of_feature), np.int64)
        for channel in range(len(sizes)):
            own = np.flatnonzero(of_feature == channel)
            features[channel, : len(own)] = own
            rank[own] = np.arange(len(own))
        return cls(features, sizes, of_feature, rank)

    @property
    def exchangeable(self) -> npt.NDArray[np.int64]:
        """Channels that another one can change places with: one with as many features."""
        return np.flatnonzero(np.bincount(self.sizes)[self.sizes] > 1)


@dataclass(frozen=True, slots=True)
class Plan:
    """One kind of fault, drawn for m windows: `inside` (m, T) is when, `chosen` (m, F) where, `signs` (m, F) which way."""

    kind: FaultKind
    windows: _Floats
    inside: _Bools
    strength: _Floats
    chosen: _Bools
    signs: _Floats
    source: npt.NDArray[np.int64]
    """(m, F): the feature that each takes its values from; its own, except in a swap."""

    @classmethod
    def drawn(
        cls,
        kind: FaultKind,
        windows: _Floats,
        inside: _Bools,
        strength: _Floats,
        faults: Faults,
        channels: Channels,
        rng: np.random.Generator,
    ) -> Plan:
        """Draw channels and directions for windows (m, T, F) that are faulty `inside` (m, T) with `strength` (m,)."""
        m, features, count = len(windows), len(channels.of_feature), len(channels.sizes)
        keys = rng.random((m, count), np.float32)
        missing = np.isnan(windows)
        if missing.any():
            # A channel that says nothing comes last: a fault of it would not be seen.
            silent = (missing | ~inside[:, :, None]).all(axis=1)
            said = ~silent @ (channels.of_feature[:, None] == np.arange(count))
            keys += np.float32(2) * ~said
        signs = np.where(rng.random((m, count)) < 0.5, np.float32(-1), np.float32(1))
        source = np.broadcast_to(np.arange(features), (m, features))
        if kind == "swap":
            first, second = _pairs(keys, channels)
            hit = np.zeros((m, count), np.bool_)
            hit[np.arange(m), first] = hit[np.arange(m), second] = True
            signs[np.arange(m), second] = -signs[np.arange(m), first]
            other = np.where(channels.of_feature == first[:, None], second[:, None], first[:, None])
            chosen = hit[:, channels.of_feature]
            # Of channels not chosen, `other` may have fewer features; what is looked up for them is not used.
            source = np.where(chosen, channels.features[other, channels.rank], source)
        else:
            least, most = faults.channels
            number = np.clip(np.round(rng.uniform(least, most, m) * count), 1, count)
            chosen = (keys.argsort(axis=1).argsort(axis=1) < number[:, None])[:, channels.of_feature]
        return cls(kind, windows, inside, strength, chosen, signs[:, channels.of_feature], source)

    def apply(self, rng: np.random.Generator) -> _Floats:
        """The windows (m, T, F) with the fault in them."""
        old = self.windows
        where = self.inside[:, :, None] & self.chosen[:, None, :]
        strength = self.strength[:, None, None]
        moved = strength * self.signs[:, None, :]
        match self.kind:
            case "shift":
                new = old + moved
            case "ramp":
                new = (
                    old + moved * (np.cumsum(self.inside, axis=1) / self.inside.sum(axis=1, keepdims=True))[:, :, None]
                )
            case "spike":
                new = np.where(self._some(_SPIKE_SHARE, where, rng), old + np.float32(_SPIKE_HEIGHT) * moved, old)
            case "variance":
                new = old + strength * rng.standard_normal(old.shape, np.float32)
            case "flatline":
                new = self._held(where) + np.where(self._still(where), moved, np.float32(0))
            case "dropout":
                level = np.min(old, axis=1, keepdims=True, initial=np.inf, where=~np.isnan(old)) - strength
                new = np.where(self._some(_DROPOUT_SHARE, where, rng), level, old)
            case "harmonic":
                new = old + strength * self._sine(rng)
            case "swap":
                new = np.take_along_axis(old, np.broadcast_to(self.source[:, None, :], old.shape), axis=2)
                new = np.where(np.isnan(new), old, new)
                apart = np.max(np.abs(new - old), axis=1, keepdims=True, initial=0, where=where & ~np.isnan(old))
                new = new + np.where(apart < _TOO_SMALL, moved, np.float32(0))
        return np.where(where & ~np.isnan(old), new, old).astype(np.float32, copy=False)

    def _some(self, share: float, where: _Bools, rng: np.random.Generator) -> _Bools:
        """Some frames of each window, (m, T, 1), among them the first in which a chosen channel says something."""
        some = rng.random(self.inside.shape, np.float32) < share
        seen = (where & ~np.isnan(self.windows)).any(axis=2)
        some[np.arange(len(some)), seen.argmax(axis=1)] = True
        return some[:, :, None]

    def _held(self, where: _Bools) -> _Floats:
        """The first value of each feature within the fault, (m, 1, F)."""
        first = (where & ~np.isnan(self.windows)).argmax(axis=1)
        return np.take_along_axis(self.windows, first[:, None, :], axis=1)

    def _still(self, where: _Bools) -> _Bools:
        """Which features hardly move within the fault, (m, 1, F)."""
        counted = where & ~np.isnan(self.windows)
        away = np.abs(self.windows - self._held(where))
        still: _Bools = np.max(away, axis=1, keepdims=True, initial=0, where=counted) < _TOO_SMALL
        return still

    def _sine(self, rng: np.random.Generator) -> _Floats:
        """A sine of amplitude 1 for each window, (m, T, 1)."""
        m, frames = self.inside.shape
        # At least half a period falls into the fault.
        slowest = np.maximum(_SLOWEST, np.minimum(_FASTEST, 0.5 / self.inside.sum(axis=1, keepdims=True)))
        cycles = np.exp(rng.uniform(np.log(slowest), math.log(_FASTEST)))
        phase = rng.uniform(0, 2 * np.pi, (m, 1))
        wave: _Floats = np.sin(2 * np.pi * cycles * np.arange(frames) + phase, dtype=np.float32)
        return wave[:, :, None]


def _pairs(keys: _Floats, channels: Channels) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Two channels to change places in each of m windows, those with the smallest keys (m, c)."""
    able = channels.exchangeable
    first = able[keys[:, able].argmin(axis=1)]
    partner = channels.sizes[first][:, None] == channels.sizes
    partner[np.arange(len(first)), first] = False
    return first, np.where(partner, keys, np.inf).argmin(axis=1)
