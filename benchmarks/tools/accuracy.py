"""How far a loss and its gradients are from what they should be."""

from __future__ import annotations

import torch
from torch import Tensor

from tools.objectives import Objective, step
from tools.results import Figures, figure


def loss_and_gradients(objective: Objective, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The loss and the gradients of both sides (2n, d), in float64 on the CPU.

    Args:
        objective: what is computed.
        x: (n, d), a leaf that wants gradients; in the precision and on the device that are to be judged.
        y: (n, d), likewise.
    """
    loss = step(objective, x, y)()
    assert x.grad is not None
    assert y.grad is not None
    return loss.cpu().double(), torch.cat([x.grad, y.grad]).cpu().double()


def errors(found: tuple[Tensor, Tensor], right: tuple[Tensor, Tensor]) -> Figures:
    """`loss_error` and `gradient_error`: norms of the differences, relative to the norms of what is right."""
    names = ("loss_error", "gradient_error")
    differences = [float((a - b).norm() / b.norm()) for a, b in zip(found, right, strict=True)]
    return {name: figure(difference) for name, difference in zip(names, differences, strict=True)}
