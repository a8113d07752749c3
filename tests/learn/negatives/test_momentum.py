"""The momentum encoder: a copy that follows by the formula."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from nearfar.learn.negatives import MomentumEncoder, momentum_at


def made(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    tied = nn.Linear(4, 4)
    return nn.Sequential(tied, nn.BatchNorm1d(4), nn.ReLU(), tied).double()


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in module.named_parameters()}


def test_weights_follow_by_the_formula() -> None:
    original = made(0)
    slow = MomentumEncoder(original)
    expected = weights(original)
    for step in range(3):
        with torch.no_grad():
            for weight in original.parameters():
                weight.add_(torch.randn_like(weight))
        slow.follow(original, 0.9 - 0.1 * step)
        for name, weight in original.named_parameters():
            expected[name] = (0.9 - 0.1 * step) * expected[name] + (0.1 + 0.1 * step) * weight.detach()
    for name, weight in slow.copy.named_parameters():
        torch.testing.assert_close(weight, expected[name], rtol=1e-12, atol=1e-12)
    assert slow.copy[0] is slow.copy[3]  # weights that were shared still are


def test_running_statistics_are_taken_over_and_not_averaged() -> None:
    original = made(0)
    slow = MomentumEncoder(original)
    original(torch.randn(16, 4).double() + 5)
    slow.follow(original, 0.99)
    norm, copied = original[1], slow.copy[1]
    assert norm.running_mean.abs().max() > 0.01
    assert torch.equal(norm.running_mean, copied.running_mean)
    assert torch.equal(norm.running_var, copied.running_var)
    assert int(copied.num_batches_tracked) == 1


def test_it_has_no_gradient_and_is_not_the_original() -> None:
    original = made(0)
    slow = MomentumEncoder(original)
    assert not any(weight.requires_grad for weight in slow.parameters())
    assert all(weight.requires_grad for weight in original.parameters())
    inputs = torch.randn(5, 4).double().requires_grad_()
    assert not slow(inputs).requires_grad
    before = weights(original)
    slow.follow(original, 0.5)
    with torch.no_grad():
        next(original.parameters()).zero_()
    assert not torch.equal(next(slow.parameters()), next(original.parameters()))
    assert torch.equal(before["0.bias"], weights(original)["0.bias"])


def test_momentum_0_is_the_original_and_1_stays() -> None:
    slow, other = MomentumEncoder(made(0)), made(1)
    start = weights(slow.copy)
    slow.follow(other, 1.0)
    assert all(torch.equal(weight, start[name]) for name, weight in slow.copy.named_parameters())
    slow.follow(other, 0.0)
    assert all(torch.equal(*pair) for pair in zip(slow.copy.parameters(), other.parameters(), strict=True))


def test_a_restored_copy_goes_on_to_the_bit() -> None:
    original = made(0)
    unbroken, restored = MomentumEncoder(made(2)), MomentumEncoder(made(3))
    unbroken.follow(original, 0.7)
    restored.load_state_dict(unbroken.state_dict(), strict=True)
    for slow in (unbroken, restored):
        slow.follow(original, 0.8)
    assert all(
        torch.equal(*pair) for pair in zip(unbroken.state_dict().values(), restored.state_dict().values(), strict=True)
    )


def test_another_module_is_no_original() -> None:
    slow = MomentumEncoder(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="not what was copied: only one of them has bias"):
        slow.follow(nn.Linear(2, 2, bias=False), 0.9)
    with pytest.raises(ValueError, match=r"momentum is 1.5, and must be in \[0, 1\]"):
        slow.follow(nn.Linear(2, 2), 1.5)


def test_the_schedule_is_a_half_cosine_to_1() -> None:
    """tau = 1 - (1 - tau_base) (cos(pi k / K) + 1) / 2."""
    assert momentum_at(0, 100, 0.99) == pytest.approx(0.99)
    assert momentum_at(50, 100, 0.99) == pytest.approx(0.995)
    assert momentum_at(25, 100, 0.9) == pytest.approx(1 - 0.1 * (math.sqrt(0.5) + 1) / 2)
    assert momentum_at(100, 100, 0.99) == momentum_at(500, 100, 0.99) == 1.0
    values = [momentum_at(step, 37, 0.5) for step in range(38)]
    assert values == sorted(values)
