"""What rooms, microphones and the world do to a sound: pure functions of batches of waves."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_SLOPE = 8  # of a band's ends: a Butterworth filter of fourth order, 24 dB an octave
_SILENCE = 1e-10  # a power below which nothing is heard


def with_noise(waves: Tensor, noise: Tensor, snr: Tensor) -> Tensor:
    """Sounds (n, t) with noise (n, t) added.

    Args:
        waves: the sounds.
        noise: of any loudness.
        snr: (n,), ratio of the powers of sound and noise.
    """
    signal, disturbance = (part.square().mean(dim=1).clamp(min=_SILENCE) for part in (waves, noise))
    return waves + noise * (signal / (disturbance * snr)).sqrt().unsqueeze(1)


def coloured_noise(white: Tensor, colour: Tensor) -> Tensor:
    """White noise (n, t) filtered so that its power falls as f ** -colour, (n, t)."""
    spectrum = torch.fft.rfft(white)
    place = torch.arange(spectrum.shape[1], device=white.device).clamp(min=1).float()
    coloured: Tensor = torch.fft.irfft(spectrum * place ** (-colour.unsqueeze(1) / 2), n=white.shape[1])
    return coloured


def echoing(waves: Tensor, noise: Tensor, seconds: Tensor, direct: Tensor, rate: int) -> Tensor:
    """Sounds (n, t) in a room whose echo is noise that decays; what comes after their end is cut.

    Args:
        waves: the sounds.
        noise: (n, h), white.
        seconds: (n,), time in which the echo falls by 60 dB.
        direct: (n,), ratio of the energies of direct sound and echo.
        rate: samples a second.
    """
    time = torch.arange(noise.shape[1], device=noise.device) / (rate * seconds.unsqueeze(1))
    tail = noise * torch.exp(-3 * math.log(10) * time)
    tail = tail * (direct * tail.square().sum(dim=1)).rsqrt().unsqueeze(1)
    size = waves.shape[1] + noise.shape[1]
    echo = torch.fft.irfft(torch.fft.rfft(waves, n=size) * torch.fft.rfft(tail, n=size), n=size)
    heard: Tensor = waves + echo[:, : waves.shape[1]]
    return heard


def band_limited(waves: Tensor, low: Tensor, high: Tensor, rate: int) -> Tensor:
    """Sounds (n, t) without what lies below `low` and above `high`, each (n,) in Hz."""
    spectrum = torch.fft.rfft(waves)
    frequency = torch.fft.rfftfreq(waves.shape[1], 1 / rate).to(waves.device).clamp(min=1e-3)
    above = 1 + (low.unsqueeze(1) / frequency) ** _SLOPE
    below = 1 + (frequency / high.unsqueeze(1)) ** _SLOPE
    limited: Tensor = torch.fft.irfft(spectrum * (above * below).rsqrt(), n=waves.shape[1])
    return limited
