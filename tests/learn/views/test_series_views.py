"""Views of windows: each change does what it says, and what is drawn for a batch may be applied to parts of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nearfar.learn.views.series import WindowViews
from nearfar.recipe.series import SeriesViews

NOTHING = {"jitter": 0.0, "scale": 0.0, "mask": 0.0, "channel_dropout": 0.0}
OF = (0, 1, 1, 2)  # the second channel is a fast one with two features
SHAPE = (5, 3, 32, 4)


def viewed(seed: int = 0, windows: torch.Tensor | None = None, **settings: object) -> tuple[torch.Tensor, torch.Tensor]:
    views = WindowViews(SeriesViews(**{**NOTHING, **settings}), OF)  # type: ignore[arg-type]
    windows = ramp() if windows is None else windows
    return views.apply(windows, torch.ones_like(windows), views.draw(SHAPE, np.random.default_rng(seed)))


def ramp() -> torch.Tensor:
    """Frames that say when they are."""
    return torch.arange(32, dtype=torch.float32).view(1, 1, 32, 1).expand(SHAPE).contiguous()


def noise() -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))


def test_without_rules_nothing_changes() -> None:
    windows, present = viewed()
    assert torch.equal(windows, ramp())
    assert bool((present == 1).all())


def test_jitter_and_scale_have_their_sizes() -> None:
    windows, _ = viewed(windows=torch.zeros(SHAPE), jitter=0.5)
    assert windows.std().item() == pytest.approx(0.5, rel=0.1)
    factors, _ = viewed(windows=torch.ones(SHAPE), scale=0.2)
    assert torch.equal(factors, factors[:, :, :1].expand(SHAPE)), "one factor for all frames"
    assert torch.equal(factors[..., 1], factors[..., 2]), "and for all features of a channel"
    assert 0.1 < factors.std().item() < 0.3


def test_a_crop_is_stretched_to_the_window() -> None:
    windows, _ = viewed(crop=(0.5, 0.5))
    steps = windows.diff(dim=2)
    torch.testing.assert_close(steps, torch.full_like(steps, 0.5), atol=1e-4, rtol=0)
    assert len(windows[:, :, 0, 0].unique()) > 5, "at places of their own"
    assert windows.min() >= 0
    assert windows.max() <= 31


def test_a_warp_runs_unevenly_but_never_backwards() -> None:
    windows, _ = viewed(time_warp=0.1)
    steps = windows.diff(dim=2)
    assert steps.min() >= -1e-4
    assert steps.std() > 0.1
    torch.testing.assert_close(windows[:, :, 0], torch.zeros(5, 3, 4))
    torch.testing.assert_close(windows[:, :, -1], torch.full((5, 3, 4), 31.0))


def test_pieces_change_places_and_nothing_is_lost() -> None:
    windows, _ = viewed(permutation=4)
    torch.testing.assert_close(windows.sort(dim=2).values, ramp())
    jumps = (windows.diff(dim=2)[..., 0] != 1).sum(dim=2)
    assert jumps.max() <= 3
    assert jumps.min() < jumps.max(), "each view draws its own order"


def test_masked_frames_are_missing() -> None:
    windows, present = viewed(mask=0.3)
    assert 0.6 < present.mean().item() < 0.8
    assert torch.equal(present, present[..., :1].expand(SHAPE)), "whole frames"
    assert bool((windows[present == 0] == 0).all())


def test_dropped_channels_are_missing_but_never_all() -> None:
    windows, present = viewed(channel_dropout=0.5)
    whole = present[:, :, 0]
    assert torch.equal(present, whole.unsqueeze(2).expand(SHAPE))
    assert torch.equal(whole[..., 1], whole[..., 2])
    assert bool((whole.sum(dim=2) > 0).all())
    assert 0.4 < whole.mean().item() < 0.8
    assert bool((windows[present == 0] == 0).all())


def test_frequencies_are_removed_but_not_the_mean() -> None:
    before = noise()
    windows, _ = viewed(windows=before, frequency_mask=0.5)
    torch.testing.assert_close(windows.mean(dim=2), before.mean(dim=2), atol=1e-5, rtol=0)
    assert windows.var() < 0.8 * before.var()


def test_between_a_known_and_a_missing_frame_the_known_one_counts() -> None:
    views = WindowViews(SeriesViews(**{**NOTHING, "crop": (0.7, 0.7)}), OF)  # type: ignore[arg-type]
    present = (torch.arange(32) % 2).float().view(1, 1, 32, 1).expand(SHAPE).contiguous()
    windows = 5 * present
    found, there = views.apply(windows, present, views.draw(SHAPE, np.random.default_rng(0)))
    torch.testing.assert_close(found[there == 1], torch.full_like(found[there == 1], 5.0))
    assert bool((found[there == 0] == 0).all())
    assert 0.3 < there.mean().item() < 0.7


def test_draws_belong_to_rows_and_seeds() -> None:
    rules = SeriesViews(crop=(0.5, 1.0), time_warp=0.05, permutation=2, frequency_mask=0.1)
    views, windows = WindowViews(rules, OF), noise()
    draws = views.draw(SHAPE, np.random.default_rng(3))
    whole = views.apply(windows, torch.ones_like(windows), draws)
    part = views.apply(windows[1::2], torch.ones_like(windows[1::2]), draws.rows(slice(1, None, 2)))
    for one, other in zip(whole, part, strict=True):
        assert torch.equal(one[1::2], other)
    again = views.apply(windows, torch.ones_like(windows), views.draw(SHAPE, np.random.default_rng(3)))
    assert torch.equal(whole[0], again[0])
    assert not torch.equal(
        whole[0], views.apply(windows, torch.ones_like(windows), views.draw(SHAPE, np.random.default_rng(4)))[0]
    )
