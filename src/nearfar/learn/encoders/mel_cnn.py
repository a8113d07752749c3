"""A residual network over time and frequency, with mean and deviation over time at its end."""

from __future__ import annotations

from torch import Tensor, nn

from nearfar.frontend.settings import AudioSettings
from nearfar.learn.encoders.audio import AudioEncoder, mean_and_deviation
from nearfar.learn.encoders.convolution import conv_norm
from nearfar.recipe.audio import MelCnnEncoder

_HALVED = 8  # frequencies at the end, and moments


class MelCnn(AudioEncoder):
    """A stem and three residual blocks, each of which but the first halves time and frequency and doubles the channels.

    Frequencies stay apart to the end: a sound is not the same an octave higher.

    Args:
        settings: the recipe's encoder block.
        audio: how samples become a spectrogram.
    """

    def __init__(self, settings: MelCnnEncoder, audio: AudioSettings) -> None:
        super().__init__(audio)
        width = settings.width
        self.dim = settings.dim
        self.layers = nn.Sequential(
            conv_norm(1, width, stride=2, norm="batch"),
            _Block(width, width),
            _Block(width, 2 * width, stride=2),
            _Block(2 * width, 4 * width, stride=2),
        )
        channels = 4 * width * -(-self.bands // _HALVED)
        self.norm = nn.BatchNorm1d(2 * channels)
        self.out = nn.Linear(2 * channels, settings.dim)

    def embedded(self, spectrum: Tensor) -> Tensor:
        """One vector (n, dim) of each spectrum (n, bands, frames)."""
        maps = self.layers(spectrum.unsqueeze(1)).flatten(1, 2)
        vectors: Tensor = self.out(self.norm(mean_and_deviation(maps).squeeze(2)))
        return vectors


class _Block(nn.Module):
    def __init__(self, before: int, after: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv_norm(before, after, stride=stride, norm="batch"),
            conv_norm(after, after, norm="batch", activation=None),
        )
        same = stride == 1 and before == after
        self.short = (
            nn.Identity() if same else conv_norm(before, after, kernel=1, stride=stride, norm="batch", activation=None)
        )
        self.activation = nn.ReLU(inplace=True)

    def forward(self, maps: Tensor) -> Tensor:
        joined: Tensor = self.activation(self.body(maps) + self.short(maps))
        return joined
