"""Random views of recordings, a batch at a time: parts of them, changed as rooms, microphones and mood change a sound."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nearfar.learn.views.acoustics import band_limited, coloured_noise, echoing, with_noise
from nearfar.learn.views.audio_draw import SoundDraws, draw_sound
from nearfar.recipe.audio import AudioViews

_STORED = 2**18  # samples of white noise, which views take their parts of: 16 s at 16 kHz
_STORE_SEED = 8193


class SoundViews:
    """Makes random views of recordings. What is random is drawn first, for the whole batch; what is drawn is applied to any part of it.

    The steps come in this order: which part, speed, echo, noise, band, gain; and what is hidden of the spectrogram.

    Args:
        settings: the rules.
        rate: samples a second.
        count: views of each recording.
        noise: (m,) float32, recorded noise to draw from; None where noise is made.

    Attributes:
        length: samples of a view.
        reach: samples of a recording that a view is made of; more than `length` where it may be played faster.
    """

    def __init__(
        self, settings: AudioViews, *, rate: int, count: int = 2, noise: npt.NDArray[np.float32] | None = None
    ) -> None:
        self.settings, self.rate, self.count = settings, rate, count
        self.length = round(settings.seconds * rate)
        self.reach = math.ceil(self.length * settings.speed[1]) + 1
        white = np.random.default_rng(_STORE_SEED).standard_normal(_STORED, dtype=np.float32)
        self._white = torch.from_numpy(white)
        self._recorded = None if noise is None else torch.from_numpy(noise)

    def draw(self, count: int, rng: np.random.Generator) -> SoundDraws:
        """Draw all that is random about the views of `count` recordings; on the CPU."""
        return draw_sound(self.settings, count, self.count, rng)

    def part(self, samples: npt.NDArray[np.int16], start: float) -> npt.NDArray[np.int16]:
        """The part of a recording (t,) that a view is made of, (reach,); of a shorter one all, repeated.

        Args:
            samples: the recording.
            start: from 0 to 1, how far into it; of no account where views start at the beginning.
        """
        if self.settings.start == "beginning":
            start = 0.0
        if len(samples) <= self.reach:
            return np.take(samples, np.arange(self.reach) + int(start * len(samples)), mode="wrap")
        first = int(start * (len(samples) - self.reach))
        return samples[first : first + self.reach]

    @torch.no_grad()
    def apply(self, parts: Tensor, draws: SoundDraws) -> tuple[Tensor, ...]:
        """Change the sound of each part by what was drawn for it.

        Args:
            parts: (n, V, reach) int16, or float in [-1, 1].
            draws: those of these n recordings, on the same device.

        Returns:
            V tensors (n, length) float32.
        """
        waves = parts.float() / 32768.0 if parts.dtype == torch.int16 else parts.float()
        with torch.autocast(parts.device.type, enabled=False):
            return tuple(self._one(waves[:, view], draws.of_view(view)) for view in range(parts.shape[1]))

    def hide(self, spectrum: Tensor, draws: SoundDraws) -> Tensor:
        """Put 0 where frames and bands are hidden.

        Args:
            spectrum: (n, bands, frames), of one view, its mean 0.
            draws: of this view.
        """
        if not self.settings.time_mask and not self.settings.frequency_mask:
            return spectrum
        return with_hidden(spectrum, time=draws.time, frequency=draws.frequency)

    def _one(self, waves: Tensor, draws: SoundDraws) -> Tensor:
        """A view (n, length) of each part (n, reach)."""
        waves = _at_speed(waves, draws.speed, self.length)
        rows = draws.reverb.nonzero().squeeze(1)
        if len(rows):
            tail = math.ceil(float(draws.reverb.max()) * self.rate)
            noise = _taken(self._white, draws.echo[rows], tail)
            waves[rows] = echoing(waves[rows], noise, draws.reverb[rows], draws.direct[rows], self.rate)
        rows = draws.snr.isfinite().nonzero().squeeze(1)
        if len(rows):
            if self._recorded is not None:
                noise = _taken(self._recorded, draws.noise[rows], self.length)
            else:
                noise = coloured_noise(_taken(self._white, draws.noise[rows], self.length), draws.colour[rows])
            waves[rows] = with_noise(waves[rows], noise, draws.snr[rows])
        rows = draws.low.nonzero().squeeze(1)
        if len(rows):
            waves[rows] = band_limited(waves[rows], draws.low[rows], draws.high[rows] * self.rate / 2, self.rate)
        return waves * draws.gain.unsqueeze(1)


def with_hidden(spectrum: Tensor, *, time: Tensor, frequency: Tensor) -> Tensor:
    """Put 0 where frames and bands are hidden.

    Args:
        spectrum: (n, bands, frames), its mean 0.
        time: (n, 2), first and last of the frames that are hidden, as shares of all; equal for none.
        frequency: (n, 2), likewise of the bands.
    """
    bands, frames = hidden_places(frequency, spectrum.shape[1]), hidden_places(time, spectrum.shape[2])
    return spectrum.masked_fill(bands.unsqueeze(2) | frames.unsqueeze(1), 0.0)


def _at_speed(waves: Tensor, speed: Tensor, length: int) -> Tensor:
    """The first `length` samples (n, length) of sounds (n, t) played faster or slower, between samples on a straight line."""
    if bool((speed == 1).all()):
        return waves[:, :length].clone()
    places = torch.arange(length, device=waves.device) * speed.unsqueeze(1)
    left = places.long().clamp(max=waves.shape[1] - 2)
    before, after = waves.gather(1, left), waves.gather(1, left + 1)
    return before + (after - before) * (places - left)


def _taken(store: Tensor, at: Tensor, length: int) -> Tensor:
    """Parts (n, length) of a store of noise, which goes on from its start where it ends."""
    first = (at * len(store)).long()
    places = (first.unsqueeze(1) + torch.arange(length, device=at.device)) % len(store)
    return store.to(at.device)[places]


def hidden_places(limits: Tensor, size: int) -> Tensor:
    """Which of `size` places lie within limits (n, 2) that are shares of all, (n, size)."""
    middle = (torch.arange(size, device=limits.device) + 0.5) / size
    return (middle >= limits[:, :1]) & (middle < limits[:, 1:])
