"""The log-mel spectrogram as convolutions, so that it lies in the graph: samples in, bands out, real operations only."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nearfar.frontend.log_mel import hann, mel_matrix
from nearfar.frontend.settings import AudioSettings


class LogMel(nn.Module):
    """What `frontend.log_mel.log_mel` computes, in torch; nothing of it is trained, and nothing of it is in a checkpoint.

    Args:
        settings: of the frontend.

    Attributes:
        basis: (2 B, 1, frame), cosines and then sines of the B = frame // 2 + 1 frequencies under the window.
        mel: (bands, B, 1).
    """

    basis: Tensor
    mel: Tensor

    def __init__(self, settings: AudioSettings) -> None:
        super().__init__()
        self.hop, self.floor, self.centre = settings.hop, settings.floor, settings.centre
        self.register_buffer("basis", fourier_basis(settings.frame), persistent=False)
        self.register_buffer("mel", torch.from_numpy(mel_matrix(settings)).unsqueeze(2), persistent=False)

    def forward(self, pcm: Tensor) -> Tensor:
        """Log-mel bands (n, bands, frames) of samples (n, t)."""
        with torch.autocast(pcm.device.type, enabled=False):
            real, imaginary = F.conv1d(pcm.float().unsqueeze(1), self.basis, stride=self.hop).chunk(2, dim=1)
            bands = torch.log(F.conv1d(real.square() + imaginary.square(), self.mel) + self.floor)
            return bands - bands.mean(dim=2, keepdim=True) if self.centre else bands


def fourier_basis(frame: int) -> Tensor:
    """Cosines, then sines, (2 B, 1, frame), of B = frame // 2 + 1 frequencies under a periodic Hann window.

    Each is looked up in one period, as the graph that ships does it: the numbers are the same to the last bit.
    """
    places = np.outer(np.arange(frame // 2 + 1), np.arange(frame)) % frame
    window = hann(frame).astype(np.float32)
    waves = [one_period[places] * window for one_period in one_period_of(frame)]
    return torch.from_numpy(np.concatenate(waves)).unsqueeze(1)


def one_period_of(frame: int) -> tuple[np.ndarray[tuple[int], np.dtype[np.float32]], ...]:
    """Cosine and sine of one period in `frame` steps, each (frame,) float32."""
    angles = 2 * np.pi * np.arange(frame) / frame
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
