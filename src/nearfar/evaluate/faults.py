"""Synthetic faults in scaled frames: what a detector learns to keep apart from normal, and what scorers are chosen by."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from nearfar.errors import DataError
from nearfar.evaluate.fault_plan import Channels, Plan
from nearfar.recipe.series import FaultKind, Faults

FAULT_KINDS: Final[tuple[FaultKind, ...]] = get_args(FaultKind)
"""All kinds; the numbers that `inject_windows` returns count in it."""

_Floats = npt.NDArray[np.float32]
_Bools = npt.NDArray[np.bool_]

_GRADUAL: Final = frozenset({"shift", "variance", "harmonic", "swap"})
"""Kinds that may also come slowly; a ramp always does, and the rest happen at once or not at all."""


class InjectedFault(NamedTuple):
    """One fault that was put into a stream.

    Attributes:
        start: its first frame.
        end: the frame after its last.
        kind: what happens.
        channels: numbers of the channels it changes, ascending.
        strength: its size in spreads of a healthy channel.
    """

    start: int
    end: int
    kind: FaultKind
    channels: tuple[int, ...]
    strength: float


def inject_windows(
    windows: _Floats, faults: Faults, rng: np.random.Generator, channel_of_feature: Sequence[int]
) -> tuple[_Floats, npt.NDArray[np.int8], _Bools]:
    """Give every window one fault, from some frame on to its end.

    - shift: the channels move by `strength` spreads, each up or down.
    - ramp: the same, reached only at the end.
    - spike: a tenth of the frames, at least one, stand out by three times `strength`.
    - variance: white noise of standard deviation `strength` is added.
    - flatline: the channels keep the value they have; where they are still anyway, they keep one `strength` away.
    - dropout: half of the frames, at least one, read a level `strength` below the lowest value of the window.
    - harmonic: a sine of amplitude `strength` and a period of about 2 to 32 frames is added.
    - swap: two channels with equally many features change places; two that hardly differ are moved apart besides.

    Every window is changed, unless all its values are missing. The features of a channel are changed together.

    Args:
        windows: (n, T, F), scaled so that 1 is the spread of a healthy feature, NaN where missing; not altered.
        faults: which kinds are drawn, how strong, on how many channels.
        rng: the same state gives the same faults.
        channel_of_feature: the channel of each feature, F numbers from 0.

    Returns:
        Windows with faults, float32 (n, T, F), NaN where the input has NaN; the kinds, int8 (n,), counted in `FAULT_KINDS`;
        and what has changed, bool (n, T, F).

    Raises:
        DataError: `swap` is the only kind, and no two channels can change places.
    """
    channels = Channels.of(channel_of_feature)
    drawn = _possible(faults, channels)
    windows = np.asarray(windows, np.float32)
    n, frames, _ = windows.shape
    kinds = rng.choice(np.array([FAULT_KINDS.index(kind) for kind in drawn], np.int8), n)
    lengths = rng.integers(min(frames, max(1, math.ceil(frames / 8))), frames, n, endpoint=True)
    inside = np.arange(frames) >= (frames - lengths)[:, None]
    strength = _strengths(faults, n, rng)
    changed = windows.copy()
    for number in np.unique(kinds):
        rows = np.flatnonzero(kinds == number)
        plan = Plan.drawn(FAULT_KINDS[number], windows[rows], inside[rows], strength[rows], faults, channels, rng)
        changed[rows] = plan.apply(rng)
    return changed, kinds, _differ(windows, changed)


def inject_stream(
    frames: _Floats,
    faults: Faults,
    rng: np.random.Generator,
    channel_of_feature: Sequence[int],
    *,
    lengths: tuple[int, int] = (30, 300),
    gaps: tuple[int, int] = (100, 600),
) -> tuple[_Floats, npt.NDArray[np.int8], tuple[InjectedFault, ...]]:
    """Put faults into a healthy stream, one after the other, with healthy frames between them.

    Kinds are as in `inject_windows`, each over an interval. They are taken in turns, so that a short stream has many kinds. A
    shift, added noise, a sine or a swap comes abruptly or, half of the time, grows over half of its interval.

    Args:
        frames: (k, F), scaled so that 1 is the spread of a healthy feature, NaN where missing; not altered.
        faults: which kinds, how strong, on how many channels.
        rng: the same state gives the same faults.
        channel_of_feature: the channel of each feature, F numbers from 0.
        lengths: fewest and most frames of a fault, drawn evenly on a logarithmic scale; shorter where the stream is short.
        gaps: fewest and most healthy frames before each fault, likewise.

    Returns:
        The stream with faults, float32 (k, F); labels, int8 (k,), 1 within a fault; and the faults in their order.

    Raises:
        DataError: there are too few frames for one fault, or `swap` is the only kind and no two channels can change places.
    """
    channels = Channels.of(channel_of_feature)
    drawn = _possible(faults, channels)
    frames = np.asarray(frames, np.float32)
    changed, labels, events = frames.copy(), np.zeros(len(frames), np.int8), list[InjectedFault]()
    for start, end in _intervals(len(frames), lengths, gaps, rng):
        turn = len(events) % len(drawn)
        if turn == 0:
            order = rng.permutation(len(drawn))
        kind, strength = drawn[order[turn]], _strengths(faults, 1, rng)
        healthy = frames[None, start:end]
        plan = Plan.drawn(kind, healthy, np.ones((1, end - start), np.bool_), strength, faults, channels, rng)
        faulty = plan.apply(rng)
        if kind in _GRADUAL and rng.random() < 0.5:
            fade = np.minimum(1.0, np.arange(1, end - start + 1) / max(1, (end - start) // 2)).astype(np.float32)
            faulty = healthy + fade[:, None] * (faulty - healthy)
        if not _differ(healthy, faulty).any():
            continue  # Nothing was measured there, so nothing can be wrong with it.
        changed[start:end] = faulty[0]
        labels[start:end] = 1
        hit = tuple(int(c) for c in np.unique(channels.of_feature[plan.chosen[0]]))
        events.append(InjectedFault(start, end, kind, hit, float(strength[0])))
    return changed, labels, tuple(events)


def _possible(faults: Faults, channels: Channels) -> tuple[FaultKind, ...]:
    """The kinds of `faults` that these channels can have."""
    kinds = tuple(kind for kind in faults.kinds if kind != "swap" or len(channels.exchangeable))
    if not kinds:
        raise DataError(
            "faults: kinds has only swap, but no two channels of this data have equally many features: add another kind, such as shift"
        )
    return kinds


def _strengths(faults: Faults, n: int, rng: np.random.Generator) -> _Floats:
    """Sizes (n,), evenly drawn on a logarithmic scale."""
    least, most = faults.strength
    return np.exp(rng.uniform(math.log(least), math.log(most), n)).astype(np.float32)


def _intervals(
    frames: int, lengths: tuple[int, int], gaps: tuple[int, int], rng: np.random.Generator
) -> list[tuple[int, int]]:
    """Where faults begin and end, in order; at least one."""
    if frames < 8:
        raise DataError(f"{frames} frames are too few to put a fault into: give at least 8 healthy frames")
    # In a short stream a fault takes at most a quarter, after as much healthy data.
    cap = max(2, frames // 4)
    found: list[tuple[int, int]] = []
    at = 0
    while True:
        start = at + min(cap, _log_uniform(gaps, rng))
        end = start + min(cap, _log_uniform(lengths, rng))
        if end > frames:
            return found
        found.append((start, end))
        at = end


def _log_uniform(bounds: tuple[int, int], rng: np.random.Generator) -> int:
    return round(math.exp(rng.uniform(math.log(bounds[0]), math.log(bounds[1]))))


def _differ(old: _Floats, new: _Floats) -> _Bools:
    """Where two arrays with the same missing values differ."""
    differ: _Bools = (old != new) & ~np.isnan(old)
    return differ
