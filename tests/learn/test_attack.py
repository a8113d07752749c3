import numpy as np
import torch
import torch.nn.functional as F

from nearfar.learn.attack import pgd


def trained() -> tuple[torch.nn.Sequential, torch.Tensor, torch.Tensor]:
    """A tiny encoder that tells six noisy patterns apart, with a sample and a template direction of each."""
    torch.manual_seed(0)
    patterns = torch.rand(6, 1, 8, 8)
    encoder = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 16))
    parameters = list(encoder.parameters())
    labels = torch.arange(6).repeat(8)
    for _ in range(80):
        views = (patterns[labels] + 0.1 * torch.randn(48, 1, 8, 8)).clamp(0, 1)
        vectors = F.normalize(encoder(views), dim=1)
        logits = vectors @ F.normalize(encoder(patterns), dim=1).T / 0.1
        loss = F.cross_entropy(logits, labels)
        # By hand: an optimiser of torch takes seconds to import what it needs.
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.data -= 0.05 * gradient
    for parameter in parameters:
        parameter.requires_grad_(False)
    return encoder, patterns, F.normalize(encoder(patterns), dim=1)


def cosines(encoder: torch.nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (F.normalize(encoder(inputs), dim=1) * targets).sum(dim=1)


def test_impersonation_comes_nearer_than_noise_of_the_same_size() -> None:
    encoder, samples, directions = trained()
    victims = directions.roll(1, dims=0)
    found = pgd(encoder, samples, victims, goal="impersonate", eps=0.1)
    noisy = (samples + 0.1 * torch.sign(torch.randn(samples.shape))).clamp(0, 1)
    plain, by_noise, by_gradient = (cosines(encoder, inputs, victims) for inputs in (samples, noisy, found))
    assert (by_gradient > by_noise).all()
    assert (by_gradient - plain).mean() > 4 * (by_noise - plain).abs().mean()


def test_evasion_goes_further_than_noise_of_the_same_size() -> None:
    encoder, samples, directions = trained()
    found = pgd(encoder, samples, directions, goal="evade", eps=0.1)
    noisy = (samples + 0.1 * torch.sign(torch.randn(samples.shape))).clamp(0, 1)
    away, by_noise = (1 - cosines(encoder, inputs, directions).mean() for inputs in (found, noisy))
    assert away > 5 * by_noise


def test_changes_stay_within_their_size_and_the_bounds() -> None:
    encoder, samples, directions = trained()
    before = samples.clone()
    found = pgd(encoder, samples, directions, goal="evade", eps=0.05, steps=5, seed=3)
    assert torch.equal(samples, before)
    assert (found - samples).abs().max() <= 0.05 + 1e-6
    assert (found - samples).abs().max() > 0.04
    assert found.min() >= 0
    assert found.max() <= 1
    assert torch.equal(found, pgd(encoder, samples, directions, goal="evade", eps=0.05, steps=5, seed=3))


def test_samples_of_sound_may_be_negative() -> None:
    encoder = torch.nn.Linear(100, 8)
    waves = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (3, 100)).astype(np.float32))
    found = pgd(encoder, waves, torch.ones(3, 8), goal="impersonate", eps=0.01, bounds=(-1.0, 1.0))
    assert found.min() < -0.5
    assert found.abs().max() <= 1
