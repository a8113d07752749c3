"""Random views of windows of sensor data, a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from nearfar.learn.views.series_draw import SeriesDraws, draw_series
from nearfar.recipe.series import SeriesViews


class WindowViews:
    """Changes windows without making faults of them. What is random is drawn first, for the whole batch; what is drawn is applied
    to any part of it.

    The steps come in this order: time (crop, warp, permutation), frequencies, factors, noise, and what is hidden.

    Args:
        settings: the rules.
        channel_of_feature: the channel of each of the F features, from 0.
    """

    def __init__(self, settings: SeriesViews, channel_of_feature: Sequence[int]) -> None:
        self.settings = settings
        self.channel_of_feature = torch.tensor(channel_of_feature, dtype=torch.int64)
        self.channels = int(self.channel_of_feature.max()) + 1

    def draw(self, shape: tuple[int, int, int, int], rng: np.random.Generator) -> SeriesDraws:
        """Draw all that is random about (n, V, T, F), V views of n windows; on the CPU."""
        return draw_series(self.settings, shape, self.channels, rng)

    @torch.no_grad()
    def apply(self, windows: Tensor, present: Tensor, draws: SeriesDraws) -> tuple[Tensor, Tensor]:
        """Change each window by what was drawn for it.

        Args:
            windows: (n, V, T, F) float32, scaled, 0 where missing.
            present: (n, V, T, F) float32, 1 or 0.
            draws: those of these windows, on the same device.

        Returns:
            Both, changed; what is hidden is 0 in both.
        """
        of = self.channel_of_feature.to(windows.device)
        if draws.places is not None:
            windows, present = _resampled(windows, present, draws.places)
        if draws.removed is not None:
            spectrum = torch.fft.rfft(windows, dim=2).masked_fill(draws.removed.unsqueeze(3), 0)
            windows = torch.fft.irfft(spectrum, n=windows.shape[2], dim=2)
        if draws.factors is not None:
            windows = windows * draws.factors[:, :, None, of]
        if draws.noise is not None:
            windows = windows + draws.noise
        if draws.hidden is not None:
            present = present * ~draws.hidden.unsqueeze(3)
        if draws.silent is not None:
            present = present * ~draws.silent[:, :, None, of]
        return windows * present, present


def _resampled(windows: Tensor, present: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """The values (n, V, T, F) at fractional places (n, V, T), straight lines between frames; missing where the nearer frame is."""
    last = windows.shape[2] - 1
    left = places.floor().clamp(0, max(0, last - 1)).long()
    weight = (places - left).unsqueeze(3)
    right = (left + 1).clamp(max=last)
    values, known = [], []
    for at in (left, right):
        index = at.unsqueeze(3).expand_as(windows)
        values.append(windows.gather(2, index))
        known.append(present.gather(2, index))
    shares = ((1 - weight) * known[0], weight * known[1])
    total = shares[0] + shares[1]
    # Between a known and a missing frame the known one says it all.
    mixed = (shares[0] * values[0] + shares[1] * values[1]) / total.clamp(min=1e-6)
    seen = (total >= 0.5).to(present.dtype)
    return mixed * seen, seen
