"""What every encoder of sound is: samples in, one feature vector each out, by way of a log-mel spectrogram."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from nearfar.frontend.settings import AudioSettings
from nearfar.learn.encoders.log_mel import LogMel
from nearfar.learn.encoders.view_encoder import ViewEncoder


class AudioEncoder(ViewEncoder):
    """An encoder of recordings of any length.

    It takes samples, or their normalised `spectrum`: views are made of that, so that what they hide is hidden from every encoder
    that looks at them, and the spectrogram is computed once.

    Args:
        settings: how samples become a spectrogram.

    Attributes:
        mean: (bands, 1), of each band over the training recordings.
        std: (bands, 1), likewise.
    """

    def __init__(self, settings: AudioSettings) -> None:
        super().__init__()
        self.bands = settings.bands
        self.log_mel = LogMel(settings)
        self.register_buffer("mean", torch.zeros(settings.bands, 1))
        self.register_buffer("std", torch.full((settings.bands, 1), 2.0))

    def normalise_by(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Set the mean and the standard deviation of each band over the training recordings."""
        self.mean.copy_(torch.tensor(mean).view(-1, 1))
        self.std.copy_(torch.tensor(std).clamp(min=1e-3).view(-1, 1))

    def spectrum(self, pcm: Tensor) -> Tensor:
        """Bands of mean 0 and standard deviation 1, (n, bands, frames), of samples (n, t) in [-1, 1]."""
        normal: Tensor = (self.log_mel(pcm) - self.mean) / self.std
        return normal

    @abstractmethod
    def embedded(self, spectrum: Tensor) -> Tensor:
        """One vector (n, dim) of each spectrum (n, bands, frames)."""

    def forward(self, views: Tensor) -> Tensor:
        """Embed samples (n, t) in [-1, 1], or what `spectrum` made of them; returns (n, dim)."""
        return self.embedded(self.spectrum(views) if views.ndim == 2 else views)


def mean_and_deviation(maps: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean and standard deviation over time, (n, 2 c, 1), of features (n, c, t).

    Args:
        maps: the features.
        weights: (n, c, t), how much each moment counts; sums of 1 over time. None for all alike.
    """
    if weights is None:
        mean, square = maps.mean(dim=2, keepdim=True), maps.square().mean(dim=2, keepdim=True)
    else:
        mean, square = (maps * weights).sum(dim=2, keepdim=True), (maps.square() * weights).sum(dim=2, keepdim=True)
    # Below the root rounding may leave a number below 0, and at 0 the root has no slope.
    return torch.cat([mean, (square - mean.square()).clamp(min=1e-5).sqrt()], dim=1)
