"""A small ECAPA-TDNN: Desplanques, Thienpondt and Demuynck (arXiv:2005.07143)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nearfar.frontend.settings import AudioSettings
from nearfar.learn.encoders.audio import AudioEncoder, mean_and_deviation
from nearfar.recipe.audio import EcapaEncoder

_GROUPS = (
    4  # of Res2Net; the paper has 8 of 512 channels, and narrower ones than these cost more time than they save work
)
_DILATIONS = (2, 3, 4)
_JOINED = 2  # times the width, of what is pooled; the paper has 3, where a quarter of all weights would be


class Ecapa(AudioEncoder):
    """Three dilated residual blocks with squeeze and excitation, all of whose outputs are pooled with attention over time.

    The norm stands before the activation, where the paper has it after: so it is part of the convolution in what ships.

    Args:
        settings: the recipe's encoder block.
        audio: how samples become a spectrogram.
    """

    def __init__(self, settings: EcapaEncoder, audio: AudioSettings) -> None:
        super().__init__(audio)
        width, joined = settings.width, _JOINED * settings.width
        self.dim = settings.dim
        self.stem = _conv(self.bands, width, 5)
        self.blocks = nn.ModuleList(_Block(width, dilation) for dilation in _DILATIONS)
        self.join = _conv(len(_DILATIONS) * width, joined, 1)
        self.pool = _AttentivePool(joined, max(16, width // 2))
        self.norm = nn.BatchNorm1d(2 * joined)
        self.out = nn.Linear(2 * joined, settings.dim)

    def embedded(self, spectrum: Tensor) -> Tensor:
        """One vector (n, dim) of each spectrum (n, bands, frames)."""
        hidden, levels = self.stem(spectrum), []
        for block in self.blocks:
            hidden = block(hidden)
            levels.append(hidden)
        pooled: Tensor = self.out(self.norm(self.pool(self.join(torch.cat(levels, dim=1))).squeeze(2)))
        return pooled


class _Block(nn.Module):
    """SE-Res2Block, fig. 2."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.part = width // _GROUPS
        self.before, self.after = _conv(width, width, 1), _conv(width, width, 1)
        self.parts = nn.ModuleList(_conv(self.part, self.part, 3, dilation) for _ in range(_GROUPS - 1))
        squeezed = max(8, width // 4)
        self.gate = nn.Sequential(nn.Conv1d(width, squeezed, 1), nn.ReLU(), nn.Conv1d(squeezed, width, 1), nn.Sigmoid())

    def forward(self, hidden: Tensor) -> Tensor:
        first, *others = self.before(hidden).split(self.part, dim=1)
        made = [first]
        for number, (layer, part) in enumerate(zip(self.parts, others, strict=True)):
            made.append(layer(part + made[-1] if number else part))
        wide = self.after(torch.cat(made, dim=1))
        gated: Tensor = wide * self.gate(wide.mean(dim=2, keepdim=True))
        return gated + hidden


class _AttentivePool(nn.Module):
    """Mean and deviation over time, weighted for each channel by attention that sees those of the whole recording, sec. 3.1."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.local = nn.Conv1d(channels, squeezed, 1)
        self.whole = nn.Conv1d(2 * channels, squeezed, 1, bias=False)
        self.score = nn.Conv1d(squeezed, channels, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        """(n, 2 c, 1) of (n, c, t)."""
        # One matrix of the paper in two parts: what it makes of the whole recording is the same at all times.
        seen = torch.tanh(self.local(hidden) + self.whole(mean_and_deviation(hidden)))
        return mean_and_deviation(hidden, torch.softmax(self.score(seen), dim=2))


def _conv(before: int, after: int, kernel: int, dilation: int = 1) -> nn.Sequential:
    padding = dilation * (kernel // 2)
    layer = nn.Conv1d(before, after, kernel, padding=padding, dilation=dilation, bias=False)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return nn.Sequential(layer, nn.BatchNorm1d(after), nn.ReLU(inplace=True))
