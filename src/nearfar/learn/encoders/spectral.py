"""Short-time spectra of each channel under a small CNN; the Fourier transform is a convolution with fixed weights in the graph."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nearfar.learn.encoders.series import SeriesEncoder
from nearfar.recipe.series import SpectralEncoder

_FLOOR = 1e-2  # of a power in squared spreads: below that it is noise, and its logarithm would be loud


class Spectral(SeriesEncoder):
    """Logarithms of the power of each frequency in overlapping segments, and a CNN over them.

    Args:
        settings: the recipe's encoder block.
        window: frames of a window, at least `settings.segment`.
        features: numbers of a frame.

    Attributes:
        basis: (2 B, 1, segment), cosines and sines of B frequencies under a Hann window; not trained.
    """

    basis: Tensor

    def __init__(self, settings: SpectralEncoder, *, window: int, features: int) -> None:
        width = settings.width
        super().__init__(window=window, features=features, dim=settings.dim, width=width, skip=settings.skip)
        self.hop = max(1, settings.segment // 2)
        self.register_buffer("basis", fourier_basis(settings.segment))
        bins = len(self.basis) // 2
        self.stem = nn.Conv1d(features * bins, width, 1)
        self.mix = nn.Conv1d(width, width, 3, padding=1)

    def summary(self, window: Tensor, present: Tensor) -> Tensor:
        """The mean over segments, (n, width)."""
        hidden = F.relu(self.stem(self.spectra(window)))
        hidden = hidden + F.relu(self.mix(hidden))
        return hidden.mean(dim=2)

    def spectra(self, window: Tensor) -> Tensor:
        """Logarithms of powers, (n, F B, segments), of windows (n, T, F); missing values count as the channel's centre."""
        n, frames, features = window.shape
        waves = F.conv1d(window.transpose(1, 2).reshape(-1, 1, frames), self.basis, stride=self.hop)
        real, imaginary = waves.chunk(2, dim=1)
        power = real.square() + imaginary.square()
        return torch.log(power + _FLOOR).reshape(n, features * power.shape[1], power.shape[2])


def fourier_basis(segment: int) -> Tensor:
    """Cosines, then sines, (2 B, 1, segment), of the B = segment // 2 + 1 frequencies of a segment, under a periodic Hann window.

    Scaled so that white noise of variance 1 has a mean power of 1 at every frequency but the first and the last.
    """
    time = torch.arange(segment, dtype=torch.float64)
    hann = 0.5 - 0.5 * torch.cos(2 * math.pi * time / segment)
    hann = hann / hann.square().sum().sqrt()
    angles = 2 * math.pi * torch.outer(torch.arange(segment // 2 + 1, dtype=torch.float64), time) / segment
    return torch.cat([angles.cos() * hann, angles.sin() * hann]).unsqueeze(1).float()
