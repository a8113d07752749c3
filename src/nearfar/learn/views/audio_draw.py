"""All that is random about views of recordings, drawn at once, on the CPU, for a whole batch."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nearfar.recipe.audio import AudioViews

Floats = npt.NDArray[np.float64]

_SLOTS = 18
"""Uniform numbers a view: every rule takes its own, drawn or not, so that no setting shifts what the others draw."""
_DIRECT = (0.0, 12.0)  # dB of the direct sound over its echo, from the middle of a room to near the microphone


class SoundDraws(NamedTuple):
    """The random parameters of V views of each of n recordings; float32 (n, V) but for the masks.

    Attributes:
        start: from 0 to 1, where in the recording a view begins.
        speed: of the view; 1 changes nothing.
        gain: a factor.
        snr: ratio of the powers of signal and noise; infinite for none.
        colour: of made noise, its power falls as f ** -colour: 0 is white, 2 is brown.
        noise: from 0 to 1, where in a store of noise the view's begins.
        reverb: seconds in which an echo falls by 60 dB; 0 for none.
        direct: ratio of the energies of the direct sound and its echo.
        echo: from 0 to 1, where in a store of noise the echo begins.
        low: in Hz, what lies below is taken away; 0 for none.
        high: as a share of half the rate, what lies above is; 1 for none.
        time: (n, V, 2), first and last of the frames that are hidden, as shares of all; equal for none.
        frequency: (n, V, 2), likewise of the bands.
    """

    start: Tensor
    speed: Tensor
    gain: Tensor
    snr: Tensor
    colour: Tensor
    noise: Tensor
    reverb: Tensor
    direct: Tensor
    echo: Tensor
    low: Tensor
    high: Tensor
    time: Tensor
    frequency: Tensor

    def rows(self, index: slice | Tensor) -> SoundDraws:
        """Those of some of the recordings."""
        return SoundDraws(*(field[index] for field in self))

    def of_view(self, view: int) -> SoundDraws:
        """Those of one view: fields without their second dimension."""
        return SoundDraws(*(field[:, view] for field in self))

    def to(self, device: torch.device | str) -> SoundDraws:
        """The same on another device."""
        return SoundDraws(*(field.to(device, non_blocking=True) for field in self))


def draw_sound(settings: AudioViews, count: int, views: int, rng: np.random.Generator) -> SoundDraws:
    """Draw the parameters of some views of each of `count` recordings.

    What a recording gets depends on its row and the state of `rng` alone: the first m rows of a draw for n recordings are the draw
    for m.

    Args:
        settings: the rules.
        count: n, recordings.
        views: V, views of each.
        rng: the source; moves on by the same amount whatever the rules are.

    Returns:
        Draws on the CPU.
    """
    slots = iter(rng.random((count, views, _SLOTS)).transpose(2, 0, 1).copy())
    start = next(slots)
    speed = np.exp(_between(np.log(settings.speed), next(slots)))
    gain = _from_decibels(_between(settings.gain, next(slots))) ** 0.5

    noisy, snr, colour, noise_at = (next(slots) for _ in range(4))
    power = np.full_like(snr, np.inf)
    if settings.noise is not None:
        power = np.where(noisy < settings.noise.probability, _from_decibels(_between(settings.noise.snr, snr)), np.inf)

    echoes, seconds, direct, echo_at = (next(slots) for _ in range(4))
    reverb = np.zeros_like(seconds)
    if settings.reverb is not None:
        reverb = np.where(echoes < settings.reverb.probability, _between(settings.reverb.seconds, seconds), 0.0)

    narrowed, low_at, high_at = (next(slots) for _ in range(3))
    low, high = np.zeros_like(low_at), np.ones_like(high_at)
    if settings.band is not None:
        narrow = narrowed < settings.band.probability
        low = np.where(narrow, np.exp(_between(np.log(settings.band.low), low_at)), 0.0)
        high = np.where(narrow, _between(settings.band.high, high_at), 1.0)

    time = _piece(settings.time_mask, next(slots), next(slots))
    frequency = _piece(settings.frequency_mask, next(slots), next(slots))
    fields = (
        start, speed, gain, power, 2 * colour, noise_at, reverb, _from_decibels(_between(_DIRECT, direct)), echo_at, low, high,
        time, frequency,
    )  # fmt: skip
    return SoundDraws(*(torch.from_numpy(np.ascontiguousarray(field, dtype=np.float32)) for field in fields))


def _between(limits: tuple[float, ...] | Floats, at: Floats) -> Floats:
    return limits[0] + (limits[1] - limits[0]) * at


def _from_decibels(level: Floats) -> Floats:
    """The ratio of powers."""
    ratio: Floats = 10.0 ** (level / 10.0)
    return ratio


def _piece(largest: float, extent: Floats, place: Floats) -> Floats:
    """First and last of a piece of at most `largest` of the whole, as shares of it, (..., 2)."""
    width = largest * extent
    first = place * (1.0 - width)
    return np.stack([first, first + width], axis=-1)
