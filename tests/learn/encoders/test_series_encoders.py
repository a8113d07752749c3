"""Encoders of windows: what they see, what they must not, and that missing values say nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nearfar.learn.encoders.build_series import build_series_encoder
from nearfar.learn.encoders.dilated_cnn import CausalConv, DilatedCnn
from nearfar.learn.encoders.series import SeriesEncoder, squashed
from nearfar.learn.encoders.spectral import Spectral, fourier_basis
from nearfar.recipe.series import DilatedCnnEncoder, PatchTransformerEncoder, SeriesEncoderSettings, SpectralEncoder

KINDS: dict[str, SeriesEncoderSettings] = {
    "dilated_cnn": DilatedCnnEncoder(kind="dilated_cnn", width=8, layers=3, dim=12),
    "patch_transformer": PatchTransformerEncoder(kind="patch_transformer", patch=4, width=16, heads=2, dim=12),
    "spectral": SpectralEncoder(kind="spectral", segment=8, width=8, dim=12),
}


def encoder_of(kind: str, features: int = 5, **changes: object) -> SeriesEncoder:
    torch.manual_seed(0)
    return build_series_encoder(KINDS[kind].model_copy(update=changes), window=32, features=features).eval()


def windows(n: int = 6, features: int = 5) -> torch.Tensor:
    return torch.randn(n, 32, features, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_windows_do_not_depend_on_each_other_and_may_have_any_length(kind: str) -> None:
    encoder, some = encoder_of(kind), windows()
    there = torch.ones_like(some)
    together = encoder(some, there)
    assert together.shape == (6, 12)
    torch.testing.assert_close(together[2:3], encoder(some[2:3], there[2:3]))
    assert together.norm(dim=1).std() > 0.01, "not of unit length"


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_fresh_encoder_sees_every_channel_by_its_mean(kind: str) -> None:
    encoder = encoder_of(kind)
    some = windows()
    there = torch.ones_like(some)
    before = encoder(some, there)
    for feature in range(5):
        moved = some.clone()
        moved[:, :, feature] += 20  # far out, where what is squashed has long lost count
        assert (encoder(moved, there) - before)[:, feature].mean().item() == pytest.approx(20, abs=2)
    assert encoder_of(kind, skip=False).skip is None


def test_the_skip_of_many_channels_keeps_lengths() -> None:
    skip = encoder_of("dilated_cnn", features=20).skip
    assert skip is not None
    torch.testing.assert_close(skip.weight @ skip.weight.T, torch.eye(12), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_what_is_missing_leaves_the_mean_alone(kind: str) -> None:
    encoder = encoder_of(kind)
    assert encoder.skip is not None
    level = torch.full((1, 32, 5), 3.0)
    there = torch.ones_like(level)
    there[:, ::2, 0] = 0
    mean = (level * there).sum(1) / there.sum(1)
    torch.testing.assert_close(mean, torch.full((1, 5), 3.0))
    nothing = encoder(torch.zeros(1, 32, 5), torch.zeros(1, 32, 5))
    assert bool(torch.isfinite(nothing).all())


def test_squashed_values_stay_in_bounds_and_small_ones_as_they_are() -> None:
    values = torch.tensor([-1e6, -30.0, 0.0, 0.01, 30.0, 1e6])
    found = squashed(values)
    assert found.abs().max() < 4.001
    assert found[3].item() == pytest.approx(0.01, rel=0.01)
    assert bool((found.diff() > 0).all())


def test_convolutions_do_not_look_ahead() -> None:
    convolution = CausalConv(3, 3, dilation=4)
    some = torch.randn(1, 3, 20)
    later = some.clone()
    later[:, :, 12:] += 1
    before, after = convolution(some), convolution(later)
    torch.testing.assert_close(before[:, :, :12], after[:, :, :12])
    assert not torch.allclose(before[:, :, 12:], after[:, :, 12:])


def test_the_last_frame_sees_as_far_back_as_the_window() -> None:
    encoder = build_series_encoder(DilatedCnnEncoder(kind="dilated_cnn"), window=61, features=2)
    assert isinstance(encoder, DilatedCnn)
    some = torch.randn(1, 61, 2, requires_grad=True)
    encoder.summary(some, torch.ones_like(some))[0, :32].sum().backward()
    assert some.grad is not None
    assert bool((some.grad.abs().sum(dim=2)[0] > 0).all())


def test_spectra_are_those_of_numpy() -> None:
    wave = np.random.default_rng(0).standard_normal(8)
    periodic = np.hanning(9)[:-1]
    expected = np.fft.rfft(wave * periodic / np.sqrt((periodic**2).sum()))
    basis = fourier_basis(8)[:, 0].numpy()
    found = basis @ wave
    np.testing.assert_allclose(found[:5], expected.real, atol=1e-5)
    np.testing.assert_allclose(-found[5:], expected.imag, atol=1e-5)


def test_spectra_tell_rhythms_apart_that_have_equal_means() -> None:
    encoder = encoder_of("spectral", features=1)
    assert isinstance(encoder, Spectral)
    time = torch.arange(32, dtype=torch.float32)
    slow, fast = (torch.sin(2 * torch.pi * time * cycles / 8).view(1, 32, 1) for cycles in (1, 3))
    assert encoder.spectra(slow).mean(dim=2).argmax() == 1
    assert encoder.spectra(fast).mean(dim=2).argmax() == 3
    assert "basis" not in dict(encoder.named_parameters()), "it is not trained"
