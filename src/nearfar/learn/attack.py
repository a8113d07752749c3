"""Adversarial samples: as small a change as may be of what the sensor sees, by the gradient of the encoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Goal = Literal["impersonate", "evade"]

_STEP = 2.5  # times eps / steps: so that the border is reached, and can be walked along


def pgd(
    encode: Callable[[Tensor], Tensor],
    inputs: Tensor,
    targets: Tensor,
    *,
    goal: Goal,
    eps: float,
    steps: int = 20,
    bounds: tuple[float, float] = (0.0, 1.0),
    seed: int = 0,
) -> Tensor:
    """Change inputs by at most `eps` each, so that their embeddings come near to templates, or get away from them.

    The attacker knows the float model and the embedding behind the template, which is more than a thief at the door knows.

    Args:
        encode: inputs in, vectors (n, d) out, of any length; differentiable.
        inputs: (n, ...) pixels or samples, within `bounds`.
        targets: (n, d), what each is held against.
        goal: `impersonate` raises the cosine, `evade` lowers it.
        eps: largest change of a pixel or sample.
        steps: of ascent.
        bounds: of the inputs.
        seed: of where in the box of changes the ascent starts.

    Returns:
        The changed inputs, (n, ...).

    Source: Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks (arXiv:1706.06083).
    """
    sign = 1.0 if goal == "impersonate" else -1.0
    generator = torch.Generator().manual_seed(seed)
    start = (torch.rand(inputs.shape, generator=generator) * 2 - 1) * eps
    changed = (inputs + start).clamp(*bounds)
    step = _STEP * eps / steps
    directions = F.normalize(targets, dim=1)
    for _ in range(steps):
        changed = changed.detach().requires_grad_()
        cosines = (F.normalize(encode(changed), dim=1) * directions).sum()
        (gradient,) = torch.autograd.grad(sign * cosines, changed)
        moved = changed.detach() + step * gradient.sign()
        changed = torch.minimum(torch.maximum(moved, inputs - eps), inputs + eps).clamp(*bounds)
    return changed.detach()
